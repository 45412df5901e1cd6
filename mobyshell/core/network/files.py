"""Small files that are whole or not there. Owns writing by rename, and exclusive locks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import AlreadyExists, SyscallFailed
from mobyshell.core.linux.files import sync_directory


def write(
    path: str, data: bytes, *, mode: int = 0o600, lasting: bool = False, new: bool = False
) -> None:
    """Put a file in place at once. `lasting`: it is on the disk before this returns; `new`:
    AlreadyExists if there is one. SyscallFailed."""
    temporary = f"{path}.{os.getpid()}.{os.urandom(4).hex()}.new"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(fd, mode)  # whatever the umask
            left = memoryview(data)
            while left:
                left = left[os.write(fd, left) :]
            if lasting:
                os.fsync(fd)
        finally:
            os.close(fd)
        if new:
            os.link(temporary, path)
            os.unlink(temporary)
        else:
            os.rename(temporary, path)
        if lasting:
            sync_directory(os.path.dirname(path))
    except OSError as error:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was never made
        if new and isinstance(error, FileExistsError):
            raise AlreadyExists(f"{path} exists already") from None
        raise SyscallFailed.of(error, "write", path=path) from None


def rewrite(path: str, data: bytes, *, mode: int = 0o644) -> None:
    """Change what is in a file that may be mounted somewhere, so that it stays the same file. It is
    made if there is none. SyscallFailed."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            os.fchmod(fd, mode)  # whatever the umask
            os.pwrite(fd, data, 0)
            os.ftruncate(fd, len(data))
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=path) from None


def lock(path: str, *, wait: bool = True) -> int:
    """A descriptor that holds the lock `path` until it, and every copy of it, is closed; -1 if it is
    held and we shall not wait. OSError if the file cannot be opened."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            if os.fstat(fd).st_nlink:  # else it was deleted, with what it was the lock of
                return fd
        except BlockingIOError:
            os.close(fd)
            return -1
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock `path`."""
    fd = lock(path)
    try:
        yield
    finally:
        os.close(fd)


def start_time(pid: int) -> str:
    """Field 22 of /proc/PID/stat, which makes a pid unmistakable; "" if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return ""
    return "" if len(fields) < 20 or fields[0] in (b"Z", b"X") else fields[19].decode()

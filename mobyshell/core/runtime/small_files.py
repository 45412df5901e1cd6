"""The small files of a container's directory: written at once or by rename, read with suspicion.

Owns the system calls, and no meaning. No fsync: pids and FIFOs do not survive a power loss either.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from mobyshell.core.errors import SyscallFailed

LARGEST = 4 << 20
"""Bytes: a state.json is a few hundred; what is larger is not one."""


def write_file(path: Path | str, data: bytes) -> None:
    """Write a file by rename."""
    head, slash, tail = str(path).rpartition("/")
    temporary = f"{head}{slash}.{tail}.{os.getpid()}"
    try:
        _put(os.open(temporary, _WRITE | os.O_TRUNC, 0o600), data)
        os.rename(temporary, path)
    except OSError as error:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise SyscallFailed.of(error, "write", path=str(path)) from None


def write_new(directory: Path, name: str, data: bytes) -> None:
    """Write a file into a container's directory that nobody reads before it is complete: what is
    there while it is being made, and is of no use without it."""
    path = f"{directory}/{name}"
    try:
        _put(os.open(path, _WRITE | os.O_EXCL, 0o600), data)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=path) from None


_WRITE = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


def _put(fd: int, data: bytes) -> None:
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
    finally:
        os.close(fd)


def read_small(directory: Path, name: str) -> bytes:
    """A regular file of ours, whole. OSError for anything else: not even a FIFO makes us wait."""
    path = f"{directory}/{name}"
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST:
            raise OSError(22, "not a file of the runtime", path)
        return os.read(fd, found.st_size)
    finally:
        os.close(fd)

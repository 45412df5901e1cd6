"""Locks between processes: flock(2) on files and directories of the store.

Owns waiting for them, and saying who has one. A lock is gone with its holder, however that ends.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobyshell.core.errors import SyscallFailed, TimedOut

PATIENCE = 60.0
"""Seconds that one waits for what is held for moments only."""


def try_lock(fd: int, *, shared: bool = False) -> bool:
    """Take the lock of an open file, if nobody has it."""
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_lock(fd: int, patience: float, *, shared: bool = False) -> bool:
    """Take it, waiting up to `patience` seconds; whether it was had."""
    deadline = time.monotonic() + patience
    pause = 0.0005
    while not try_lock(fd, shared=shared):
        if time.monotonic() > deadline:
            return False
        from random import uniform  # who waits has the time

        time.sleep(pause * uniform(0.5, 1.0))
        pause = min(pause * 1.5, 0.01)
    return True


def unlock(fd: int) -> None:
    """Give it back."""
    fcntl.flock(fd, fcntl.LOCK_UN)


def holder(fd: int) -> int | None:
    """The process that has the lock of this open file, from /proc/locks (proc(5)); None if it is
    not to be seen, as in another pid namespace."""
    found = os.fstat(fd)
    place = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == place:
                return int(words[4]) if words[4].isdecimal() and words[4] != "0" else None
    return None


def who(fd: int) -> str:
    """`process 12`, or less."""
    pid = holder(fd)
    return f"process {pid}" if pid else "another process"


class Door:
    """A lock that many may share, or one have alone; who wants it alone is not kept waiting by
    those who come later.

    Two files: whoever enters passes the first, and only who wants it alone stays in it while
    waiting for the second. It is passed before a transaction begins, never within one: whoever has
    it alone may wait for the database.
    """

    def __init__(self, path: Path, what: str, *, patience: float = PATIENCE) -> None:
        self._path, self._what, self._patience = path, what, patience

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Within, nobody has it alone. TimedOut."""
        with self._held(shared=True):
            yield

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, nobody else is. TimedOut."""
        with self._held(shared=False):
            yield

    @contextmanager
    def _held(self, *, shared: bool) -> Iterator[None]:
        gate = _opened(Path(f"{self._path}.gate"))
        try:
            room = _opened(self._path)
        except BaseException:
            os.close(gate)
            raise
        try:
            self._take(gate, shared=shared)
            self._take(room, shared=shared)
            unlock(gate)
            yield
        finally:
            os.close(room)
            os.close(gate)

    def _take(self, fd: int, *, shared: bool) -> None:
        if not wait_lock(fd, self._patience, shared=shared):
            pid = holder(fd)
            raise TimedOut(
                f"{self._what} are being used by {who(fd)}, which does not end",
                hint=f"look at it: ps -fp {pid}" if pid else "",
            )


def lock_directory(path: Path, patience: float = 0.0) -> int | None:
    """A descriptor of the directory with its lock; None if others have it, or it is not there.

    It is the directory that `path` names now: one that was removed while we waited is none.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from error
    try:
        if wait_lock(fd, patience) and _still(path, fd):
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _still(path: Path, fd: int) -> bool:
    try:
        found = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return stat.S_ISDIR(found.st_mode) and (found.st_dev, found.st_ino) == (
        ours.st_dev,
        ours.st_ino,
    )


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path)) from error

"""Room that is kept for the moment when there is none: to remove something is written down, too, and
a database cannot even be opened where its log cannot be made.

Owns a few files beside the database, with bytes that mean nothing. They go when something is to be
removed, or the database opened, on a disk that is full; a collection makes them again.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

FILES, BYTES = 4, 256 << 10
"""Inodes and bytes of each: a log, its index and a lock file are three; some fifty transactions."""
_AMPLE = 4
"""They are made where this many times as much is free."""


def give_up(beside: Path) -> bool:
    """Remove the reserve of the database `beside`; whether there was one."""
    gone = False
    for path in _files(beside):
        with suppress(OSError):
            path.unlink()
            gone = True
    return gone


def give_up_if_full(beside: Path) -> None:
    """The same, where less is free than it would give."""
    if not _ample(beside, 1) and not (os.geteuid() == 0 and _can_be_had(beside.parent)):
        give_up(beside)


def keep(beside: Path) -> None:
    """Make what is missing of it, where there is room enough that nobody misses it."""
    missing = [path for path in _files(beside) if not path.exists()]
    if not missing or not _ample(beside, _AMPLE):
        return
    for path in missing:
        with suppress(OSError):  # then without: it is only for a bad day
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(fd, 0, BYTES)
            finally:
                os.close(fd)


def _files(beside: Path) -> list[Path]:
    return [beside.with_name(f"{beside.name}-reserve-{number}") for number in range(FILES)]


def _ample(beside: Path, times: int) -> bool:
    """Whether this many times as much as the reserve is free to anybody. A filesystem that does not
    count inodes says 0 of 0."""
    found = os.statvfs(beside.parent)
    enough = found.f_bavail * found.f_frsize >= times * FILES * BYTES
    return enough and (not found.f_files or found.f_favail >= times * FILES)


def _can_be_had(directory: Path) -> bool:
    """Whether root gets as much as the reserve. What statvfs says is free to root does not tell: of it
    ext4 keeps up to 16 MiB for its own bookkeeping (`s_resv_clusters`)."""
    try:
        fd = os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(fd, 0, FILES * BYTES)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True

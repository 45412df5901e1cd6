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
    if _free(beside, 1):
        return
    give_up(beside)


def keep(beside: Path) -> None:
    """Make what is missing of it, where there is room enough that nobody misses it."""
    missing = [path for path in _files(beside) if not path.exists()]
    if not missing or not _free(beside, _AMPLE):
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


def _free(beside: Path, times: int) -> bool:
    """Whether this many times as much as the reserve is free. A filesystem that does not count
    inodes says 0 of 0."""
    found = os.statvfs(beside.parent)
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    inodes = found.f_ffree if os.geteuid() == 0 else found.f_favail
    enough = blocks * found.f_frsize >= times * FILES * BYTES
    return enough and (not found.f_files or inodes >= times * FILES)

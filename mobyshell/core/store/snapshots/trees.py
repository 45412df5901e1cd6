"""Trees of files, beneath a directory's descriptor: walked, measured, removed.

What is in them is a stranger's: no symbolic link is followed, no mount is entered, and depth costs
neither stack nor descriptors (one directory is open at a time, and its parent is reached by `..`,
which is compared with what it was).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from mobyshell.core.errors import StoreDamaged, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.paths import open_same_mount
from mobyshell.core.store.snapshots.protocol import Usage
from mobyshell.core.values import value

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512
"""st_blocks counts these (stat(3type))."""


@value
class Found:
    """Something in a tree: `name` in the directory `parent` (a descriptor that is open until the
    next is asked for). `path` is relative to where the walk began."""

    parent: int
    name: str
    path: str
    info: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether its entries come next."""
        return stat.S_ISDIR(self.info.st_mode)


class _Level:
    __slots__ = ("identity", "path", "pending")

    def __init__(self, path: str, identity: tuple[int, int], pending: list[str]) -> None:
        self.path, self.identity, self.pending = path, identity, pending


def walk(root: int, *, leave: Callable[[int, str], None] | None = None) -> Iterator[Found]:
    """Everything below the directory `root`, a directory before what is in it, names in order.

    `leave(parent, path)` is called when all in the directory `path` has been seen, with its parent
    open: for what has to be done last. `root` is not closed, nor moved. OSError.
    """
    here = os.open(".", DIRECTORY, dir_fd=root)
    try:
        levels = [_Level("", _identity(os.fstat(here)), _names(here))]
        while levels:
            level = levels[-1]
            if level.pending:
                name = level.pending.pop()
                path = f"{level.path}/{name}" if level.path else name
                try:
                    info = os.stat(name, dir_fd=here, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # somebody was quicker
                yield Found(here, name, path, info)
                if not stat.S_ISDIR(info.st_mode):
                    continue
                deeper = _enter(here, name, path)
                if deeper is not None:
                    os.close(here)
                    here = deeper
                    levels.append(_Level(path, _identity(os.fstat(here)), _names(here)))
                continue
            levels.pop()
            if levels:
                above = os.open("..", DIRECTORY, dir_fd=here)
                os.close(here)
                here = above
                if _identity(os.fstat(here)) != levels[-1].identity:
                    raise StoreDamaged(f"{level.path} was moved while it was read")
                if leave:
                    leave(here, level.path)
    finally:
        os.close(here)


def _identity(info: os.stat_result) -> tuple[int, int]:
    return info.st_dev, info.st_ino


def _names(fd: int) -> list[str]:
    return sorted(os.listdir(fd), reverse=True)


def _enter(here: int, name: str, path: str) -> int | None:
    """The directory, opened; None if it is gone. OSError (EBUSY) if something is mounted there."""
    try:
        return open_same_mount(here, name, c.O_DIRECTORY)
    except SyscallFailed as error:
        if error.errno == errno.ENOENT:
            return None
        code = errno.EBUSY if error.errno == errno.EXDEV else error.errno
        raise OSError(code, os.strerror(code), path) from None


def measure(root: int) -> Usage:
    """What a directory takes on the disk with all that is in it: as du(1), hard links once."""
    try:
        return _measured_by_path(root)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return count(iter([os.fstat(root)]), (found.info for found in walk(root)))


def _measured_by_path(root: int) -> Usage:
    """The same, several times faster than by `walk`, of trees whose paths are not too long."""
    blocks, inodes = os.fstat(root).st_blocks, 1
    seen: set[tuple[int, int]] = set()
    pending = ["."]
    while pending:
        path = pending.pop()
        here = _enter(root, path, path)
        if here is None:
            continue
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    try:
                        info = entry.stat(follow_symlinks=False)
                    except FileNotFoundError:
                        continue  # somebody was quicker
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{path}/{entry.name}")
                    elif info.st_nlink > 1:
                        if _identity(info) in seen:
                            continue
                        seen.add(_identity(info))
                    blocks += info.st_blocks
                    inodes += 1
        finally:
            os.close(here)
    return Usage(blocks * _BLOCK, inodes)


def count(*groups: Iterator[os.stat_result]) -> Usage:
    """What these files take, those of several names once."""
    size = inodes = 0
    seen: set[tuple[int, int]] = set()
    for group in groups:
        for info in group:
            if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
                if _identity(info) in seen:
                    continue
                seen.add(_identity(info))
            size += info.st_blocks * _BLOCK
            inodes += 1
    return Usage(size, inodes)


def remove(parent: int, name: str) -> Usage:
    """Remove the directory `name` with all that is in it; what that took. What others remove
    meanwhile is as good. OSError, of what cannot be removed: EBUSY where something is mounted.
    """
    try:
        root = os.open(name, DIRECTORY, dir_fd=parent)
    except FileNotFoundError:
        return Usage()
    size = inodes = 0
    try:
        info = os.fstat(root)
        if _unsearchable(info):
            os.fchmod(root, 0o700)
        size, inodes = info.st_blocks * _BLOCK, 1
        for found in walk(root, leave=_remove_empty):
            if found.is_directory:
                if _unsearchable(found.info):
                    with suppress(FileNotFoundError):
                        os.chmod(found.name, 0o700, dir_fd=found.parent)
            else:
                with suppress(FileNotFoundError):
                    os.unlink(found.name, dir_fd=found.parent)
            if found.is_directory or found.info.st_nlink <= 1:
                size, inodes = size + found.info.st_blocks * _BLOCK, inodes + 1
    finally:
        os.close(root)
    with suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=parent)
    return Usage(size, inodes)


def _remove_empty(parent: int, path: str) -> None:
    with suppress(FileNotFoundError):
        os.rmdir(os.path.basename(path), dir_fd=parent)


def _unsearchable(info: os.stat_result) -> bool:
    """Whether its owner, who is not root, could not look into it."""
    return os.geteuid() != 0 and info.st_mode & 0o700 != 0o700

"""Walking and removing a group with what lies below it, which may be hostile: a container with a
writable cgroup mount makes groups as deep as it likes, past the longest path and any recursion.

Goes by descriptors, one level at a time, and holds one directory open, however deep it is.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def walk(path: str) -> Generator[int, None, None]:
    """A descriptor of `path`, and of each group below it, for as long as the loop's body runs.

    What goes away meanwhile is left out; nothing if `path` is not there.
    """
    try:
        fd = os.open(path, _DIRECTORY)
    except (FileNotFoundError, NotADirectoryError):
        return
    left: list[list[str]] = []
    try:
        yield fd
        left.append(_children(fd))
        while left:
            if not left[-1]:
                left.pop()
                if left:
                    fd = _change(fd, "..")
                continue
            try:
                fd = _change(fd, left[-1].pop())
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):
                    raise
                continue
            yield fd
            left.append(_children(fd))
    finally:
        os.close(fd)


def remove(path: str) -> None:
    """Remove `path` and every group below it, the deepest first. FileNotFoundError if it is not
    there; OSError with EBUSY for one that has processes."""
    fd = os.open(path, _DIRECTORY)
    names: list[str] = []
    try:
        while True:
            stays = _remove_children(fd)
            if stays is not None:
                fd = _change(fd, stays)
                names.append(stays)
                continue
            if not names:
                break
            fd = _change(fd, "..")
            # nothing is below it any more: what keeps it now are processes
            _rmdir(names.pop(), fd)
    finally:
        os.close(fd)
    os.rmdir(path)


def _remove_children(fd: int) -> str | None:
    """Remove the groups right below, and name the first one that has something in it."""
    for name in _children(fd):
        try:
            _rmdir(name, fd)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return name
    return None


def _rmdir(name: str, fd: int) -> None:
    try:
        os.rmdir(name, dir_fd=fd)
    except FileNotFoundError:
        return


def _children(fd: int) -> list[str]:
    try:
        with os.scandir(fd) as entries:
            return [one.name for one in entries if one.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _change(fd: int, name: str) -> int:
    """The directory `name` instead of `fd`, which is closed."""
    opened = os.open(name, _DIRECTORY, dir_fd=fd)
    os.close(fd)
    return opened

"""What makes of one stack of layers another: both are walked side by side, nothing is mounted.

Owns when two files count as the same. Files that both have of one layer are the same by their
inodes, so two snapshots of one image are compared without reading what they share.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator

from mobyshell.core.linux.files import same_bytes
from mobyshell.core.store.differences import Difference, Way
from mobyshell.core.store.stack import Entry, Stack

_SECOND = 1_000_000_000


def compare(before: Stack, after: Stack) -> Iterator[Difference]:
    """What `after` has added, changed and deleted, by path, parents before what is in them.

    SyscallFailed; Unsupported where only a mount could tell.
    """
    # not by recursion: a stranger's tree may be as deep as it likes
    pending = [_inside(before, after, "/")]
    while pending:
        try:
            found, below = next(pending[-1])
        except StopIteration:
            pending.pop()
            continue
        if found is not None:
            yield found
        if below is not None:
            pending.append(below)


_Walk = Iterator[tuple[Difference | None, "_Walk | None"]]


def _inside(before: Stack | None, after: Stack, path: str) -> _Walk:
    """A directory of both (or of one): what is different, and where to look on."""
    old = {one.name: one for one in before.ls(path)} if before is not None else {}
    new = {one.name: one for one in after.ls(path)}
    for name in sorted(old | new):
        place = posixpath.join(path, name)
        was, is_ = old.get(name), new.get(name)
        if is_ is None:
            yield Difference(Way.DELETED, place), None
            continue
        way = Way.ADDED if was is None else None
        if was is not None and not _same(before, after, was, is_, place):
            way = Way.CHANGED
        below = None
        if is_.is_directory:
            both = was is not None and was.is_directory
            below = _inside(before if both else None, after, place)
        yield _told(way, place, is_), below


def _told(way: Way | None, path: str, entry: Entry) -> Difference | None:
    if way is None:
        return None
    mode = entry.found.st_mode
    return Difference(way, path, entry.found.st_size if stat.S_ISREG(mode) else 0, mode)


def _same(before: Stack | None, after: Stack, old: Entry, new: Entry, path: str) -> bool:
    one, other = old.found, new.found
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    if (one.st_mode, one.st_uid, one.st_gid, one.st_rdev, old.target) != (
        other.st_mode, other.st_uid, other.st_gid, other.st_rdev, new.target
    ):  # fmt: skip
        return False
    if not stat.S_ISREG(one.st_mode):
        return stat.S_ISLNK(one.st_mode) or one.st_mtime_ns == other.st_mtime_ns
    if one.st_size != other.st_size or one.st_mtime_ns != other.st_mtime_ns:
        return False
    # an archive knows whole seconds only, so there they say nothing
    return bool(one.st_mtime_ns % _SECOND) or _same_content(before, after, path)


def _same_content(before: Stack | None, after: Stack, path: str) -> bool:
    assert before is not None
    one = before.open(path, follow=False)
    try:
        other = after.open(path, follow=False)
        try:
            return same_bytes(one, other)
        finally:
            os.close(other)
    finally:
        os.close(one)

"""Whether two directories hold the same: names, types, modes, owners, attributes, contents.

For trees that were made of one layer. Times of directories and devices are left out: a directory that
a layer has something in but does not list has the time at which it was made, and so has a whiteout.
"""

from __future__ import annotations

import os
import stat
from itertools import zip_longest

from mobyshell.core.store.snapshots import trees

_PIECE = 1 << 20
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def difference(one: str, other: str) -> str:
    """The first path that differs, and in what; "" if nothing does. OSError."""
    with_one, with_other = (os.open(place, trees.DIRECTORY) for place in (one, other))
    try:
        what = _attributes(os.fstat(with_one), os.fstat(with_other))
        if what:
            return f"/: {what}"
        return _below(with_one, with_other)
    finally:
        os.close(with_one)
        os.close(with_other)


def _below(one: int, other: int) -> str:
    for here, there in zip_longest(trees.walk(one), trees.walk(other)):
        if here is None or there is None or here.path != there.path:
            missing = min((found.path for found in (here, there) if found), key=str)
            return f"/{missing}: it is in one of both only"
        what = _attributes(here.info, there.info) or _contents(here, there)
        if what:
            return f"/{here.path}: {what}"
    return ""


def _attributes(one: os.stat_result, other: os.stat_result) -> str:
    if stat.S_IFMT(one.st_mode) != stat.S_IFMT(other.st_mode):
        return "another type"
    if one.st_mode != other.st_mode:
        return f"mode {stat.S_IMODE(one.st_mode):o}, not {stat.S_IMODE(other.st_mode):o}"
    if (one.st_uid, one.st_gid) != (other.st_uid, other.st_gid):
        return f"owner {one.st_uid}:{one.st_gid}, not {other.st_uid}:{other.st_gid}"
    if stat.S_ISDIR(one.st_mode):
        return ""
    if stat.S_ISCHR(one.st_mode) or stat.S_ISBLK(one.st_mode):
        return "" if one.st_rdev == other.st_rdev else "another device"
    if one.st_size != other.st_size:
        return f"{one.st_size} bytes, not {other.st_size}"
    return "" if one.st_mtime_ns == other.st_mtime_ns else "another time"


def _contents(one: trees.Found, other: trees.Found) -> str:
    if stat.S_ISLNK(one.info.st_mode):
        targets = [os.readlink(found.name, dir_fd=found.parent) for found in (one, other)]
        return "" if targets[0] == targets[1] else "it leads elsewhere"
    if _xattrs(one) != _xattrs(other):
        return "other extended attributes"
    if stat.S_ISREG(one.info.st_mode) and not _same_bytes(one, other):
        return "other bytes"
    return ""


def _xattrs(found: trees.Found) -> dict[str, bytes]:
    path = f"/proc/self/fd/{found.parent}/{found.name}"
    names = os.listxattr(path, follow_symlinks=False)
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def _same_bytes(one: trees.Found, other: trees.Found) -> bool:
    with (
        open(os.open(one.name, _FILE, dir_fd=one.parent), "rb", buffering=0) as first,
        open(os.open(other.name, _FILE, dir_fd=other.parent), "rb", buffering=0) as second,
    ):
        while True:
            piece = first.read(_PIECE)
            if piece != second.read(_PIECE):
                return False
            if not piece:
                return True

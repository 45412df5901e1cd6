"""The changes that make one tree of another, found by looking at both.

For snapshots that are no overlay, and for any two trees. Takes as long as both are large; the
content of files is compared only where their attributes do not tell.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from mobyshell.core.linux.files import same_bytes
from mobyshell.core.store.layers.changes import FILE, HERE, Change, enter, everything, look, names
from mobyshell.core.store.layers.contents import kept_xattrs
from mobyshell.core.store.layers.links import Links

_SECOND = 1_000_000_000


def tree_changes(lower: int, upper: int) -> Iterator[Change]:
    """The changes from the tree `lower` to the tree `upper`, both open directories, in the order of
    their paths. A directory in which something has changed is listed, too, as it is in `upper`.
    OSError, WrongState."""
    comparison = _Comparison(Links(lower, upper))
    one = os.open(".", HERE, dir_fd=lower)
    try:
        other = os.open(".", HERE, dir_fd=upper)
        try:
            yield from comparison.roots(one, other)
        finally:
            os.close(other)
    finally:
        os.close(one)


class _Comparison:
    def __init__(self, links: Links) -> None:
        self._links = links
        self._pending: list[Change] = []

    def roots(self, lower: int, upper: int) -> Iterator[Change]:
        root = Change(b"", upper, b".", os.fstat(upper))
        yield from self._directory(Change(b"", lower, b".", os.fstat(lower)), root, lower, upper)

    def _directory(self, old: Change, new: Change, lower: int, upper: int) -> Iterator[Change]:
        if _same_attributes(old, new):
            self._pending.append(new)  # to be listed if there is anything else
        else:
            yield from self._listed(new)
        mark = len(self._pending)
        yield from self._inside(lower, upper, new.path)
        if len(self._pending) == mark and self._pending and self._pending[-1] is new:
            self._pending.pop()

    def _listed(self, change: Change) -> Iterator[Change]:
        yield from self._pending
        self._pending.clear()
        yield change

    def _inside(self, lower: int, upper: int, path: bytes) -> Iterator[Change]:
        before, after = set(names(lower)), set(names(upper))
        for name in sorted(before | after):
            below = path + b"/" + name if path else name
            if name not in after:
                yield from self._listed(Change(below, upper, name, None))
                continue
            new = Change(below, upper, name, look(upper, name, below))
            old = Change(below, lower, name, look(lower, name, below)) if name in before else None
            yield from self._entry(old, new)

    def _entry(self, old: Change | None, new: Change) -> Iterator[Change]:
        assert new.about is not None
        if old is not None and _is_directory(old) and _is_directory(new):
            lower = enter(old.parent, old.name, old.path)
            try:
                upper = enter(new.parent, new.name, new.path)
                try:
                    yield from self._directory(old, new, lower, upper)
                finally:
                    os.close(upper)
            finally:
                os.close(lower)
        elif old is None or not self._same(old, new):
            for change in everything(new.parent, new.name, new.path, new.about):
                yield from self._listed(change)

    def _same(self, old: Change, new: Change) -> bool:
        return self._links.same(new.path) and _same_attributes(old, new) and _same_content(old, new)


def _is_directory(change: Change) -> bool:
    return change.about is not None and stat.S_ISDIR(change.about.st_mode)


def _same_attributes(old: Change, new: Change) -> bool:
    one, other = old.about, new.about
    assert one is not None
    assert other is not None
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    return (
        (one.st_mode, one.st_uid, one.st_gid) == (other.st_mode, other.st_uid, other.st_gid)
        and one.st_mtime_ns == other.st_mtime_ns
        and one.st_rdev == other.st_rdev
        and kept_xattrs(old.place) == kept_xattrs(new.place)
    )


def _same_content(old: Change, new: Change) -> bool:
    one, other = old.about, new.about
    assert one is not None
    assert other is not None
    if (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino):
        return True
    if stat.S_ISLNK(one.st_mode):
        return os.readlink(old.place) == os.readlink(new.place)
    if not stat.S_ISREG(one.st_mode):
        return True
    if one.st_size != other.st_size:
        return False
    # a time to the nanosecond tells; one of whole seconds may be what an archive had for both
    return bool(one.st_mtime_ns % _SECOND) or _same_bytes(old, new)


def _same_bytes(old: Change, new: Change) -> bool:
    one = os.open(old.name, FILE, dir_fd=old.parent)
    try:
        other = os.open(new.name, FILE, dir_fd=new.parent)
        try:
            return same_bytes(one, other)
        finally:
            os.close(other)
    finally:
        os.close(one)

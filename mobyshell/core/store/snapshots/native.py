"""The snapshotter `native`: each tree is whole, a copy of its parent's. Works on every filesystem;
on those that share blocks between files (XFS, btrfs) a copy takes no space.

    <tree>/fs      the files
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from mobyshell.core.store.snapshots import trees
from mobyshell.core.store.snapshots.copying import copy_tree
from mobyshell.core.store.snapshots.driver import FILES, bind, make_files
from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.protocol import Form, Kind, Mount, Usage


class Native:
    """A `driver.Driver`."""

    name = "native"
    form = Form.FLAT
    rebases = False

    def check(self, directory: Path) -> None:
        pass  # needs nothing but directories

    def make(self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps) -> None:
        files = make_files(tree, None, maps)
        if not parents or not _has_own_files(kind, maps):
            return
        source, target = (os.open(one, trees.DIRECTORY) for one in (parents[0] / FILES, files))
        try:
            copy_tree(source, target, maps)
        finally:
            os.close(source)
            os.close(target)

    def mounts(
        self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps
    ) -> tuple[Mount, ...]:
        own = not parents or _has_own_files(kind, maps)
        return bind((tree if own else parents[0]) / FILES, writable=kind is Kind.ACTIVE)

    def measure(self, tree: Path, parents: Sequence[Path]) -> Usage:
        own = os.open(tree / FILES, trees.DIRECTORY)
        try:
            if not parents:
                return trees.measure(own)
            parent = os.open(parents[0] / FILES, trees.DIRECTORY)
            try:
                return trees.count(_differing(own, parent))
            finally:
                os.close(parent)
        finally:
            os.close(own)

    def settle(self, tree: Path) -> None:
        pass


def _has_own_files(kind: Kind, maps: IdMaps) -> bool:
    """A view needs no copy: its parent never changes. With other ids it does."""
    return kind is Kind.ACTIVE or bool(maps)


def _differing(own: int, parent: int) -> Iterator[os.stat_result]:
    """What is in one tree and not the same in the other. Both are walked in the same order."""
    others = trees.walk(parent)
    other = next(others, None)
    for found in trees.walk(own):
        while other is not None and _order(other) < _order(found):
            other = next(others, None)
        if other is None or _order(other) != _order(found) or not _same(found.info, other.info):
            yield found.info


def _order(found: trees.Found) -> list[str]:
    return found.path.split("/")


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    """As far as stat(2) tells. A directory's time and size are those of its entries."""
    if (one.st_mode, one.st_uid, one.st_gid) != (other.st_mode, other.st_uid, other.st_gid):
        return False
    if stat.S_ISDIR(one.st_mode):
        return True
    return (one.st_size, one.st_mtime_ns, one.st_rdev) == (
        other.st_size, other.st_mtime_ns, other.st_rdev,
    )  # fmt: skip

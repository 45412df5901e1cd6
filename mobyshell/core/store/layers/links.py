"""Which names are one file, in two trees: what a comparison of name by name cannot see."""

from __future__ import annotations

import os
import stat

from mobyshell.core.store.layers.changes import HERE, everything

Group = frozenset[bytes]


class Links:
    """The hard links of two trees."""

    def __init__(self, lower: int, upper: int) -> None:
        self._before, _ = _groups(lower)
        self._after, self._names = _groups(upper)

    def same(self, path: bytes) -> bool:
        """Whether `path`, which both have, has the same other names in both. Names that are gone
        from the upper tree do not count: taking them away changes no other file."""
        alone = frozenset((path,))
        before = self._before.get(path, alone)
        if len(before) > 1:
            before = before & self._names
        return before == self._after.get(path, alone)


def _groups(tree: int) -> tuple[dict[bytes, Group], set[bytes]]:
    """By path, all paths of a file that has several; and all paths of what is no directory."""
    inodes: dict[tuple[int, int], list[bytes]] = {}
    paths: set[bytes] = set()
    here = os.open(".", HERE, dir_fd=tree)
    try:
        for change in everything(here, b".", b"", os.fstat(here)):
            about = change.about
            if about is None or stat.S_ISDIR(about.st_mode):
                continue
            paths.add(change.path)
            if about.st_nlink > 1:
                inodes.setdefault((about.st_dev, about.st_ino), []).append(change.path)
    finally:
        os.close(here)
    return {path: frozenset(group) for group in inodes.values() for path in group}, paths

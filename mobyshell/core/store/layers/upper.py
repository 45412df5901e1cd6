"""The changes that overlayfs has collected in an upper directory: all of them, and only them.

Takes as long as there are changes, however large the layers below are. What the kernel noted there
is read by its documentation (overlayfs.rst), in the spelling in which it was mounted.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from mobyshell.core.errors import Unsupported
from mobyshell.core.store.layers.changes import HERE, Change, enter, look, names
from mobyshell.core.store.layers.finish import OPAQUE
from mobyshell.core.store.layers.tar.reader import shown
from mobyshell.core.store.layers.values import Form

_ELSEWHERE = ("redirect", "metacopy")
"""Attributes by which a part of the data is in another layer, or under another name."""


def upper_changes(upper: int, form: Form) -> Iterator[Change]:
    """The changes in the directory `upper`, in the order of their paths; its root is the first.

    Unsupported if it was mounted with redirect_dir or metacopy: it is not complete alone, and
    `compare` has to be asked. OSError, WrongState.
    """
    return _Upper(OPAQUE[form].removesuffix("opaque")).changes(upper)


class _Upper:
    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def changes(self, upper: int) -> Iterator[Change]:
        here = os.open(".", HERE, dir_fd=upper)
        try:
            yield Change(b"", here, b".", os.fstat(here))
            yield from self._inside(here, b"", opaque=b"")
        finally:
            os.close(here)

    def _inside(self, here: int, path: bytes, opaque: bytes) -> Iterator[Change]:
        for name in names(here):
            below = path + b"/" + name if path else name
            about = look(here, name, below)
            if self._is_whiteout(here, name, about, opaque):
                if opaque != b"y":  # there is nothing else to hide
                    yield Change(below, here, name, None)
            elif stat.S_ISDIR(about.st_mode):
                yield from self._directory(here, name, below, about)
            else:
                self._must_be_whole(here, name, below)
                yield Change(below, here, name, about)

    def _directory(
        self, parent: int, name: bytes, path: bytes, about: os.stat_result
    ) -> Iterator[Change]:
        self._must_be_whole(parent, name, path)
        here = enter(parent, name, path)
        try:
            opaque = self._noted(f"/proc/self/fd/{here}", "opaque")
            yield Change(path, parent, name, about, opaque == b"y")
            yield from self._inside(here, path, opaque)
        finally:
            os.close(here)

    def _is_whiteout(self, here: int, name: bytes, about: os.stat_result, opaque: bytes) -> bool:
        if stat.S_ISCHR(about.st_mode):
            return about.st_rdev == 0
        # in a directory marked so, files without data may be whiteouts, too
        if opaque != b"x" or not stat.S_ISREG(about.st_mode) or about.st_size:
            return False
        place = f"/proc/self/fd/{here}/{os.fsdecode(name)}"
        return f"{self._prefix}whiteout" in os.listxattr(place, follow_symlinks=False)

    def _must_be_whole(self, here: int, name: bytes, path: bytes) -> None:
        place = f"/proc/self/fd/{here}/{os.fsdecode(name)}"
        noted = os.listxattr(place, follow_symlinks=False)
        for what in _ELSEWHERE:
            if self._prefix + what in noted:
                raise Unsupported(
                    f"{shown(path)!r} is not whole here: overlayfs notes its {what}",
                    hint="compare the mounted trees instead, or mount with redirect_dir=off",
                )

    def _noted(self, place: str, what: str) -> bytes:
        try:
            return os.getxattr(place, self._prefix + what)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return b""
            raise

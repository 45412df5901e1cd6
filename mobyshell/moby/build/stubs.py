"""Where a container's mounts are put: files and directories that the runtime makes if they are not
there, and that are no part of a layer.

Owns taking them away again after a RUN, as BuildKit does: what was not there before, is empty, and
lies in the container's own layer. Paths are looked up by names alone; no link is followed.
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.paths import open_beneath
from mobyshell.moby.build.files import Below

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Stubs:
    """Those of one RUN."""

    def __init__(self, below: Below, destinations: Iterable[str]) -> None:
        """`below`: the image before it; `destinations`: where something will be mounted."""
        missing: set[str] = set()
        self._above: dict[str, os.stat_result] = {}
        for one in destinations:
            path = below.real(one)
            while path != "/" and below.stat(path) is None:
                missing.add(path)
                path = posixpath.dirname(path)
            # the directory in which the first of them was made, and those above it
            while missing and (found := below.stat(path)) is not None:
                self._above[path] = found
                if path == "/":
                    break
                path = posixpath.dirname(path)
        self._missing = sorted(missing, key=_deepest, reverse=True)

    def clear(self, layer: Path, *, whole: bool) -> None:
        """Take them away from `layer`, the directory with what the container has written; `whole`: what
        was there before is in it too (it is no upper one of overlayfs)."""
        top = os.open(layer, _DIRECTORY)
        try:
            for path in self._missing:
                _remove(top, path)
            for path in sorted(self._above, key=_deepest, reverse=True):
                _restore(top, path, self._above[path], whole)
        finally:
            os.close(top)


def _deepest(path: str) -> tuple[bool, int]:
    return path != "/", path.count("/")


def _remove(top: int, path: str) -> None:
    above, name = posixpath.split(path)
    with suppress(SyscallFailed, OSError):  # it is not there, or there is something in it
        directory = open_beneath(top, above.strip("/") or ".", _DIRECTORY)
        try:
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(found.st_mode):
                os.rmdir(name, dir_fd=directory)
            elif stat.S_ISREG(found.st_mode) and not found.st_size:
                os.unlink(name, dir_fd=directory)
        finally:
            os.close(directory)


def _restore(top: int, path: str, found: os.stat_result, whole: bool) -> None:
    """Make a directory, in which nothing happened but that, what it was; with it those above, which
    overlayfs has copied for its sake."""
    with suppress(SyscallFailed, OSError):
        directory = open_beneath(top, path.strip("/") or ".", _DIRECTORY)
        try:
            if not whole and os.listdir(directory):
                return
            os.utime(directory, ns=(found.st_atime_ns, found.st_mtime_ns))
            now = os.fstat(directory)
            same = (now.st_mode, now.st_uid, now.st_gid) == (
                found.st_mode,
                found.st_uid,
                found.st_gid,
            )
            if whole or path == "/" or not same or _is_opaque(directory):
                return
        finally:
            os.close(directory)
        above, name = posixpath.split(path)
        directory = open_beneath(top, above.strip("/") or ".", _DIRECTORY)
        try:
            before = os.fstat(directory)
            os.rmdir(name, dir_fd=directory)
            os.utime(directory, ns=(before.st_atime_ns, before.st_mtime_ns))
        finally:
            os.close(directory)


def _is_opaque(directory: int) -> bool:
    """Whether the container has put it in the place of the one below (overlayfs notes it)."""
    return any(name.endswith(".overlay.opaque") for name in os.listxattr(directory))

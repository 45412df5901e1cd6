"""What a layer takes away from those below it (image-spec layer.md#whiteouts), in both forms.

`.wh.NAME` hides or deletes NAME, `.wh..wh..opq` all that is in its directory. Both concern the
layers below only: what the layer itself adds stays, whichever comes first in the archive.
"""

from __future__ import annotations

import os
import stat
from typing import Protocol

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.linux.trees import remove_beneath
from mobyshell.core.store.layers.places import Node, Place, Places

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_META = b".wh..wh."


class Whiteouts(Protocol):
    """How a tree says it."""

    makes_parents: bool
    """Whether there must be a directory for a whiteout to be in."""

    def hide(self, place: Place, name: bytes) -> None:
        """Take away `name` in this directory. OSError."""

    def hide_all(self, place: Place) -> None:
        """Take away all that the layers below have in this directory. OSError."""

    def added(self, place: Place, name: bytes) -> None:
        """The layer itself has something under this name."""


def is_meta(name: bytes) -> bool:
    """Whether any part of a path is AUFS's own (`.wh..wh.plnk`, `.wh..wh.aufs`), which nobody uses.

    InvalidLayer for what lies beneath a whiteout.
    """
    parts = name.split(b"/")
    if any(part.startswith(_META) for part in parts[:-1]):
        return True
    if any(part.startswith(PREFIX) for part in parts[:-1]):
        raise InvalidLayer("it lies in what is taken away")
    return parts[-1].startswith(_META) and parts[-1] != OPAQUE


def hidden(name: bytes) -> bytes:
    """The name that the whiteout `name` takes away. InvalidLayer if that is none."""
    target = name[len(PREFIX) :]
    if target in (b"", b".", b".."):
        raise InvalidLayer("a whiteout of nothing that has a name")
    return target


class OverlayWhiteouts:
    """Devices 0/0, and marks on nodes, of which `finish` makes attributes."""

    makes_parents = True

    def hide(self, place: Place, name: bytes) -> None:
        """See Whiteouts."""
        node = place.node
        added = node.children.get(name)
        if added is not None:  # a directory of this layer's own: nothing may shine through
            added.opaque, added.implied = True, False
            return
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=place.fd)
        except FileExistsError:
            return
        node.whiteouts.add(name)

    def hide_all(self, place: Place) -> None:
        """See Whiteouts."""
        place.node.opaque = True

    def added(self, place: Place, name: bytes) -> None:
        """Nothing to remember: what exists is of this layer."""


class FlatWhiteouts:
    """Deletes. What the layer itself has made is known by its nodes; an opaque one has nothing else."""

    makes_parents = False

    def __init__(self, places: Places) -> None:
        self._places = places

    def hide(self, place: Place, name: bytes) -> None:
        """See Whiteouts."""
        node = place.node
        below = node.children.get(name)
        if below is not None and below.kept:
            if not below.is_opaque:
                self._clean_beneath(place.fd, name, below)
                below.opaque = True
        elif name not in node.names:
            self._remove(place, name)

    def hide_all(self, place: Place) -> None:
        """See Whiteouts."""
        if not place.node.is_opaque:  # a layer may say it as often as it likes
            self._clean(place.fd, place.node)
            place.node.opaque = True
            self._places.forget(place)

    def added(self, place: Place, name: bytes) -> None:
        """See Whiteouts."""
        place.node.names.add(name)
        if not place.node.kept:
            place.node.keep()

    def _remove(self, place: Place, name: bytes) -> None:
        try:
            remove_beneath(place.fd, name)
        except FileNotFoundError:
            return
        if place.node.children.pop(name, None) is not None:
            self._places.forget(place)

    def _clean_beneath(self, fd: int, name: bytes, node: Node) -> None:
        below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        try:
            self._clean(below, node)
        finally:
            os.close(below)

    def _clean(self, fd: int, node: Node) -> None:
        """Remove what the layer has not made in the directory `fd`, at any depth."""
        here = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        try:
            for name in map(os.fsencode, os.listdir(here)):
                below = node.children.get(name)
                if below is not None and below.kept:
                    self._clean_beneath(here, name, below)
                elif name not in node.names:
                    remove_beneath(here, name)
                    node.children.pop(name, None)
        finally:
            os.close(here)

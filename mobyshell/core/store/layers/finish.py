"""The end of unpacking: attributes of directories, once all is in them, and what the answer lists."""

from __future__ import annotations

import os

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.store.layers.attributes import Attributes
from mobyshell.core.store.layers.places import Node
from mobyshell.core.store.layers.values import Form

OPAQUE = {
    Form.OVERLAY: "trusted.overlay.opaque",
    Form.OVERLAY_USER: "user.overlay.opaque",
}
"""The attribute of a directory that hides all below it (kernel's overlayfs.rst)."""

_HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Finish:
    """Walks what the layer has done, from the root down, and each directory after what is in it."""

    def __init__(self, attributes: Attributes, form: Form, noted: int) -> None:
        self._attributes = attributes
        self._form = form
        self._left = noted
        self.implied: list[bytes] = []
        self.whiteouts: list[bytes] = []

    def run(self, root: int, node: Node) -> None:
        """Finish the tree `root`. OSError, InvalidLayer past a limit."""
        flat = self._form is Form.FLAT
        here = os.open(".", _HERE, dir_fd=root)
        try:
            if node.entry is None and not flat:
                node.implied = True
            self._inside(here, node, b"", node.opaque)
            self._itself(here, node, b"", mark=False)
        finally:
            os.close(here)

    def _inside(self, fd: int, node: Node, path: bytes, opaque: bool) -> None:
        for name in sorted(node.whiteouts):
            # in a directory that is not merged with others, readdir(3) would show the device
            if opaque:
                os.unlink(name, dir_fd=fd)
            else:
                self._note(self.whiteouts, path + name)
        for name, below in sorted(node.children.items()):
            here = os.open(name, _HERE, dir_fd=fd)
            try:
                inside = path + name + b"/"
                self._inside(here, below, inside, opaque or below.opaque)
                self._itself(here, below, path + name, mark=below.opaque and not opaque)
            finally:
                os.close(here)

    def _itself(self, fd: int, node: Node, path: bytes, mark: bool) -> None:
        if mark and self._form in OPAQUE:
            os.setxattr(fd, OPAQUE[self._form], b"y")
        if node.entry is not None:
            self._attributes.on_file(fd, node.entry, node.made)
        elif node.mtime is not None:
            os.utime(fd, ns=(node.mtime, node.mtime))
        if node.implied:
            self._note(self.implied, path)

    def _note(self, notes: list[bytes], path: bytes) -> None:
        self._left -= len(path) + 4
        if self._left < 0:
            raise InvalidLayer("it names more paths that it does not hold than can be kept")
        notes.append(path)

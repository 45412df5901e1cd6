"""The directories of a tree that a layer is being unpacked into.

Owns how a directory is found beneath the root, or made because something lies in it, and what the
layer has done in each (`Node`). A path is resolved by the kernel with the tree as its root
(openat2(2), RESOLVE_IN_ROOT): links lead where they would lead in a container, and never out.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import NamedTuple

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.linux import constants as c
from mobyshell.core.linux import paths
from mobyshell.core.store.layers.tar.headers import Entry
from mobyshell.core.store.layers.values import Limits

_MOST_OPEN = 256
_DIRECTORY = c.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Node:
    """What a layer has done in one directory, which has one node however many links lead to it.

    `entry` are its attributes, if it was listed; `implied` if the layer made it without listing it;
    `made` is the mode that the layer made it with (-1: it did not); `opaque` if it hides what is
    below; `whiteouts` are devices that hide one name each; `names` are
    those of files that the layer made; `kept` if the layer made it, or anything in it; `mtime` is what
    it has in the end if it was not listed (None: it was not written to).
    """

    __slots__ = (
        "children", "depth", "entry", "implied", "kept", "made", "mtime", "names", "opaque",
        "parent", "whiteouts",
    )  # fmt: skip

    def __init__(self, parent: Node | None) -> None:
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent is not None else 0
        self.children: dict[bytes, Node] = {}
        self.entry: Entry | None = None
        self.implied = False
        self.made = -1
        self.opaque = False
        self.kept = False
        self.mtime: int | None = None
        self.whiteouts: set[bytes] = set()
        self.names: set[bytes] = set()

    def child(self, name: bytes) -> Node:
        """The node of a directory in this one."""
        found = self.children.get(name)
        if found is None:
            found = self.children[name] = Node(self)
        return found

    @property
    def is_opaque(self) -> bool:
        """Whether this directory hides what is below, or one that it is in does."""
        node: Node | None = self
        while node is not None and not node.opaque:
            node = node.parent
        return node is not None

    def keep(self) -> None:
        """Something in here is of this layer."""
        node: Node | None = self
        while node is not None and not node.kept:
            node.kept = True
            node = node.parent


class Place(NamedTuple):
    """An open directory."""

    fd: int
    node: Node


class Places:
    """The directories of the tree `root`, by the paths that the archive has for them."""

    def __init__(self, root: int, limits: Limits, *, flat: bool) -> None:
        self._limits = limits
        self._flat = flat
        self.root = Place(root, Node(None))
        self.implied = 0
        self._open: dict[bytes, Place] = {b"": self.root}
        self._kept: list[Place] = []
        self._real_root = self._link(root)
        self.copied = flat and _holds_something(root)
        """Whether the layers below are in the tree itself."""
        self.root.node.mtime = os.fstat(root).st_mtime_ns if self.copied else 0

    def known(self, path: bytes) -> Place | None:
        """The directory `path`, if it is open: by a path in the form that `open` is given, of one that
        passed the limits. Good until the next call of `open` or `forget`."""
        return self._open.get(path)

    def open(self, path: bytes, *, make: bool = True) -> Place | None:
        """The directory `path`; what is missing of it is made, or with `make` off, None returned.

        OSError if it cannot be: ENOTDIR, ELOOP … InvalidLayer past a limit. The descriptor is good
        until the next call of `open` or `forget`.
        """
        found = self._open.get(path)
        if found is not None:
            return found
        found = self._step(path)
        if found is not None:
            return found
        fd = self._resolve(path)
        missing = fd < 0
        if missing:
            if not make:
                return None
            fd = self._make(path)
        if len(self._open) >= _MOST_OPEN:
            self.forget()
        try:
            found = Place(fd, self._node(self._real(fd)))
            if found.node.mtime is None:
                # what has no time of its own gets the same in every tree
                old = self._flat and not missing
                found.node.mtime = os.fstat(fd).st_mtime_ns if old else 0
        except BaseException:
            os.close(fd)
            raise
        self._open[path] = found
        return found

    def _step(self, path: bytes) -> Place | None:
        """The directory `path`, if this layer has made it in one that is open: there is no link to
        follow then, and its node is known. Else None."""
        head, _, name = path.rpartition(b"/")
        above = self._open.get(head)
        node = above.node.children.get(name) if above is not None else None
        if above is None or node is None or node.made < 0 or node.depth > self._limits.depth:
            return None
        if len(self._open) >= _MOST_OPEN:
            self.forget(above)
        try:
            found = Place(os.open(name, _DIRECTORY, dir_fd=above.fd), node)
        except (FileNotFoundError, NotADirectoryError):
            return None
        self._open[path] = found
        return found

    def forget(self, current: Place | None = None) -> None:
        """Close all but the root: because there are many, or because a directory was removed and
        paths may lead elsewhere now. `current` stays good until the next call."""
        for place in (*self._open.values(), *self._kept):
            if place.fd not in (self.root.fd, current.fd if current else -1):
                os.close(place.fd)
        self._open = {b"": self.root}
        self._kept = [current] if current and current.fd != self.root.fd else []

    def _resolve(self, path: bytes) -> int:
        """A descriptor of a directory that is there, else -1."""
        try:
            return paths.open_directory_in_root(self.root.fd, path)
        except FileNotFoundError:
            return -1
        except NotADirectoryError:
            return -1  # it may be a whiteout, which gives way

    def _make(self, path: bytes) -> int:
        head, _, name = path.rpartition(b"/")
        above = self.open(head)
        assert above is not None
        self.implied += 1
        if self.implied > self._limits.entries:
            raise InvalidLayer(
                f"more than {self._limits.entries} directories that it does not list"
            )
        if name in above.node.whiteouts:
            os.unlink(name, dir_fd=above.fd)
            above.node.whiteouts.discard(name)
            os.mkdir(name, 0o755, dir_fd=above.fd)
            above.node.child(name).opaque = True  # of the one below nothing is left, nor its mode
        else:
            try:
                os.mkdir(name, 0o755, dir_fd=above.fd)
            except FileExistsError:
                if self._of_below(above, name):
                    os.unlink(name, dir_fd=above.fd)
                    os.mkdir(name, 0o755, dir_fd=above.fd)
                else:  # a link that leads nowhere yet, or what is no directory
                    paths.make_in_root(self.root.fd, os.fsdecode(path), directory=True)
        fd = self._resolve(path)
        if fd < 0:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return fd

    def _of_below(self, above: Place, name: bytes) -> bool:
        """Whether that is a file, but no link, of the layers below in a copy: it gives way, as it does
        where layers are put over each other."""
        if not self._flat or name in above.node.names:
            return False
        return not stat.S_ISLNK(os.stat(name, dir_fd=above.fd, follow_symlinks=False).st_mode)

    def _node(self, real: bytes) -> Node:
        node = self.root.node
        if not real:
            return node
        parts = real.split(b"/")
        if len(parts) > self._limits.depth:
            raise InvalidLayer(f"more than {self._limits.depth} directories deep")
        for name in parts:
            known = node.children.get(name)
            if known is None:
                known = node.child(name)
                if not self._flat:  # then it was made by this layer, by a link to nowhere
                    known.implied, known.mtime = True, 0
            node = known
        return node

    def _real(self, fd: int) -> bytes:
        """The path of an open directory from the root, without any link in it."""
        path = self._link(fd)
        prefix = self._real_root if self._real_root == b"/" else self._real_root + b"/"
        if path == self._real_root:
            return b""
        if not path.startswith(prefix):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), path)
        return path[len(prefix) :]

    @staticmethod
    def _link(fd: int) -> bytes:
        return os.readlink(b"/proc/self/fd/%d" % fd)


def _holds_something(root: int) -> bool:
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        with os.scandir(here) as entries:
            return next(entries, None) is not None
    finally:
        os.close(here)

"""What a layer is made of: changes to a tree, each with a way to what has changed.

Owns the walk of one tree. Nothing is opened through a link, and what is no file is not opened at
all: the tree was a container's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from mobyshell.core.errors import InvalidLayer, WrongState
from mobyshell.core.store.layers.tar.reader import shown
from mobyshell.core.store.layers.values import Limits

HERE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_LIMITS = Limits()
"""What we would unpack again."""


class Change(NamedTuple):
    """Something that a layer says of `path`.

    It is `name` in the open directory `parent`, until the next change is asked for. `about` is None
    where something was deleted; an `opaque` directory hides all that was in it before.
    """

    path: bytes
    parent: int
    name: bytes
    about: os.stat_result | None
    opaque: bool = False

    @property
    def place(self) -> bytes:
        """A path to it that leads through no link but the kernel's own."""
        return b"/proc/self/fd/%d/%s" % (self.parent, self.name)


def names(directory: int) -> list[bytes]:
    """The names in a directory, in the order of their bytes."""
    return sorted(map(os.fsencode, os.listdir(directory)))


def look(directory: int, name: bytes, path: bytes) -> os.stat_result:
    """What `name` is. WrongState if it has just gone."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        raise changed(path) from None


def enter(directory: int, name: bytes, path: bytes) -> int:
    """Open the directory `name`. WrongState if it has just gone; InvalidLayer past a limit."""
    if len(path) > _LIMITS.path or path.count(b"/") >= _LIMITS.depth:
        raise InvalidLayer("too long, or too deep, for a layer", entry=shown(path[:200]))
    try:
        return os.open(name, HERE, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise changed(path) from None
        raise


def changed(path: bytes) -> WrongState:
    """The error for a tree that somebody writes to."""
    return WrongState(
        f"{shown(path)!r} was changed while it was read", hint="pause or stop what writes there"
    )


def everything(parent: int, name: bytes, path: bytes, about: os.stat_result) -> Iterator[Change]:
    """All of a tree as added: `name` in `parent`, and what is in it if it is a directory."""
    yield Change(path, parent, name, about)
    if not stat.S_ISDIR(about.st_mode):
        return
    here = enter(parent, name, path)
    try:
        for inside in names(here):
            below = path + b"/" + inside if path else inside
            yield from everything(here, inside, below, look(here, inside, below))
    finally:
        os.close(here)

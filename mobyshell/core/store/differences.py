"""What a snapshot has that its parent has not: told path by path, or written as a layer.

Where overlayfs has collected the changes, they are read from its directory; of snapshots that are
whole, two trees are compared. Mounts nothing. Owns only which of the two it is.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from tempfile import TemporaryDirectory

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store.layers import Compression, LayerWorker, Written
from mobyshell.core.store.layers.changes import Change
from mobyshell.core.store.layers.compare import tree_changes
from mobyshell.core.store.layers.upper import upper_changes
from mobyshell.core.store.snapshots import mounting
from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.protocol import Form, Mount, Snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.core.values import value

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Way(StrEnum):
    """What has happened to a path. REPLACED: a directory, of which nothing is as it was."""

    ADDED = "added"
    CHANGED = "changed"
    DELETED = "deleted"
    REPLACED = "replaced"


@value
class Difference:
    """One path, from the root of the tree. `size` in bytes, of files; `mode` as in stat(2), 0 if
    it was deleted."""

    way: Way
    path: str
    size: int = 0
    mode: int = 0


def differences(snapshots: Snapshotter, key: str) -> Iterator[Difference]:
    """What snapshot `key` has changed of its parent, by path. A view has changed nothing.

    Raises:
        NotFound: there is none.
        WrongState: somebody writes to it just now.
        Unsupported: overlayfs noted something that only a mount can show.
    """
    with ExitStack() as held:
        own, below, flat = _places(snapshots, key, held)
        if own is None:
            return
        stack = held.enter_context(Stack(below))
        form = _form(snapshots, key)
        changes = upper_changes(own, form) if flat is None else tree_changes(flat, own)
        try:
            for change in changes:
                if change.path:
                    yield _told(change, stack)
        except OSError as error:
            raise SyscallFailed.of(error, "reading the changes of a snapshot") from error


def write_layer(
    snapshots: Snapshotter, key: str, output: int, *, compression: Compression = Compression.NONE,
    newest: float | None = None, sync: bool = False, enter: Sequence[str] = (),
) -> Written:  # fmt: skip
    """The same as a layer, written to the descriptor `output` by a `LayerWorker`, whose errors
    these are. `newest`: times are not later (see there). Owners are as a container of it sees them;
    `enter` as `owners.Owners` has it.
    """
    with ExitStack() as held:
        own, _, flat = _places(snapshots, key, held)
        worker = held.enter_context(LayerWorker(enter=enter))
        if own is not None and flat is None:
            return worker.diff_upper(own, output, form=_form(snapshots, key),
                                     compression=compression, newest=newest, sync=sync)  # fmt: skip
        nothing = _open(held.enter_context(TemporaryDirectory(prefix="mobyshell-")), held)
        lower = nothing if flat is None else flat
        return worker.diff_trees(lower, nothing if own is None else own, output,
                                 compression=compression, newest=newest, sync=sync)  # fmt: skip


def _places(
    snapshots: Snapshotter, key: str, held: ExitStack
) -> tuple[int | None, list[str], int | None]:
    """The directory of what `key` has itself (None: nothing), those that it lies upon, and the one
    to compare it with (None: it holds changes only, or is upon nothing)."""
    found = snapshots.stat(key)
    target = snapshots.directories(key)
    if found.kind == "view":
        return None, [], None
    own = _open_seen(str(target.directory), IdMaps.of_labels(found.labels), held)
    if target.form is not Form.FLAT or not found.parent:
        return own, [str(one) for one in target.lowers], None
    parent = str(snapshots.directories(found.parent).directory)
    return own, [parent], _open(parent, held)


def _form(snapshots: Snapshotter, key: str) -> Form:
    form = snapshots.directories(key).form
    # a whole tree upon nothing: all of it is new, and there is nothing to be read differently
    return Form.OVERLAY if form is Form.FLAT else form


def _open(path: str, held: ExitStack) -> int:
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=path) from error
    held.callback(os.close, fd)
    return fd


def _open_seen(path: str, maps: IdMaps, held: ExitStack) -> int:
    """A directory, with owners as they are seen in the user namespace that it is for: a layer is
    of no namespace."""
    if not maps:
        return _open(path, held)
    back = maps.inverse()
    mount = held.enter_context(mounting.opened([Mount("bind", path, ("rw", *back.options()))]))
    fd = os.open(".", _DIRECTORY, dir_fd=mount)
    held.callback(os.close, fd)
    return fd


def _told(change: Change, below: Stack) -> Difference:
    path = "/" + os.fsdecode(change.path)
    if change.about is None:
        return Difference(Way.DELETED, path)
    way = Way.ADDED
    hidden = below.beneath(path)
    if hidden is not None:
        os.close(hidden)
        way = Way.REPLACED if change.opaque else Way.CHANGED
    about = change.about
    size = about.st_size if stat.S_ISREG(about.st_mode) else 0
    return Difference(way, path, size, about.st_mode)

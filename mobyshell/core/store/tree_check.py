"""Whether the trees of layers hold what their layers say: each is unpacked once more and compared.

Owns the unpacking aside, and the exchange of a damaged tree for the fresh one. What a container sees
of a layer is this tree, not the layer's blob, which is only read again here.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobyshell.core.errors import (
    InvalidLayer,
    MobyshellError,
    NotFound,
    StoreDamaged,
    SyscallFailed,
)
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.files import sync_directory, sync_filesystem
from mobyshell.core.linux.syscalls import call
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import owners
from mobyshell.core.store.layers import Applied, Form, LayerWorker, Region, settle
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.sameness import difference
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.values import value

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@value
class LayerTree:
    """A committed snapshot that is a layer: its tree's number, where one namespace has it, and the
    blob that it was unpacked from."""

    id: int
    snapshotter: str
    namespace: str
    name: str
    parent: str
    digest: Digest
    opaque: bool


def layer_trees(store: Store) -> list[LayerTree]:
    """All whose blob is here as well; those below before those upon them."""
    with store.database.read() as sql:
        rows: list[sqlite3.Row] = sql.execute(
            "SELECT trees.id, trees.snapshotter, one.namespace, one.key, coalesce(above.key, ''),"
            " content.digest, trees.opaque FROM trees"
            " JOIN snapshots AS one ON one.tree = trees.id AND one.kind = 'committed'"
            " LEFT JOIN snapshots AS above ON above.id = one.parent"
            " JOIN blobs ON blobs.diff_id = trees.diff_id"
            " JOIN content ON content.digest = blobs.digest AND content.namespace = one.namespace"
            " WHERE trees.chain_id IS NOT NULL GROUP BY trees.id ORDER BY one.id"
        ).fetchall()
    return [LayerTree(id, snapshotter, namespace, name, parent, Digest(digest), bool(opaque))
            for id, snapshotter, namespace, name, parent, digest, opaque in rows
            if snapshotter in DRIVERS]  # fmt: skip


def check(store: Store, *, repair: bool) -> Iterator[tuple[LayerTree, str, bool]]:
    """Those that are not what they should be, in what, and whether that was mended. What lies upon
    one that is left damaged is not looked at. MobyshellError."""
    damaged: set[tuple[str, str, str]] = set()
    for one in layer_trees(store):
        if (one.namespace, one.snapshotter, one.parent) in damaged:
            continue
        try:
            found = _look(store, one, repair)
        except (NotFound, InvalidLayer, StoreDamaged):
            continue  # removed meanwhile, with its image; or its blob is damaged, which is told of
        if found:
            if not repair:
                damaged.add((one.namespace, one.snapshotter, one.name))
            yield one, found, repair


def _look(store: Store, one: LayerTree, repair: bool) -> str:
    with store.namespace(one.namespace).leased() as held:
        snapshots = held.snapshotter(one.snapshotter)
        target = snapshots.directories(one.name)
        there = target.directory
        if not all(place.is_dir() for place in (there, *target.lowers)):
            return ""  # which is said elsewhere
        whose = owners.of_store(store.root)
        with _fresh(held, one, whose) as fresh:
            same = _asked(whose, str(there), str(fresh))
            if same and repair:
                _exchange(there, fresh)
            return same


@contextmanager
def _fresh(held: Namespace, one: LayerTree, whose: owners.Owners) -> Iterator[Path]:
    """The layer, unpacked once more, upon the same ones."""
    snapshots = held.snapshotter(one.snapshotter)
    # in an overlay form each layer is unpacked alone, and fitted upon the others afterwards
    below = "" if snapshots.rebases else one.parent
    key = f"check-{time.time_ns()}-{os.urandom(4).hex()} {one.name}"
    snapshots.prepare(key, below)
    try:
        target = snapshots.layer_target(key)
        form = target.form if one.parent else Form.FLAT
        tree = os.open(target.directory, _DIRECTORY)
        try:
            with LayerWorker(enter=whose.enter) as worker:
                with held.content.open(one.digest) as blob:
                    done = worker.apply(Region(blob.fd), tree, form=form, owners=whose.several)
                if done.digest != one.digest:
                    raise StoreDamaged(f"blob {one.digest} holds other bytes: {done.digest}")
                if one.parent and target.form is not Form.FLAT:
                    found = snapshots.directories(one.parent)
                    lowers = [str(place) for place in (found.directory, *found.lowers)]
                    _settle(worker, whose, tree, lowers, done)
        finally:
            os.close(tree)
        yield target.directory
    finally:
        with suppress(NotFound):
            snapshots.remove(key)


def _settle(
    worker: LayerWorker, whose: owners.Owners, tree: int, below: list[str], done: Applied
) -> None:
    if whose.enter:
        worker.settle(tree, below, done)
        return
    with Stack(below) as stack:
        settle(tree, stack, done)


def _asked(whose: owners.Owners, one: str, other: str) -> str:
    """`difference`, by who may look."""
    compare: Callable[[str, str], str] = difference
    if whose.enter:
        from mobyshell.core.store.snapshots.inside import Inside

        compare = Inside(whose.enter).difference
    try:
        return compare(one, other)
    except MobyshellError:
        raise
    except OSError as error:
        return f"{error.filename or one}: {error.strerror}"  # a disk that cannot be read


def _exchange(there: Path, fresh: Path) -> None:
    """Put the fresh tree where the damaged one is, in one step."""
    try:
        fd = os.open(fresh, _DIRECTORY)
        try:
            sync_filesystem(fd, path=str(fresh))
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(fresh)) from error
    names = (os.fsencode(there) + b"\0", os.fsencode(fresh) + b"\0")
    call("renameat2", c.AT_FDCWD, names[0], c.AT_FDCWD, names[1], _RENAME_EXCHANGE, path=str(there))
    for place in (there.parent, fresh.parent):
        sync_directory(place)


_RENAME_EXCHANGE = 2
"""renameat2(2)"""

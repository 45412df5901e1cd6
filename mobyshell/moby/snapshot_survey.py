"""The snapshots of a namespace as a person surveys them: what there is, what each holds, how it is
mounted, and who keeps it.

Owns the values that a list of snapshots and the look into one show, and the seam (`Snapshots`)
behind which they are read. Changes nothing, mounts nothing; every call may block.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import MobyshellError
from mobyshell.core.store.differences import differences
from mobyshell.core.store.gc.collect import look
from mobyshell.core.store.gc.graph import Graph, Node, holders, tell, ways
from mobyshell.core.store.snapshots.protocol import Kind, Mount, Snapshot, Snapshotter, Usage
from mobyshell.core.store.stack import Stack
from mobyshell.moby.look import LARGEST, file_row
from mobyshell.moby.survey import LayerChanges, TreeRow, layer_changes, marked

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

MEASURED = 30.0
"""Seconds for which what an active snapshot takes is not measured again: its files are counted."""


@dataclass(frozen=True, slots=True)
class Holder:
    """A root that keeps a snapshot: `kind` image, container, lease, or snapshot (by its label)."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class SnapshotInfo:
    """A snapshot in a list. `kind` active, view or committed; `size` (bytes) and `inodes` are its
    own, without its parents, None where they could not be counted; `holders` is who keeps it:
    nobody, and the next collection takes it."""

    key: str
    kind: str
    parent: str
    created_ns: int
    updated_ns: int
    size: int | None
    inodes: int | None
    holders: tuple[Holder, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """A directory that a snapshot is made of, and whose it is."""

    key: str
    size: int | None
    directory: str


@dataclass(frozen=True, slots=True)
class Makeup:
    """How a snapshot is put together. `layers`: the topmost first, its own among them; `mounts`:
    what it says itself, or a view of it would where it is committed (`through`: "view")."""

    snapshotter: str
    form: str
    layers: tuple[Layer, ...]
    mounts: tuple[Mount, ...]
    through: str = ""


class Snapshots(Protocol):
    """What screens ask about snapshots. NotFound for a key that is none."""

    def ls(self) -> list[SnapshotInfo]:
        """All of the namespace, parents before their children."""
        ...

    def tree(self, key: str, path: str) -> list[TreeRow]:
        """A directory as the snapshot shows it, with what it changed of its parent's."""
        ...

    def content(self, key: str, path: str) -> bytes:
        """The first bytes of a file."""
        ...

    def makeup(self, key: str) -> Makeup:
        """What it is made of, and how it is mounted."""
        ...

    def why(self, key: str) -> list[str]:
        """The ways from what garbage collection begins with; none if it is garbage."""
        ...


class SnapshotSurvey:
    """`Snapshots` of the namespace that `tenant` says at each call, by its best snapshotter."""

    def __init__(self, tenant: Callable[[], Tenant]) -> None:
        self._tenant = tenant
        self._sizes: dict[tuple[str, float], tuple[float, Usage]] = {}
        self._changes: tuple[tuple[str, float], LayerChanges] | None = None

    def ls(self) -> list[SnapshotInfo]:
        snapshots = self._snapshots()
        held = holders(self._graph())
        found = []
        for one in snapshots.walk():
            usage = self._usage(snapshots, one)
            found.append(
                SnapshotInfo(
                    one.name, str(one.kind), one.parent, int(one.created * 1e9),
                    int(one.updated * 1e9), usage.size if usage else None,
                    usage.inodes if usage else None,
                    tuple(_holder(root) for root in held.get(self._node(snapshots, one.name), ())),
                    dict(one.labels),
                )
            )  # fmt: skip
        return found

    def tree(self, key: str, path: str) -> list[TreeRow]:
        snapshots = self._snapshots()
        place = snapshots.directories(key)
        with Stack([place.directory, *place.lowers]) as stack:
            depth = len(place.lowers)
            rows = [file_row(posixpath.join(path, one.name), one, depth) for one in stack.ls(path)]
        return marked(rows, self._changed(snapshots, key), path)

    def content(self, key: str, path: str) -> bytes:
        place = self._snapshots().directories(key)
        with Stack([place.directory, *place.lowers]) as stack:
            return stack.read(path, LARGEST)

    def makeup(self, key: str) -> Makeup:
        from mobyshell.core.store.snapshots.explained import view_mount

        snapshots = self._snapshots()
        found, place = snapshots.stat(key), snapshots.directories(key)
        whose = self._whose(snapshots, found)
        layers = tuple(
            Layer(*whose.get(one, ("?", None)), one)
            for one in map(str, (place.directory, *place.lowers))
        )
        if found.kind is Kind.COMMITTED:
            shown = view_mount((place.directory, *place.lowers))
            return Makeup(snapshots.name, str(place.form), layers, (shown,), "view")
        return Makeup(snapshots.name, str(place.form), layers, tuple(snapshots.mounts(key)))

    def why(self, key: str) -> list[str]:
        snapshots = self._snapshots()
        snapshots.stat(key)
        return [tell(way) for way in ways(self._graph(), self._node(snapshots, key))]

    def _whose(self, snapshots: Snapshotter, found: Snapshot) -> dict[str, tuple[str, int | None]]:
        """Directories of a snapshot and of those below it, with their keys and sizes."""
        whose: dict[str, tuple[str, int | None]] = {}
        own = found.kind is not Kind.VIEW or not found.parent  # else it shows its parent's
        at: Snapshot | None = found if own else snapshots.stat(found.parent)
        while at is not None:
            usage = self._usage(snapshots, at)
            size = usage.size if usage else None
            whose.setdefault(str(snapshots.directories(at.name).directory), (at.name, size))
            at = snapshots.stat(at.parent) if at.parent else None
        return whose

    def _snapshots(self) -> Snapshotter:
        return self._tenant().snapshotter()

    def _graph(self) -> Graph:
        scope = self._tenant().store.scope
        return look(scope.database, scope.clock)[0]

    def _node(self, snapshots: Snapshotter, key: str) -> Node:
        return Node(self._tenant().store.name, f"snapshot/{snapshots.name}", key)

    def _usage(self, snapshots: Snapshotter, one: Snapshot) -> Usage | None:
        """What it takes; of one whose files are being removed just now, None."""
        mark, now = (one.name, one.created), time.monotonic()
        known = self._sizes.get(mark)
        if one.kind is Kind.ACTIVE and known is not None and now - known[0] < MEASURED:
            return known[1]
        try:
            usage = snapshots.usage(one.name)
        except MobyshellError:
            return None
        if one.kind is Kind.ACTIVE:
            self._sizes[mark] = now, usage
        return usage

    def _changed(self, snapshots: Snapshotter, key: str) -> LayerChanges:
        """Each directory of a committed one's tree asks for the same: the last is kept."""
        found = snapshots.stat(key)
        mark = (key, found.created)
        kept = self._changes
        if kept is not None and kept[0] == mark:
            return kept[1]
        changes = layer_changes(differences(snapshots, key))
        if found.kind is not Kind.ACTIVE:
            self._changes = mark, changes
        return changes


def _holder(root: Node) -> Holder:
    return Holder(root.kind.partition("/")[0], root.key)

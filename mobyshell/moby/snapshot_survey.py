"""The snapshots of a namespace as a person surveys them: what there is, what each holds, how it is
mounted, and who keeps it.

Owns the values that a list of snapshots and the look into one show, and the seam (`Snapshots`)
behind which they are read. Changes nothing, mounts nothing; every call may block.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import MobyshellError
from mobyshell.core.store.differences import differences
from mobyshell.core.store.gc.collect import look
from mobyshell.core.store.gc.graph import Graph, Node, holders, tell, ways
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.protocol import Kind, Mount, Snapshot, Snapshotter, Usage
from mobyshell.core.store.stack import Stack
from mobyshell.core.values import field, value
from mobyshell.moby.look import LARGEST, file_row
from mobyshell.moby.survey import LayerChanges, TreeRow, layer_changes, marked

if TYPE_CHECKING:
    from mobyshell.moby.tenant import Tenant

_Mark = tuple[str, str, float]
"""A snapshotter, a key, and when that was made: what a key means may be another by now."""

MEASURED = 30.0
"""Seconds for which what an active snapshot takes is not measured again: its files are counted."""


@value
class Holder:
    """A root that keeps a snapshot: `kind` image, container, lease, or snapshot (by its label)."""

    kind: str
    name: str


@value
class SnapshotInfo:
    """A snapshot in a list. `kind` active, view or committed; `size` (bytes) and `inodes` are its
    own, without its parents, None where they could not be counted; `holders` is who keeps it:
    nobody, and the next collection takes it. `snapshotter` keeps its files; `preferred`: it is the
    one that is meant where none is named."""

    key: str
    kind: str
    parent: str
    created_ns: int
    updated_ns: int
    size: int | None
    inodes: int | None
    holders: tuple[Holder, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    snapshotter: str = "overlayfs"
    preferred: bool = True

    @property
    def id(self) -> str:
        """What tells it from all others: a key is one of its snapshotter's only."""
        return self.id_of(self.key)

    @property
    def parent_id(self) -> str:
        """The `id` of what it stands upon; "" if that is nothing."""
        return self.id_of(self.parent) if self.parent else ""

    def id_of(self, key: str) -> str:
        """The `id` of another of the same snapshotter."""
        return key if self.preferred else f"{self.snapshotter}\0{key}"


@value
class Layer:
    """A directory that a snapshot is made of, and whose it is."""

    key: str
    size: int | None
    directory: str


@value
class Makeup:
    """How a snapshot is put together. `layers`: the topmost first, its own among them; `mounts`:
    what it says itself, or a view of it would where it is committed (`through`: "view")."""

    snapshotter: str
    form: str
    layers: tuple[Layer, ...]
    mounts: tuple[Mount, ...]
    through: str = ""


class Snapshots(Protocol):
    """What screens ask about snapshots. NotFound for one that is not there any more."""

    def ls(self) -> list[SnapshotInfo]:
        """All of the namespace and of every snapshotter, parents before their children."""
        ...

    def tree(self, one: SnapshotInfo, path: str) -> list[TreeRow]:
        """A directory as the snapshot shows it, with what it changed of its parent's."""
        ...

    def content(self, one: SnapshotInfo, path: str) -> bytes:
        """The first bytes of a file."""
        ...

    def makeup(self, one: SnapshotInfo) -> Makeup:
        """What it is made of, and how it is mounted."""
        ...

    def why(self, one: SnapshotInfo) -> list[str]:
        """The ways from what garbage collection begins with; none if it is garbage."""
        ...


class SnapshotSurvey:
    """`Snapshots` of the namespace that `tenant` says at each call."""

    def __init__(self, tenant: Callable[[], Tenant]) -> None:
        self._tenant = tenant
        self._sizes: dict[_Mark, tuple[float, Usage]] = {}
        self._changes: tuple[_Mark, LayerChanges] | None = None

    def ls(self) -> list[SnapshotInfo]:
        held = holders(self._graph())
        preferred = self._tenant().snapshotter().name
        found = []
        for name in sorted(DRIVERS, key=lambda name: name != preferred):
            snapshots = self._tenant().snapshotter(name)
            for one in snapshots.walk():
                usage = self._usage(snapshots, one)
                roots = held.get(self._node(snapshots, one.name), ())
                found.append(
                    SnapshotInfo(
                        one.name, str(one.kind), one.parent, int(one.created * 1e9),
                        int(one.updated * 1e9), usage.size if usage else None,
                        usage.inodes if usage else None, tuple(map(_holder, roots)),
                        dict(one.labels), name, name == preferred,
                    )
                )  # fmt: skip
        return found

    def tree(self, one: SnapshotInfo, path: str) -> list[TreeRow]:
        snapshots, key = self._tenant().snapshotter(one.snapshotter), one.key
        place = snapshots.directories(key)
        with Stack([place.directory, *place.lowers]) as stack:
            depth = len(place.lowers)
            rows = [file_row(posixpath.join(path, one.name), one, depth) for one in stack.ls(path)]
        return marked(rows, self._changed(snapshots, key), path)

    def content(self, one: SnapshotInfo, path: str) -> bytes:
        place = self._tenant().snapshotter(one.snapshotter).directories(one.key)
        with Stack([place.directory, *place.lowers]) as stack:
            return stack.read(path, LARGEST)

    def makeup(self, one: SnapshotInfo) -> Makeup:
        from mobyshell.core.store.snapshots.explained import view_mount

        snapshots, key = self._tenant().snapshotter(one.snapshotter), one.key
        found, place = snapshots.stat(key), snapshots.directories(key)
        whose = self._whose(snapshots, found)
        layers = tuple(
            Layer(*whose.get(where, ("?", None)), where)
            for where in map(str, (place.directory, *place.lowers))
        )
        if found.kind is Kind.COMMITTED:
            shown = view_mount((place.directory, *place.lowers))
            return Makeup(snapshots.name, str(place.form), layers, (shown,), "view")
        return Makeup(snapshots.name, str(place.form), layers, tuple(snapshots.mounts(key)))

    def why(self, one: SnapshotInfo) -> list[str]:
        snapshots = self._tenant().snapshotter(one.snapshotter)
        snapshots.stat(one.key)
        return [tell(way) for way in ways(self._graph(), self._node(snapshots, one.key))]

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

    def _graph(self) -> Graph:
        scope = self._tenant().store.scope
        return look(scope.database, scope.clock)[0]

    def _node(self, snapshots: Snapshotter, key: str) -> Node:
        return Node(self._tenant().store.name, f"snapshot/{snapshots.name}", key)

    def _usage(self, snapshots: Snapshotter, one: Snapshot) -> Usage | None:
        """What it takes; of one whose files are being removed just now, None."""
        mark, now = (snapshots.name, one.name, one.created), time.monotonic()
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
        mark = (snapshots.name, key, found.created)
        kept = self._changes
        if kept is not None and kept[0] == mark:
            return kept[1]
        changes = layer_changes(differences(snapshots, key))
        if found.kind is not Kind.ACTIVE:
            self._changes = mark, changes
        return changes


def _holder(root: Node) -> Holder:
    return Holder(root.kind.partition("/")[0], root.key)

"""What a snapshotter is. This interface is its specification; the shared suite
(tests/core/store/snapshots) holds every implementation to it.

A snapshot is a tree of files with a parent. It is *active* (being written), a *view* (of a parent,
read only) or *committed* (never changed any more). Keys and names live in one space:

    prepare("k", "")  ──write into mounts("k")──  commit("layer-1", "k")      "k" is gone,
    prepare("k", "layer-1")  ──…──  commit("layer-2", "k")                     "layer-1" is there
    view("v", "layer-2")                      nobody commits a view
    prepare("box", "layer-2")                 a container's: removed with it, or committed

The rules:

- Only what is committed can be a parent. A parent's tree is never changed by its children.
- A snapshotter mounts nothing: it says what to mount (`Mount`), and may be asked again by
  `mounts`. Whoever mounts, unmounts before `commit` and `remove`.
- `commit` makes a committed snapshot of an active one, which ceases to be, in one step: there is
  no moment at which both are there, or neither.
- What has children cannot be removed. What is removed is gone at once by its name; its files
  may remain until `cleanup`.
- `usage` counts a snapshot alone, without its parents: of active ones as it is now, of committed
  ones as it was when it was committed.
- Labels belong to a snapshot. Only those that begin with `containerd.io/snapshot/` go over from
  an active one to what it is committed as; nothing goes from parents to children.
- Everything belongs to a namespace, and sees only that. Files may be shared: a chain of layers
  that one namespace has unpacked is `adopt`ed by another that has the same layers itself.

After containerd's core/snapshots/snapshotter.go, whose rules these are. `layer_target`, `adopt` and
the last two arguments of `commit` are for who unpacks images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from mobyshell.core.store.form import Form as Form
from mobyshell.core.values import field, value

INHERITED = "containerd.io/snapshot/"
"""Labels that begin so are kept by `commit`."""

REF = "containerd.io/snapshot.ref"
"""A label of `prepare`: the name that the snapshot will be committed as. Where a snapshot of that
name is there already, or can be adopted, `prepare` says AlreadyExists, as containerd's remote
snapshotters do: nothing needs to be unpacked."""

UID_MAPPING = INHERITED + "uidmapping"
GID_MAPPING = INHERITED + "gidmapping"
"""Labels of `prepare` and `view`: `CONTAINER:HOST:SIZE[,…]`, how the ids in the parent's tree are
to be seen from the user namespace that it is for. Such a snapshot cannot be committed (its files
are of host's ids): what it has changed is written as a layer (`core/store/differences`)."""


class Kind(StrEnum):
    """What can be done with a snapshot."""

    ACTIVE = "active"
    VIEW = "view"
    COMMITTED = "committed"


@value
class Mount:
    """What mount(8) is to be told; `target` is relative to where the rootfs shall be."""

    type: str
    source: str
    options: tuple[str, ...] = ()
    target: str = ""


@value
class Usage:
    """`size` in bytes that the files take on the disk, and how many inodes."""

    size: int = 0
    inodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.size + other.size, self.inodes + other.inodes)


@value
class Snapshot:
    """What is known of a snapshot. `name` is a key until it is committed; times in seconds since
    the epoch."""

    name: str
    kind: Kind
    parent: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


@value
class LayerTarget:
    """A directory of files, with nothing mounted. `form`: how it says what its parents have and it
    has not. `lowers`: the directories that show through it, the nearest first; none where the form
    is flat."""

    directory: Path
    form: Form
    lowers: tuple[Path, ...] = ()


@value
class Layer:
    """What somebody who has unpacked a layer knows of it: the digest of its tar, which was computed
    from the bytes that were unpacked, and whether its root is opaque."""

    diff_id: str
    opaque_root: bool = False


class Snapshotter(Protocol):
    """See the module. Errors of all: NotFound (no such snapshot), AlreadyExists (the key or name is
    taken), WrongState (what the rules forbid; containerd's failed precondition)."""

    @property
    def name(self) -> str:
        """Such as `overlayfs` or `native`."""

    @property
    def rebases(self) -> bool:
        """Whether `commit` takes a parent, so that layers can be unpacked independently."""

    def stat(self, key: str) -> Snapshot:
        """What is known of one."""

    def claim(self, key: str) -> Snapshot:
        """As `stat`, and from now on the lease, if there is one, holds it."""

    def update(self, key: str, labels: Mapping[str, str | None]) -> Snapshot:
        """Set labels; None takes one away. Nothing else of a snapshot can be changed."""

    def usage(self, key: str) -> Usage:
        """What it takes, without its parents."""

    def mounts(self, key: str) -> Sequence[Mount]:
        """What to mount to see an active snapshot or a view. WrongState if it is committed."""

    def prepare(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Mount]:
        """Make an active snapshot, to be written through the mounts that are returned."""

    def view(
        self, key: str, parent: str = "", labels: Mapping[str, str] | None = None
    ) -> Sequence[Mount]:
        """Make a view of a committed snapshot, or of nothing."""

    def layer_target(self, key: str) -> LayerTarget:
        """Where a layer can be applied to an active snapshot."""

    def directories(self, key: str) -> LayerTarget:
        """Where the files of any snapshot lie, to be read only."""

    def commit(
        self, name: str, key: str, labels: Mapping[str, str] | None = None, *,
        parent: str = "", layer: Layer | None = None,
    ) -> None:  # fmt: skip
        """Make of the active `key` the committed `name`. Its files are on the disk afterwards.

        `parent`: whose child it becomes, if it was prepared without one (see `rebases`). `layer`:
        it holds that, unpacked, and nothing else, so that others may adopt it.
        """

    def adopt(self, name: str, parent: str = "", labels: Mapping[str, str] | None = None) -> bool:
        """Make the committed `name`, a chain id, of a tree that another namespace has unpacked.
        False if there is none, or this namespace has no content that unpacks to it."""

    def remove(self, key: str) -> None:
        """Remove one, of whatever kind. WrongState while it has children."""

    def walk(self, *filters: str) -> Iterator[Snapshot]:
        """All, or those that match any of the filters (`core/store/filters`), parents first."""

    def cleanup(self) -> Usage:
        """Remove files that no snapshot owns any more; returns what was freed."""

    def close(self) -> None:
        """Give back what it holds."""

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
- Everything belongs to a namespace, and sees only that.

After containerd's core/snapshots/snapshotter.go, whose rules these are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What can be done with a snapshot."""

    ACTIVE = "active"
    VIEW = "view"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Mount:
    """What mount(8) is to be told; `target` is relative to where the rootfs shall be."""

    type: str
    source: str
    options: tuple[str, ...] = ()
    target: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """`size` in bytes that the files take on the disk, and how many inodes."""

    size: int = 0
    inodes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.size + other.size, self.inodes + other.inodes)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of a snapshot. `name` is a key until it is committed; times in seconds since
    the epoch."""

    name: str
    kind: Kind
    parent: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    updated: float = 0.0


class Snapshotter(Protocol):
    """See the module. Errors of all: NotFound (no such snapshot), AlreadyExists (the key or name is
    taken), WrongState (what the rules forbid; containerd's failed precondition)."""

    @property
    def name(self) -> str:
        """Such as `overlayfs` or `native`."""

    def stat(self, key: str) -> Snapshot:
        """What is known of one."""

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

    def commit(self, name: str, key: str, labels: Mapping[str, str] | None = None) -> None:
        """Make of the active `key` the committed `name`. Its files are on the disk afterwards."""

    def remove(self, key: str) -> None:
        """Remove one, of whatever kind. WrongState while it has children."""

    def walk(self, *filters: str) -> Iterator[Snapshot]:
        """All, or those that match any of the filters (`core/store/filters`), parents first."""

    def cleanup(self) -> Usage:
        """Remove files that no snapshot owns any more; returns what was freed."""

    def close(self) -> None:
        """Give back what it holds."""

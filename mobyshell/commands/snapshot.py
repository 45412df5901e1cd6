"""`snapshot`: trees of files upon each other, made, committed, mounted and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands import snapshot_plans as plans
from mobyshell.commands.registry import (
    DESTROY,
    FILE,
    READ,
    SNAPSHOT,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    verb,
)
from mobyshell.commands.results import Done, Record, Rows
from mobyshell.commands.snapshot_plans import snapshots_of as snapshots_of
from mobyshell.commands.stored import changes_of, kept_labels, ns, snapshot_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.snapshots.protocol import Mount, Snapshot

N = "snapshot"
SNAPSHOTTER = option("--snapshotter", "which keeps them (default: the best that works here)")
_LABELS = option("--label", "KEY=VALUE, as often as wanted", many=True, name="labels")
KEY = argument("key", SNAPSHOT, "the snapshot")
_PARENT = optional("parent", SNAPSHOT, "a committed snapshot to begin with", default="")


def _row(one: Snapshot) -> dict[str, Any]:
    return {
        "key": one.name, "kind": str(one.kind), "parent": one.parent,
        "created": ns(one.created), "updated": ns(one.updated),
        "labels": dict(one.labels),
    }  # fmt: skip


def record_of(one: Snapshot) -> dict[str, Any]:
    from mobyshell.core.clock import rfc3339

    row = _row(one)
    return {**row, "created": rfc3339(row["created"]), "updated": rfc3339(row["updated"])}


@verb(
    N, "ls",
    optional("filters", TEXT, "such as kind==active, parent==…, labels.x==y", many=True),
    SNAPSHOTTER, effect=READ, example="snapshot ls kind==active",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...], snapshotter: str | None) -> Rows:
    """List the snapshots of the namespace, or those that one of the filters means; parents first."""
    rows = [_row(one) for one in snapshots_of(ctx, snapshotter).walk(*filters)]
    columns = (("key", "SNAPSHOT", "id"), ("kind", "KIND", "state"), ("parent", "PARENT", "text"),
               ("created", "CREATED", "ago"))  # fmt: skip
    return Rows(columns, rows, "key")


@verb(
    N, "prepare", argument("key", TEXT, "its key until it is committed"), _PARENT, _LABELS,
    SNAPSHOTTER, effect=WRITE, example="snapshot prepare fresh", key="p", plan=plans.prepare,
)  # fmt: skip
def prepare(
    ctx: Context, *, key: str, parent: str, labels: tuple[str, ...], snapshotter: str | None
) -> Rows:
    """Make an active snapshot, empty or upon a committed one, and say how it is mounted.

    It is written through these mounts. Nothing is mounted by this.
    """
    snapshots = snapshots_of(ctx, snapshotter)
    below = snapshot_key(snapshots, parent)
    return mount_rows(snapshots.prepare(key, below, kept_labels(ctx, labels)))


@verb(
    N, "view", argument("key", TEXT, "its key"), _PARENT, _LABELS, SNAPSHOTTER, effect=WRITE,
    example="snapshot view look", key="v", plan=plans.view,
)  # fmt: skip
def view(
    ctx: Context, *, key: str, parent: str, labels: tuple[str, ...], snapshotter: str | None
) -> Rows:
    """Make a view of a committed snapshot, to be read only, and say how it is mounted."""
    snapshots = snapshots_of(ctx, snapshotter)
    below = snapshot_key(snapshots, parent)
    return mount_rows(snapshots.view(key, below, kept_labels(ctx, labels)))


@verb(
    N, "commit", argument("name", TEXT, "what it shall be called"), KEY, _LABELS, SNAPSHOTTER,
    effect=WRITE, example="snapshot commit layer layer-key", key="C", plan=plans.commit,
)  # fmt: skip
def commit(
    ctx: Context, *, name: str, key: str, labels: tuple[str, ...], snapshotter: str | None
) -> Done:
    """Make of an active snapshot a committed one, which never changes any more.

    Its key ceases to be, and a stopped container whose root it was has none any more. Unmount it
    first; refused while such a container's task is not stopped.
    """
    snapshots = snapshots_of(ctx, snapshotter)
    plans.refuse_running(ctx, snapshots, key)
    snapshots.commit(name, key, kept_labels(ctx, labels))
    return Done(name)


def mount_rows(mounts: Sequence[Mount]) -> Rows:
    rows = [
        {"type": one.type, "source": one.source, "options": ",".join(one.options),
         "target": one.target}
        for one in mounts
    ]  # fmt: skip
    columns = (("type", "TYPE", "text"), ("source", "SOURCE", "id"), ("options", "OPTIONS", "text"))
    return Rows(columns, rows, "source")


@verb(
    N, "label", KEY, argument("labels", TEXT, "KEY=VALUE; KEY= takes it away", many=True),
    SNAPSHOTTER, effect=WRITE, example="snapshot label layer-key colour=red", key="L",
    plan=plans.label,
)  # fmt: skip
def label(ctx: Context, *, key: str, labels: tuple[str, ...], snapshotter: str | None) -> Record:
    """Set labels of a snapshot, which filters and garbage collection know."""
    snapshots = snapshots_of(ctx, snapshotter)
    changed = snapshots.update(snapshot_key(snapshots, key), changes_of(labels))
    return Record(record_of(changed), "key")


@verb(
    N, "mount", KEY, argument("directory", FILE, "where; made if it is not there"), SNAPSHOTTER,
    effect=WRITE, example="snapshot mount layer-view mnt", key="M", plan=plans.mount,
)  # fmt: skip
def mount(ctx: Context, *, key: str, directory: str, snapshotter: str | None) -> Done:
    """Mount the files of a committed snapshot, or of a view, on a directory, to be read only.

    A view that is named like the directory keeps them until `snapshot unmount`. Setuid programs and
    devices in there are of no effect. What is active has a mount of its own (`snapshot mounts`),
    and overlayfs promises nothing for two.
    """
    from mobyshell.commands.mounted_views import mount_upon

    snapshots = snapshots_of(ctx, snapshotter)
    target = mount_upon(ctx, snapshots, plans.to_look_at(snapshots, key), directory)
    return Done(str(target), said=f"`mobyshell snapshot unmount {directory}` takes it away again")


@verb(
    N, "unmount", argument("directory", FILE, "where a snapshot is mounted"), SNAPSHOTTER,
    effect=WRITE, example="snapshot unmount mnt", key="U", plan=plans.unmount,
)  # fmt: skip
def unmount(ctx: Context, *, directory: str, snapshotter: str | None) -> Done:
    """Unmount what `snapshot mount` has mounted, and remove its view."""
    from mobyshell.commands.mounted_views import unmount as take_away

    return take_away(ctx, directory, snapshotter)


@verb(
    N, "rm", argument("keys", SNAPSHOT, "which", many=True), SNAPSHOTTER,
    effect=DESTROY, example="snapshot rm layer-key", key="D", plan=plans.rm,
    confirm="its files are deleted, if nothing else has them",
)  # fmt: skip
def rm(ctx: Context, *, keys: tuple[str, ...], snapshotter: str | None) -> Done:
    """Remove snapshots. One that has children, or is the root of a container, is refused."""
    snapshots = snapshots_of(ctx, snapshotter)
    named = [snapshot_key(snapshots, key) for key in keys]
    plans.refuse_roots(ctx, snapshots, named)
    for key in named:
        snapshots.remove(key)
    return Done(named[0] if len(named) == 1 else "")

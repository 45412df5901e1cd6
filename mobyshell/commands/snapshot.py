"""`snapshot`: trees of files upon each other, made, committed, looked at and removed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.output import clean, size
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
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, Text
from mobyshell.commands.stored import changes_of, kept_labels, ns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.snapshots.protocol import Mount, Snapshot, Snapshotter

N = "snapshot"
_SNAPSHOTTER = option("--snapshotter", "which keeps them (default: the best that works here)")
_LABELS = option("--label", "KEY=VALUE, as often as wanted", many=True, name="labels")
_KEY = argument("key", SNAPSHOT, "the snapshot")
_PARENT = optional("parent", SNAPSHOT, "a committed snapshot to begin with", default="")


def _snapshots(ctx: Context, name: str | None) -> Snapshotter:
    from mobyshell.core.store.snapshots.choose import snapshotter

    return snapshotter(ctx.space.scope, name or "")


def _row(one: Snapshot) -> dict[str, Any]:
    return {
        "key": one.name, "kind": str(one.kind), "parent": one.parent,
        "created": ns(one.created), "updated": ns(one.updated),
        "labels": dict(one.labels),
    }  # fmt: skip


def _record(one: Snapshot) -> dict[str, Any]:
    from mobyshell.core.clock import rfc3339

    row = _row(one)
    return {**row, "created": rfc3339(row["created"]), "updated": rfc3339(row["updated"])}


@verb(
    N, "ls",
    optional("filters", TEXT, "such as kind==active, parent==…, labels.x==y", many=True),
    _SNAPSHOTTER, effect=READ, example="snapshot ls kind==active",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...], snapshotter: str | None) -> Rows:
    """List the snapshots of the namespace, or those that one of the filters means; parents first."""
    rows = [_row(one) for one in _snapshots(ctx, snapshotter).walk(*filters)]
    columns = (("key", "SNAPSHOT", "id"), ("kind", "KIND", "state"), ("parent", "PARENT", "text"),
               ("created", "CREATED", "ago"))  # fmt: skip
    return Rows(columns, rows, "key")


@verb(
    N, "prepare", argument("key", TEXT, "its key until it is committed"), _PARENT, _LABELS,
    _SNAPSHOTTER, effect=WRITE, example="snapshot prepare fresh",
)  # fmt: skip
def prepare(
    ctx: Context, *, key: str, parent: str, labels: tuple[str, ...], snapshotter: str | None
) -> Rows:
    """Make an active snapshot, empty or upon a committed one, and say how it is mounted.

    It is written through these mounts. Nothing is mounted by this.
    """
    mounts = _snapshots(ctx, snapshotter).prepare(key, parent, kept_labels(ctx, labels))
    return _mounts(mounts)


@verb(
    N, "view", argument("key", TEXT, "its key"), _PARENT, _LABELS, _SNAPSHOTTER, effect=WRITE,
    example="snapshot view look",
)  # fmt: skip
def view(
    ctx: Context, *, key: str, parent: str, labels: tuple[str, ...], snapshotter: str | None
) -> Rows:
    """Make a view of a committed snapshot, to be read only, and say how it is mounted."""
    return _mounts(_snapshots(ctx, snapshotter).view(key, parent, kept_labels(ctx, labels)))


@verb(
    N, "commit", argument("name", TEXT, "what it shall be called"), _KEY, _LABELS, _SNAPSHOTTER,
    effect=WRITE, example="snapshot commit layer layer-key",
)  # fmt: skip
def commit(
    ctx: Context, *, name: str, key: str, labels: tuple[str, ...], snapshotter: str | None
) -> Done:
    """Make of an active snapshot a committed one, which never changes any more.

    Its key ceases to be. Unmount it first.
    """
    _snapshots(ctx, snapshotter).commit(name, key, kept_labels(ctx, labels))
    return Done(name)


def _mounts(mounts: Sequence[Mount]) -> Rows:
    rows = [
        {"type": one.type, "source": one.source, "options": ",".join(one.options),
         "target": one.target}
        for one in mounts
    ]  # fmt: skip
    columns = (("type", "TYPE", "text"), ("source", "SOURCE", "id"), ("options", "OPTIONS", "text"))
    return Rows(columns, rows, "source")


@verb(
    N, "mounts", _KEY,
    optional("target", FILE, "a directory: print the mount(8) commands that mount it there"),
    _SNAPSHOTTER, effect=READ, example="snapshot mounts layer-key /mnt",
)  # fmt: skip
def mounts(ctx: Context, *, key: str, target: str | None, snapshotter: str | None) -> Rows | Text:
    """Say how an active snapshot or a view is mounted."""
    from shlex import quote

    found = _snapshots(ctx, snapshotter).mounts(key)
    if target is None:
        return _mounts(found)
    lines = (
        f"mount -t {quote(one.type)} {quote(one.source)} {quote(target)}"
        f" -o {quote(','.join(one.options))}\n"
        for one in found
    )
    return Text("".join(lines))


@verb(
    N, "inspect", _KEY, _SNAPSHOTTER, effect=READ, example="snapshot inspect layer-key",
)  # fmt: skip
def inspect(ctx: Context, *, key: str, snapshotter: str | None) -> Record:
    """Show what is known of a snapshot, and in which directories its files lie."""
    snapshots = _snapshots(ctx, snapshotter)
    found, places, usage = snapshots.stat(key), snapshots.directories(key), snapshots.usage(key)
    fields = {**_record(found), "snapshotter": snapshots.name, "size": usage.size,
              "inodes": usage.inodes, "form": str(places.form),
              "directories": [str(one) for one in (places.directory, *places.lowers)]}  # fmt: skip
    return Record(fields, "key")


@verb(
    N, "label", _KEY, argument("labels", TEXT, "KEY=VALUE; KEY= takes it away", many=True),
    _SNAPSHOTTER, effect=WRITE, example="snapshot label layer-key colour=red",
)  # fmt: skip
def label(ctx: Context, *, key: str, labels: tuple[str, ...], snapshotter: str | None) -> Record:
    """Set labels of a snapshot, which filters and garbage collection know."""
    return Record(_record(_snapshots(ctx, snapshotter).update(key, changes_of(labels))), "key")


@verb(
    N, "usage", optional("keys", SNAPSHOT, "which (default: all)", many=True), _SNAPSHOTTER,
    effect=READ, example="snapshot usage layer-key",
)  # fmt: skip
def usage(ctx: Context, *, keys: tuple[str, ...], snapshotter: str | None) -> Rows:
    """Say what snapshots take on the disk, each without its parents."""
    snapshots = _snapshots(ctx, snapshotter)
    rows = []
    for key in keys or tuple(one.name for one in snapshots.walk()):
        found = snapshots.usage(key)
        rows.append({"key": key, "size": found.size, "inodes": found.inodes})
    columns = (("key", "SNAPSHOT", "id"), ("size", "SIZE", "bytes"), ("inodes", "INODES", "number"))
    return Rows(columns, rows, "key")


@verb(N, "tree", _SNAPSHOTTER, effect=READ, example="snapshot tree")
def tree(ctx: Context, *, snapshotter: str | None) -> Text:
    """Show snapshots as a tree: what stands to the right of another is upon it."""
    snapshots = _snapshots(ctx, snapshotter)
    below: dict[str, list[Snapshot]] = {}
    for one in snapshots.walk():
        below.setdefault(one.parent, []).append(one)
    lines: list[str] = []
    # not by recursion: a chain may be as long as it likes
    pending = [(one, "", "") for one in reversed(below.get("", []))]
    while pending:
        one, stem, branch = pending.pop()
        took = size(snapshots.usage(one.name).size)
        lines.append(f"{stem}{branch}{clean(one.name)}  {one.kind}  {took}")
        stem += {"": "", "├─ ": "│  ", "└─ ": "   "}[branch]
        children = below.get(one.name, [])
        pending += [
            (child, stem, "└─ " if child is children[-1] else "├─ ") for child in reversed(children)
        ]
    return Text("".join(f"{line}\n" for line in lines))


@verb(
    N, "diff", _KEY, option("-o --output", "write it as a layer, a tar with whiteouts", FILE),
    _SNAPSHOTTER, effect=READ, example="snapshot diff layer-key",
)  # fmt: skip
def diff(ctx: Context, *, key: str, output: str | None, snapshotter: str | None) -> Rows | Record:
    """Show what a snapshot has added, changed and deleted of its parent's files."""
    from mobyshell.core.store import owners
    from mobyshell.core.store.differences import differences

    snapshots = _snapshots(ctx, snapshotter)
    if output is not None:
        return _write(snapshots, key, output, owners.of_store(ctx.space.scope.root).enter)
    rows = [
        {"way": str(one.way), "path": one.path, "size": one.size, "mode": oct(one.mode)}
        for one in differences(snapshots, key)
    ]
    columns = (("way", "WHAT", "text"), ("size", "SIZE", "bytes"), ("path", "PATH", "id"))
    return Rows(columns, rows, "path")


def _write(snapshots: Snapshotter, key: str, output: str, enter: Sequence[str]) -> Record:
    import os

    from mobyshell.core.errors import SyscallFailed
    from mobyshell.core.store.differences import write_layer

    try:
        fd = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=output) from error
    try:
        done = write_layer(snapshots, key, fd, sync=True, enter=enter)
    except BaseException:
        os.unlink(output)
        raise
    finally:
        os.close(fd)
    return Record({"path": output, "digest": done.digest, "size": done.size,
                   "entries": done.entries, "left_out": list(done.left_out)}, "digest")  # fmt: skip


@verb(
    N, "rm", argument("keys", SNAPSHOT, "which", many=True), _SNAPSHOTTER,
    effect=DESTROY, example="snapshot rm layer-key", key="D",
    confirm="its files are deleted, if nothing else has them",
)  # fmt: skip
def rm(ctx: Context, *, keys: tuple[str, ...], snapshotter: str | None) -> Done:
    """Remove snapshots. One that has children is refused."""
    snapshots = _snapshots(ctx, snapshotter)
    for key in keys:
        snapshots.remove(key)
    return Done(keys[0] if len(keys) == 1 else "")

"""`snapshot mounts inspect usage tree diff`: looking at snapshots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobyshell.commands.output import clean, size
from mobyshell.commands.registry import FILE, READ, SNAPSHOT, option, optional, verb
from mobyshell.commands.results import Done, Record, Rows, Text
from mobyshell.commands.snapshot import KEY, SNAPSHOTTER, mount_rows, record_of, snapshots_of
from mobyshell.commands.stored import snapshot_key
from mobyshell.core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.store.differences import Difference
    from mobyshell.core.store.snapshots.protocol import Snapshot, Snapshotter

N = "snapshot"


@verb(
    N, "mounts", KEY,
    optional("target", FILE, "a directory: print the mount(8) commands that mount it there"),
    SNAPSHOTTER, effect=READ, example="snapshot mounts layer-key /mnt", key="m",
)  # fmt: skip
def mounts(ctx: Context, *, key: str, target: str | None, snapshotter: str | None) -> Rows | Text:
    """Say how an active snapshot or a view is mounted."""
    from mobyshell.core.store.snapshots.explained import mount_command

    snapshots = snapshots_of(ctx, snapshotter)
    found = snapshots.mounts(snapshot_key(snapshots, key))
    if target is None:
        return mount_rows(found)
    return Text("".join(f"{mount_command(one, target)}\n" for one in found))


@verb(
    N, "inspect", KEY, SNAPSHOTTER, effect=READ, example="snapshot inspect layer-key", key="i",
)  # fmt: skip
def inspect(ctx: Context, *, key: str, snapshotter: str | None) -> Record:
    """Show what is known of a snapshot, and in which directories its files lie."""
    snapshots = snapshots_of(ctx, snapshotter)
    key = snapshot_key(snapshots, key)
    found, places, usage = snapshots.stat(key), snapshots.directories(key), snapshots.usage(key)
    fields = {**record_of(found), "snapshotter": snapshots.name, "size": usage.size,
              "inodes": usage.inodes, "form": str(places.form),
              "directories": [str(one) for one in (places.directory, *places.lowers)]}  # fmt: skip
    return Record(fields, "key")


@verb(
    N, "usage", optional("keys", SNAPSHOT, "which (default: all)", many=True), SNAPSHOTTER,
    effect=READ, example="snapshot usage layer-key",
)  # fmt: skip
def usage(ctx: Context, *, keys: tuple[str, ...], snapshotter: str | None) -> Rows:
    """Say what snapshots take on the disk, each without its parents."""
    snapshots = snapshots_of(ctx, snapshotter)
    rows = []
    named = [snapshot_key(snapshots, key) for key in keys]
    for key in named or [one.name for one in snapshots.walk()]:
        found = snapshots.usage(key)
        rows.append({"key": key, "size": found.size, "inodes": found.inodes})
    columns = (("key", "SNAPSHOT", "id"), ("size", "SIZE", "bytes"), ("inodes", "INODES", "number"))
    return Rows(columns, rows, "key")


@verb(N, "tree", SNAPSHOTTER, effect=READ, example="snapshot tree")
def tree(ctx: Context, *, snapshotter: str | None) -> Text:
    """Show snapshots as a tree: what stands to the right of another is upon it."""
    snapshots = snapshots_of(ctx, snapshotter)
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
    N, "diff", KEY,
    option("--from", "compare with this one, instead of with its parent", SNAPSHOT, name="other"),
    option("-o --output", "write it as a layer, a tar with whiteouts; - for standard output", FILE),
    SNAPSHOTTER, effect=READ, example="snapshot diff layer-key", key="d",
)  # fmt: skip
def diff(
    ctx: Context, *, key: str, other: str | None, output: str | None, snapshotter: str | None
) -> Rows | Record | Done:
    """Show what a snapshot has added, changed and deleted of its parent's files, or of another's."""
    from mobyshell.core.store import owners
    from mobyshell.core.store.differences import differences

    snapshots = snapshots_of(ctx, snapshotter)
    key = snapshot_key(snapshots, key)
    if output is not None and other is not None:
        raise UsageError("a layer is written of what a snapshot has changed of its parent",
                         hint="leave --from away, or --output")  # fmt: skip
    if output is not None:
        return _write(snapshots, key, output, owners.of_store(ctx.space.scope.root).enter)
    if other is not None:
        return _differences(between(snapshots, snapshot_key(snapshots, other), key))
    return _differences(differences(snapshots, key))


def between(snapshots: Snapshotter, before: str, after: str) -> Iterator[Difference]:
    """What makes of one snapshot the other. NotFound."""
    from mobyshell.core.store.stack import Stack
    from mobyshell.core.store.stack_differences import compare

    places = [snapshots.directories(key) for key in (before, after)]
    with (
        Stack([places[0].directory, *places[0].lowers]) as one,
        Stack([places[1].directory, *places[1].lowers]) as other,
    ):
        yield from compare(one, other)


def _differences(found: Iterable[Difference]) -> Rows:
    rows = [{"way": str(one.way), "path": one.path, "size": one.size, "mode": oct(one.mode)}
            for one in found]  # fmt: skip
    columns = (("way", "WHAT", "text"), ("size", "SIZE", "bytes"), ("path", "PATH", "id"))
    return Rows(columns, rows, "path")


def _write(snapshots: Snapshotter, key: str, output: str, enter: Sequence[str]) -> Record | Done:
    import os

    from mobyshell.commands.written import standard_output
    from mobyshell.core.errors import SyscallFailed
    from mobyshell.core.store.differences import write_layer

    if output == "-":
        write_layer(snapshots, key, standard_output().fileno(), enter=enter)
        return Done()
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

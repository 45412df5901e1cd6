"""What the verbs of `snapshot` would do, for `--plan` and the workbench: nothing is changed.

A plan refuses what its verb would refuse, with the same words.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from mobyshell.commands.results import Rows
from mobyshell.commands.stored import changes_of, snapshot_key
from mobyshell.core.errors import AlreadyExists, NotFound, WrongState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobyshell.commands.context import Context
    from mobyshell.core.store.snapshots.explained import Step
    from mobyshell.core.store.snapshots.protocol import Kind, Snapshotter


def snapshots_of(ctx: Context, name: str | None) -> Snapshotter:
    """The snapshotter of this name, or the best one, of the session's namespace."""
    from mobyshell.core.store.snapshots.choose import snapshotter

    return snapshotter(ctx.space.scope, name or "")


def to_look_at(snapshots: Snapshotter, key: str) -> str:
    """The committed snapshot that shows the files of `key`. WrongState if it is active."""
    found = snapshots.stat(snapshot_key(snapshots, key))
    if found.kind == "active":
        raise WrongState(f"snapshot {key!r} is active: it is mounted as it says itself, or not at all",
                         hint=f"`snapshot mounts {key} DIRECTORY`; or commit it first")  # fmt: skip
    return found.parent if found.kind == "view" else found.name


def refuse_roots(ctx: Context, snapshots: Snapshotter, keys: Sequence[str]) -> None:
    """WrongState if one of `keys` is what a container's tasks have as their root: it would be
    without one, and what runs in it would see its files vanish."""
    for key in keys:
        snapshots.stat(key)
        for one in _whose_root(ctx, snapshots, key):
            raise WrongState(f"snapshot {key!r} is the root of container {one}",
                             hint=f"`rm {shlex.quote(one)}` removes both")  # fmt: skip


def refuse_running(ctx: Context, snapshots: Snapshotter, key: str) -> None:
    """WrongState if a task may still write to the active snapshot `key`: what is committed never
    changes."""
    from mobyshell.commands.rows import task_row

    rows = map(task_row, ctx.listed())
    running = {row["id"] for row in rows if row["status"] != "stopped"}
    for one in _whose_root(ctx, snapshots, key):
        if one in running:
            raise WrongState(f"snapshot {key!r} is the root of container {one}, which has a task "
                             "that may write to it", hint=f"`stop {shlex.quote(one)}` first")  # fmt: skip


def _whose_root(ctx: Context, snapshots: Snapshotter, key: str) -> list[str]:
    return [one.id for one in ctx.space.containers.list()
            if (one.snapshotter, one.snapshot_key) == (snapshots.name, key)]  # fmt: skip


def prepare(ctx: Context, *, key: str, parent: str, snapshotter: str | None, **_: Any) -> Rows:
    """The steps of `snapshot prepare`."""
    from mobyshell.core.store.snapshots.protocol import Kind

    return _make(ctx, snapshotter, key, parent, Kind.ACTIVE)


def view(ctx: Context, *, key: str, parent: str, snapshotter: str | None, **_: Any) -> Rows:
    """The steps of `snapshot view`."""
    from mobyshell.core.store.snapshots.protocol import Kind

    return _make(ctx, snapshotter, key, parent, Kind.VIEW)


def commit(ctx: Context, *, name: str, key: str, snapshotter: str | None, **_: Any) -> Rows:
    """The steps of `snapshot commit`."""
    from mobyshell.core.store.snapshots.explained import commit_steps

    snapshots = snapshots_of(ctx, snapshotter)
    found = snapshots.stat(key)
    if found.kind != "active":
        raise WrongState(f"snapshot {key!r} is {found.kind}, not active")
    refuse_running(ctx, snapshots, key)
    if name != key:
        _free(snapshots, name)
    files = snapshots.directories(key).directory
    return _rows(commit_steps(name, key, files, tuple(found.labels), flat=not snapshots.rebases))


def label(
    ctx: Context, *, key: str, labels: tuple[str, ...], snapshotter: str | None
) -> Rows:  # fmt: skip
    """The steps of `snapshot label`."""
    from mobyshell.core.store.snapshots.explained import label_steps

    snapshots = snapshots_of(ctx, snapshotter)
    return _rows(label_steps(snapshots.stat(snapshot_key(snapshots, key)), changes_of(labels)))


def rm(ctx: Context, *, keys: tuple[str, ...], snapshotter: str | None) -> Rows:
    """The steps of `snapshot rm`."""
    from mobyshell.core.store.snapshots.explained import remove_steps

    snapshots = snapshots_of(ctx, snapshotter)
    named = [snapshot_key(snapshots, word) for word in keys]
    refuse_roots(ctx, snapshots, named)
    steps: list[Step] = []
    gone: set[str] = set()
    for key in named:
        children = [one.name for one in snapshots.walk()
                    if one.parent == key and one.name not in gone]  # fmt: skip
        if children:
            raise WrongState(f"snapshot {key!r} has children: {', '.join(map(repr, children[:5]))}",
                             hint="remove them first")  # fmt: skip
        gone.add(key)
        steps += remove_steps(
            key, snapshots.directories(key).directory.parent, snapshots.usage(key)
        )
    return _rows(steps)


def mount(ctx: Context, *, key: str, directory: str, snapshotter: str | None) -> Rows:
    """The steps of `snapshot mount`."""
    import os

    from mobyshell.core.store.snapshots.explained import attach_steps, view_mount
    from mobyshell.core.store.snapshots.protocol import Kind

    snapshots = snapshots_of(ctx, snapshotter)
    parent, target = to_look_at(snapshots, key), os.path.abspath(directory)
    made = _make(ctx, snapshotter, target, parent, Kind.VIEW)
    trees: tuple[Path, ...] = (ctx.space.scope.root.snapshots / snapshots.name / "N" / "fs",)
    if parent:
        place = snapshots.directories(parent)
        trees = (place.directory, *place.lowers)
    shown = view_mount(trees)
    return Rows(made.columns, [*made.rows, *_rows(attach_steps(shown, target), len(made.rows)).rows],
                "n")  # fmt: skip


def unmount(ctx: Context, *, directory: str, snapshotter: str | None) -> Rows:
    """The steps of `snapshot unmount`."""
    import os

    from mobyshell.commands.mounted_views import ours
    from mobyshell.core.store.snapshots.explained import detach_steps

    target = os.path.abspath(directory)
    found = ours(ctx, target, snapshotter)
    rest = rm(ctx, keys=(target,), snapshotter=found.name)
    first = _rows(detach_steps(target))
    return Rows(first.columns, [*first.rows, *({**row, "n": row["n"] + len(first.rows)}
                                               for row in rest.rows)], "n")  # fmt: skip


def _make(ctx: Context, snapshotter: str | None, key: str, parent: str, kind: Kind) -> Rows:
    from mobyshell.core.store.snapshots.explained import make_steps

    snapshots = snapshots_of(ctx, snapshotter)
    _free(snapshots, key)
    lowers: tuple[Path, ...] = ()
    parent = snapshot_key(snapshots, parent)
    if parent:
        found = snapshots.stat(parent)
        if found.kind != "committed":
            raise WrongState(f"snapshot {parent!r} is {found.kind}: only a committed one can be "
                             "a parent")  # fmt: skip
        place = snapshots.directories(parent)
        lowers = (place.directory, *place.lowers)
    root = ctx.space.scope.root.snapshots / snapshots.name
    return _rows(make_steps(key, kind, parent, lowers, root, flat=not snapshots.rebases))


def _free(snapshots: Snapshotter, key: str) -> None:
    try:
        found = snapshots.stat(key)
    except NotFound:
        return
    raise AlreadyExists(f"snapshot {key!r} of {snapshots.name} exists ({found.kind})")


def _rows(steps: Sequence[Step], after: int = 0) -> Rows:
    rows = [{"n": number, "what": one.title, "why": one.why, "calls": "; ".join(one.calls)}
            for number, one in enumerate(steps, after + 1)]  # fmt: skip
    columns = (("n", "", "number"), ("what", "STEP", "text"), ("calls", "CALLS", "prose"))
    return Rows(columns, rows, "n")

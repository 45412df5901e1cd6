"""`volume`: directories that outlive the tasks that write into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    DESTROY,
    READ,
    TEXT,
    VOLUME,
    WRITE,
    argument,
    option,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, done_each

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.tasks.surroundings import Surroundings
    from mobyshell.core.volumes.volumes import Volume

N = "volume"


def _surroundings(ctx: Context) -> Surroundings:
    from mobyshell.core.tasks.surroundings import Surroundings

    return Surroundings(ctx.root, ctx.state, ctx.namespace)


def _kept(ctx: Context) -> dict[str, list[str]]:
    """The containers that were made with each volume."""
    from mobyshell.moby.volumes import holders

    return holders(ctx.space.containers.list()) if ctx.has_store else {}


def forget(ctx: Context, names: tuple[str, ...]) -> None:
    """Remove those of a container that is gone which have no name of their own."""
    from mobyshell.moby import volumes

    if names:
        volumes.forget(_surroundings(ctx), names, _kept(ctx))


def _row(one: Volume, tasks: tuple[str, ...], containers: list[str]) -> dict[str, Any]:
    return {
        "name": one.name, "created": int(one.created * 1e9), "tasks": list(tasks),
        "containers": containers, "labels": dict(one.labels), "path": one.path,
        "used": ", ".join(dict.fromkeys((*tasks, *containers))),
    }  # fmt: skip


@verb(N, "ls", effect=READ, example="volume ls")
def ls(ctx: Context) -> Rows:
    """List the volumes of this namespace, and the tasks and containers that have them."""
    place, kept = _surroundings(ctx), _kept(ctx)
    rows = [_row(one, place.users(one.name), kept.get(one.name, []))
            for one in place.volumes.ls()]  # fmt: skip
    columns = (("name", "NAME", "id"), ("created", "CREATED", "ago"), ("used", "USED BY", "text"),
               ("path", "PATH", "text"))  # fmt: skip
    return Rows(columns, rows, "name")


@verb(
    N, "create",
    option("--label", "NAME=VALUE", many=True),
    argument("name", TEXT, "its name"),
    effect=WRITE, example="volume create --label for=tests data",
)  # fmt: skip
def create(ctx: Context, *, name: str, label: tuple[str, ...]) -> Done:
    """Make a volume, empty. `run -v NAME:/path` makes one too, if there is none."""
    from mobyshell.commands.stored import bare_labels

    created = ctx.clock.now_ns() / 1e9
    _surroundings(ctx).volumes.create(name, bare_labels(label), created=created)
    return Done(name)


@verb(N, "inspect", argument("name", VOLUME, "the volume"), effect=READ,
      example="volume inspect kept", key="i")  # fmt: skip
def inspect(ctx: Context, *, name: str) -> Record:
    """Show a volume: where it is, its labels, and the tasks and containers that have it."""
    place = _surroundings(ctx)
    found = place.volumes.get(name)
    return Record(_row(found, place.users(name), _kept(ctx).get(name, [])), "name")


@verb(N, "rm", argument("name", VOLUME, "the volumes", many=True), effect=DESTROY,
      example="volume rm kept", key="D", confirm="delete everything in it?")  # fmt: skip
def rm(ctx: Context, *, name: tuple[str, ...]) -> Done:
    """Remove volumes that no task has mounted and no container was made with, and everything in them."""
    from mobyshell.moby.volumes import remove

    place, kept = _surroundings(ctx), _kept(ctx)
    return done_each(name, lambda one: remove(place, one, kept))


def _plan_prune(ctx: Context, *, every: bool) -> Rows:
    from mobyshell.moby.volumes import unused

    rows = [{"title": f"remove {one.name}", "path": one.path}
            for one in unused(_surroundings(ctx), _kept(ctx), every=every)]  # fmt: skip
    columns = (("title", "OPERATION", "id"), ("path", "PATH", "text"))
    return Rows(columns, rows, "title", "" if rows else "nothing to remove")


@verb(N, "prune", switch("-a --all", "those with a name, too", name="every"), effect=DESTROY,
      example="volume prune", confirm="delete the volumes that nobody has?", plan=_plan_prune)  # fmt: skip
def prune(ctx: Context, *, every: bool) -> Rows:
    """Remove the volumes of `-v /path` that no task and no container has; with --all, every such one.

    What a container was made with stays, also while it has no task.
    """
    from mobyshell.core.errors import WrongState
    from mobyshell.moby.volumes import remove, unused

    place, kept, rows = _surroundings(ctx), _kept(ctx), []
    for one in unused(place, kept, every=every):
        try:
            remove(place, one.name, kept)
        except WrongState:
            continue  # somebody has it now
        rows.append({"name": one.name})
    return Rows((("name", "REMOVED", "id"),), rows, "name", "" if rows else "nothing to remove")

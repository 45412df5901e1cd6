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


def _row(one: Volume, tasks: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": one.name, "created": int(one.created * 1e9), "tasks": list(tasks),
        "labels": dict(one.labels), "path": one.path, "used": ", ".join(tasks),
    }  # fmt: skip


@verb(N, "ls", effect=READ, example="volume ls")
def ls(ctx: Context) -> Rows:
    """List the volumes of this namespace, and the tasks that have them mounted."""
    place = _surroundings(ctx)
    rows = [_row(one, place.users(one.name)) for one in place.volumes.ls()]
    columns = (("name", "NAME", "id"), ("created", "CREATED", "ago"), ("used", "TASKS", "text"),
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
    """Show a volume: where it is, its labels, and the tasks that have it mounted."""
    place = _surroundings(ctx)
    return Record(_row(place.volumes.get(name), place.users(name)), "name")


@verb(N, "rm", argument("name", VOLUME, "the volumes", many=True), effect=DESTROY,
      example="volume rm kept", key="D", confirm="delete everything in it?")  # fmt: skip
def rm(ctx: Context, *, name: tuple[str, ...]) -> Done:
    """Remove volumes that no task has mounted, with everything in them."""
    place = _surroundings(ctx)
    return done_each(name, lambda one: place.volumes.remove(one, place.users(one)))

"""`container`: what is to run: a spec, an image's name, a snapshot. Alive, it is a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    CONTAINER,
    DESTROY,
    READ,
    RUNNABLE,
    TEXT,
    WRITE,
    argument,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Record, Rows, done_each
from mobyshell.commands.stored import changes_of, collect, none_here, ns, plain
from mobyshell.core.errors import NotFound

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.containers import Container

N = "container"
_CONTAINER = argument("id", CONTAINER, "the container's id")


def _row(one: Container) -> dict[str, Any]:
    return {"id": one.id, "image": one.image, "runtime": one.runtime,
            "snapshotter": one.snapshotter, "snapshot_key": one.snapshot_key,
            "created": ns(one.created), "updated": ns(one.updated),
            "labels": plain(one.labels)}  # fmt: skip


@verb(
    N, "ls",
    optional("filters", TEXT, "such as image~=alpine, id==web, labels.x==y", many=True),
    effect=READ, example="container ls image~=alpine",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...]) -> Rows:
    """List the containers of the namespace, or those that one of the filters means."""
    rows = [_row(one) for one in ctx.space.containers.list(*filters)]
    columns = (("id", "CONTAINER", "id"), ("image", "IMAGE", "text"),
               ("snapshot_key", "SNAPSHOT", "text"), ("created", "CREATED", "ago"))  # fmt: skip
    return Rows(columns, rows, said="" if rows or filters else none_here(ctx, "containers"))


@verb(N, "inspect", _CONTAINER, effect=READ, example="container inspect web")
def inspect(ctx: Context, *, id: str) -> Record:
    """Show everything about a container, its spec included."""
    containers = ctx.space.containers
    one = containers.get(id)
    return Record({**_row(one), "runtime_options": dict(one.runtime_options),
                   "extensions": dict(one.extensions), "spec": containers.spec(id)})  # fmt: skip


@verb(
    N, "label",
    _CONTAINER,
    argument("labels", TEXT, "KEY=VALUE; KEY= takes one away", many=True),
    effect=WRITE, example="container label web tier=front",
)  # fmt: skip
def label(ctx: Context, *, id: str, labels: tuple[str, ...]) -> Done:
    """Set labels of a container, or take them away."""
    ctx.space.containers.update(id, labels=changes_of(labels))
    return Done()


@verb(
    N, "rm",
    argument("ids", RUNNABLE, "of containers, or of tasks of bundles", many=True),
    switch("-f --force", "kill what runs first"),
    switch("-v --volumes", "and their volumes that were given no name"),
    effect=DESTROY, example="container rm web",
)  # fmt: skip
def rm(ctx: Context, *, ids: tuple[str, ...], force: bool, volumes: bool) -> Done:
    """Remove containers with their stopped tasks, and the snapshots that only they have.

    A task that belongs to no container is forgotten, as `task delete` does it.
    """
    from mobyshell.commands import volume
    from mobyshell.moby.volumes import names_of

    tasks = {one.id for one in ctx.every_task() if one.namespace == ctx.namespace}
    kept = {one.id for one in ctx.space.containers.list()} if ctx.has_store else set()

    def remove(id: str) -> None:
        if id not in tasks and id not in kept:
            raise NotFound(f"there is no container {id}, and no task", hint="mobyshell ps --all")
        if id in tasks:
            ctx.tasks.delete(id, force=force)
        if id in kept:
            names = names_of(ctx.space.containers.get(id)) if volumes else ()
            ctx.space.containers.delete(id)
            volume.forget(ctx, names)

    done = done_each(ids, remove)
    return Done(done.id, said=collect(ctx) if kept.intersection(ids) else "")

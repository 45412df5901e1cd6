"""`namespace`: tenants. Tasks, images, containers, snapshots and blobs all belong to one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    DESTROY,
    READ,
    TENANT,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    verb,
)
from mobyshell.commands.results import Done, Rows
from mobyshell.commands.stored import changes_of, labels_of, ns, plain
from mobyshell.core.errors import WrongState

if TYPE_CHECKING:
    from mobyshell.commands.context import Context

N = "namespace"


@verb(N, "ls", effect=READ, example="namespace ls")
def ls(ctx: Context) -> Rows:
    """List the namespaces, what each holds, and which one is in use."""
    stored = {one.name: one for one in ctx.store.namespaces.list(count=True)}
    rows: list[dict[str, Any]] = []
    tasks = _tasks(ctx)
    for name in sorted({*stored, *tasks, ctx.namespace}):
        one = stored.get(name)
        inside = one.inside if one else {}
        rows.append({
            "used": "*" if name == ctx.namespace else "", "name": name,
            "tasks": tasks.get(name, 0), "containers": inside.get("containers", 0),
            "images": inside.get("images", 0), "snapshots": inside.get("snapshots", 0),
            "blobs": inside.get("content", 0), "labels": plain(one.labels) if one else {},
            "created": ns(one.created) if one else None,
        })  # fmt: skip
    columns = (("used", "", "text"), ("name", "NAMESPACE", "id"), ("tasks", "TASKS", "number"),
               ("containers", "CONTAINERS", "number"), ("images", "IMAGES", "number"),
               ("snapshots", "SNAPSHOTS", "number"), ("blobs", "BLOBS", "number"))  # fmt: skip
    return Rows(columns, rows, "name")


def _tasks(ctx: Context) -> dict[str, int]:
    """How many tasks each namespace has: those are kept elsewhere."""
    found: dict[str, int] = {}
    for one in ctx.every_task():
        found[one.namespace] = found.get(one.namespace, 0) + 1
    return found


@verb(
    N, "create",
    argument("name", TEXT, "its name"),
    optional("labels", TEXT, "KEY=VALUE, as many as wanted", many=True),
    effect=WRITE, example="namespace create fresh team=blue",
)  # fmt: skip
def create(ctx: Context, *, name: str, labels: tuple[str, ...]) -> Done:
    """Make a namespace. One is also made by what is put into it."""
    return Done(ctx.store.namespaces.create(name, labels_of(labels)).name)


@verb(
    N, "label",
    argument("name", TENANT, "the namespace"),
    argument("labels", TEXT, "KEY=VALUE; KEY= takes one away", many=True),
    effect=WRITE, example="namespace label tenant team=blue",
)  # fmt: skip
def label(ctx: Context, *, name: str, labels: tuple[str, ...]) -> Done:
    """Set labels of a namespace, or take them away."""
    ctx.store.namespaces.update(name, changes_of(labels))
    return Done()


@verb(
    N, "use",
    argument("name", TENANT, "the namespace"),
    option("--create", "make it, if there is none", switch=True),
    effect=WRITE, example="namespace use tenant",
)  # fmt: skip
def use(ctx: Context, *, name: str, create: bool) -> Done:
    """Be in a namespace from now on, in all faces, where neither --namespace nor
    MOBYSHELL_NAMESPACE says otherwise."""
    from mobyshell.core.tasks.paths import DEFAULT_NAMESPACE, keep_default_namespace

    if name not in (DEFAULT_NAMESPACE, *_tasks(ctx)):
        if create and name not in {one.name for one in ctx.store.namespaces.list()}:
            ctx.store.namespaces.create(name)
        ctx.store.namespaces.get(name)
    keep_default_namespace(name)
    ctx.move(name)
    return Done(said=f"in namespace {name} from now on")


@verb(
    N, "rm",
    argument("name", TENANT, "the namespace"),
    effect=DESTROY, example="namespace rm tenant",
)  # fmt: skip
def rm(ctx: Context, *, name: str) -> Done:
    """Remove a namespace that is empty; otherwise it says what is in it."""
    from mobyshell.commands.stored import collect

    tasks = _tasks(ctx).get(name, 0)
    if tasks:
        raise WrongState(f"namespace {name} is not empty: {tasks} task{'s'[: tasks != 1]}",
                         hint="remove what is in it first")  # fmt: skip
    ctx.store.namespaces.get(name)
    collect(ctx)  # what is only left of something holds nobody up
    ctx.store.namespaces.delete(name)
    return Done()

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
from mobyshell.commands.results import Done, Record, Rows
from mobyshell.commands.stored import changes_of, labels_of, plain
from mobyshell.core.errors import NotFound, WrongState

if TYPE_CHECKING:
    from collections.abc import Collection

    from mobyshell.commands.context import Context
    from mobyshell.moby.tenants import TenantInfo, Tenants

N = "namespace"

_KINDS = ("tasks", "containers", "images", "snapshots", "content", "ingests", "leases", "networks",
          "volumes")  # fmt: skip


_PLURALS = {"snapshot": "snapshots", "content": "content", "ingest": "ingests",
            "lease": "leases", "image": "images", "container": "containers"}  # fmt: skip
"""Kinds of garbage collection's nodes, and what is listed as such of a tenant."""


def tenants_of(ctx: Context) -> Tenants:
    """The tenants of the session's store and state."""
    from mobyshell.moby.tenants import LiveTenants

    return LiveTenants(lambda: ctx.store, ctx.every_task, lambda: ctx.root, lambda: ctx.namespace)


def _row(one: TenantInfo) -> dict[str, Any]:
    get = one.counts.get
    return {
        "used": "*" if one.used else "", "name": one.name, **{kind: get(kind, 0) for kind in _KINDS},
        "blobs": get("content", 0), "bytes": one.bytes, "labels": plain(one.labels),
        "created": one.created_ns or None,
    }  # fmt: skip


@verb(N, "ls", effect=READ, example="namespace ls")
def ls(ctx: Context) -> Rows:
    """List the namespaces, what each holds, and which one is in use."""
    columns = (("used", "", "text"), ("name", "NAMESPACE", "id"), ("tasks", "TASKS", "number"),
               ("containers", "CONTAINERS", "number"), ("images", "IMAGES", "number"),
               ("snapshots", "SNAPSHOTS", "number"), ("blobs", "BLOBS", "number"),
               ("bytes", "SIZE", "bytes"))  # fmt: skip
    return Rows(columns, [_row(one) for one in tenants_of(ctx).ls()], "name")


@verb(N, "inspect", argument("name", TENANT, "the namespace"), effect=READ,
      example="namespace inspect default", key="i")  # fmt: skip
def inspect(ctx: Context, *, name: str) -> Record:
    """Show a namespace: labels, and all objects by name."""
    found = tenants_of(ctx)
    one = next((one for one in found.ls() if one.name == name), None)
    if one is None:
        raise NotFound(f"no namespace {name}", hint="`mobyshell namespace ls` lists them")
    objects = found.objects(name, measured=False)
    names = {kind: [one.name for one in objects if one.kind == kind] for kind in _KINDS}
    return Record({"name": name, "labels": plain(one.labels), "created": one.created_ns or None,
                   "bytes": one.bytes, **names}, "name")  # fmt: skip


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
    effect=WRITE, example="namespace create fresh team=blue", key="n",
)  # fmt: skip
def create(ctx: Context, *, name: str, labels: tuple[str, ...]) -> Done:
    """Make a namespace. One is also made by what is put into it."""
    return Done(ctx.store.namespaces.create(name, labels_of(labels)).name)


@verb(
    N, "label",
    argument("name", TENANT, "the namespace"),
    argument("labels", TEXT, "KEY=VALUE; KEY= takes one away", many=True),
    effect=WRITE, example="namespace label tenant team=blue", key="L",
)  # fmt: skip
def label(ctx: Context, *, name: str, labels: tuple[str, ...]) -> Done:
    """Set labels of a namespace, or take them away."""
    ctx.store.namespaces.update(name, changes_of(labels))
    return Done()


@verb(
    N, "use",
    argument("name", TENANT, "the namespace"),
    option("--create", "make it, if there is none", switch=True),
    effect=WRITE, example="namespace use tenant", key="u",
)  # fmt: skip
def use(ctx: Context, *, name: str, create: bool) -> Done:
    """Be in a namespace from now on.

    In all faces, where neither --namespace nor MOBYSHELL_NAMESPACE says otherwise.
    """
    from mobyshell.core.tasks.paths import DEFAULT_NAMESPACE, keep_default_namespace

    if name != DEFAULT_NAMESPACE:
        if create and not _is_there(ctx, name):
            ctx.store.namespaces.create(name)
        _require(ctx, name)
    keep_default_namespace(name)
    ctx.move(name)
    return Done(said=f"in namespace {name} from now on")


def _is_there(ctx: Context, name: str) -> bool:
    """Whether there is such a namespace, or something in it that the store knows nothing of."""
    return any(one.name == name and (one.made or not one.empty) for one in tenants_of(ctx).ls())


def _require(ctx: Context, name: str) -> None:
    """NotFound if there is none; UsageError if there can be none of that name."""
    if not _is_there(ctx, name):
        ctx.store.namespaces.get(name)


def _plan_rm(ctx: Context, *, name: str) -> Rows:
    """What would be done; or what is in it, as the verb itself would say."""
    from mobyshell.core.store.gc.collect import look

    graph, marks = look(ctx.store.database, ctx.clock)
    left = [node for node in graph.nodes if node.namespace == name and node not in marks.reached]
    _refuse_full(ctx, name, {(_PLURALS[node.kind.partition("/")[0]], node.key) for node in left})
    steps = [(f"remove namespace {name}, and its labels", "nothing is in it that anybody needs")]
    if left:
        steps.insert(0, (f"remove {len(left)} objects that are only left of something",
                         "they hold nobody up: no image, container or lease needs them"))  # fmt: skip
    rows = [{"n": number, "what": what, "why": why} for number, (what, why) in enumerate(steps, 1)]
    return Rows((("n", "", "number"), ("what", "STEP", "text"), ("why", "WHY", "prose")), rows, "n")


def _refuse_full(ctx: Context, name: str, left: Collection[tuple[str, str]] = ()) -> None:
    """WrongState with what is in it, but for the garbage `left`; NotFound if there is none."""
    from mobyshell.moby.tenants import named

    _require(ctx, name)
    found = tenants_of(ctx).objects(name, measured=False)
    inside = [one for one in found if (one.kind, one.name) not in left]
    if inside:
        coming = any(one.kind == "ingests" for one in inside)
        gives_up = f"; `--namespace {name} content abort` gives up ingests" if coming else ""
        raise WrongState(f"namespace {name} is not empty: {named(inside)}",
                         hint=f"remove what is in it first{gives_up}")  # fmt: skip


@verb(
    N, "rm",
    argument("name", TENANT, "the namespace"),
    effect=DESTROY, example="namespace rm tenant", key="D", plan=_plan_rm,
)  # fmt: skip
def rm(ctx: Context, *, name: str) -> Done:
    """Remove a namespace in which nothing is.

    Otherwise it is refused, and what is in it is named.
    """
    from mobyshell.commands.stored import collect

    _require(ctx, name)
    if not _tasks(ctx).get(name):
        collect(ctx)  # what is only left of something holds nobody up
    _refuse_full(ctx, name)
    ctx.store.namespaces.delete(name)
    return Done()

"""`lease`: what holds things in the store that nothing else needs yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    DESTROY,
    LEASE,
    READ,
    SECONDS,
    TEXT,
    WRITE,
    argument,
    option,
    optional,
    switch,
    verb,
)
from mobyshell.commands.results import Done, Record, Rows
from mobyshell.commands.stored import collect, digest_of, labels_of, ns, plain
from mobyshell.core.errors import UsageError
from mobyshell.core.oci.safejson import show

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.store.leases import Lease, Resource
    from mobyshell.core.store.store import Namespace

N = "lease"
_LEASE = argument("id", LEASE, "the lease's id")
_WHAT = argument("what", TEXT, "a digest, snapshots/SNAPSHOTTER/KEY or ingests/REF", many=True)
_DAY = 24 * 60 * 60.0


def _row(ctx: Context, one: Lease, held: int) -> dict[str, Any]:
    expires = None if one.expires is None else ns(one.expires)
    left = None if expires is None else max(expires - ctx.clock.now_ns(), 0)
    return {"id": one.id, "held": held, "created": ns(one.created), "expires": expires,
            "left": left, "labels": plain(one.labels)}  # fmt: skip


@verb(
    N, "ls",
    optional("filters", TEXT, 'such as id~=^build, labels."a.b"==x', many=True),
    effect=READ, example="lease ls",
)  # fmt: skip
def ls(ctx: Context, *, filters: tuple[str, ...]) -> Rows:
    """List the leases of this namespace, and how much each holds."""
    leases = ctx.space.leases
    rows = [_row(ctx, one, len(leases.resources(one.id))) for one in leases.list(*filters)]
    columns = (("id", "LEASE", "id"), ("held", "HOLDS", "number"), ("created", "CREATED", "ago"),
               ("left", "LEFT", "duration"))  # fmt: skip
    return Rows(columns, rows, "id")


@verb(
    N, "create",
    optional("id", TEXT, "its id (default: a new one)"),
    option("-x --expires", "let go after so long; 0 for never", SECONDS, default=_DAY),
    option("-l --label", "KEY=VALUE", TEXT, many=True),
    switch("--flat", "hold only what is named, not what that refers to"),
    effect=WRITE, example="lease create mine -x 1h",
)  # fmt: skip
def create(
    ctx: Context, *, id: str | None, expires: float, label: tuple[str, ...], flat: bool
) -> Done:
    """Make a lease. It holds nothing yet; what it will hold stays until it is removed, or expires."""
    from mobyshell.core.store.labels import GC_FLAT

    labels = {**({GC_FLAT: "true"} if flat else {}), **labels_of(label)}
    until = ctx.clock.now_ns() / 1e9 + expires if expires else None
    return Done(ctx.space.leases.create(id or "", labels, until).id)


@verb(N, "inspect", _LEASE, effect=READ, example="lease inspect held", key="i")
def inspect(ctx: Context, *, id: str) -> Record:
    """Show a lease: until when it is there, and what it holds."""
    leases = ctx.space.leases
    one, held = leases.get(id), leases.resources(id)
    words = [f"{resource.type}/{resource.id}" for resource in held]
    return Record({**_row(ctx, one, len(held)), "resources": words}, "id")


@verb(N, "add", _LEASE, _WHAT, effect=WRITE, example="lease add held sha256:2cf24dba")
def add(ctx: Context, *, id: str, what: tuple[str, ...]) -> Done:
    """Let a lease hold more: blobs, snapshots, what is being written."""
    space = ctx.space
    with ctx.store.database.write():  # all, or nothing of it
        for resource in [_resource(space, word) for word in what]:
            space.leases.add(id, resource)
    return Done(id)


@verb(N, "drop", _LEASE, _WHAT, effect=DESTROY, example="lease drop held sha256:2cf24dba")
def drop(ctx: Context, *, id: str, what: tuple[str, ...]) -> Done:
    """Let a lease hold some things no more, and remove what nothing else needs."""
    space = ctx.space
    with ctx.store.database.write():
        for resource in [_resource(space, word) for word in what]:
            space.leases.remove(id, resource)
    return Done(said=collect(ctx))


@verb(
    N, "rm",
    argument("ids", LEASE, "the leases", many=True),
    effect=DESTROY, example="lease rm held", key="D",
)  # fmt: skip
def rm(ctx: Context, *, ids: tuple[str, ...]) -> Done:
    """Remove leases, and what only they have held."""
    space = ctx.space
    with ctx.store.database.write():
        for one in ids:
            space.leases.delete(one)
    return Done(said=collect(ctx))


def _resource(space: Namespace, word: str) -> Resource:
    from mobyshell.core.store.leases import Resource

    kind, slash, id = word.partition("/")
    if not slash or kind == "content":
        return Resource("content", digest_of(space, id or kind))
    if kind == "ingests" and id:
        return Resource("ingests", id)
    snapshotter, _, key = id.partition("/")
    if kind == "snapshots" and snapshotter and key:
        return Resource(f"snapshots/{snapshotter}", key)
    raise UsageError(f"a lease cannot hold {show(word)}",
                     hint="sha256:…, snapshots/overlayfs/KEY or ingests/REF")  # fmt: skip

"""`network`: what containers are joined to, and who is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    DESTROY,
    NETWORK,
    NUMBER,
    READ,
    TEXT,
    WRITE,
    argument,
    option,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows
from mobyshell.core.errors import MobyshellError, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.network.attach import Networking
    from mobyshell.core.network.config import NetworkConfig
    from mobyshell.core.network.values import Attachment

N = "network"


def _networking(ctx: Context) -> Networking:
    from mobyshell.core.network.attach import Networking

    return Networking(ctx.root, ctx.state, ctx.namespace)


def _row(one: NetworkConfig, attached: list[Attachment]) -> dict[str, Any]:
    bridge, why = one.built_in()
    return {
        "name": one.name, "engine": "builtin" if bridge else "cni",
        "plugins": [str(plugin["type"]) for plugin in one.plugins],
        "subnets": [str(subnet) for subnet in one.subnets],
        "bridge": str(one.plugins[0].get("bridge", "")), "tasks": len(attached),
        "ours": one.ours, "created": int(float(one.extra.get("created", 0)) * 1e9) or None,
        "labels": one.labels, "path": one.path, "why": why,
    }  # fmt: skip


@verb(N, "ls", effect=READ, example="network ls")
def ls(ctx: Context) -> Rows:
    """List the networks that tasks of this namespace can be joined to.

    Those of the machine (/etc/cni/net.d) are among them.
    """
    networking = _networking(ctx)
    rows = []
    for one in networking.networks.ls():
        row = _row(one, networking.attached(one.name))
        rows.append({**row, "subnet": ", ".join(row["subnets"]),
                     "kind": ", ".join(row["plugins"])})  # fmt: skip
    columns = (("name", "NAME", "id"), ("engine", "ENGINE", "text"), ("subnet", "SUBNET", "text"),
               ("bridge", "BRIDGE", "text"), ("tasks", "TASKS", "number"),
               ("kind", "PLUGINS", "text"), ("path", "FILE", "text"))  # fmt: skip
    return Rows(columns, rows, "name")


@verb(
    N, "create",
    option("--subnet", "its addresses, as in 10.5.0.0/24; one more for IPv6 (default: a free one)",
           many=True),
    option("--gateway", "the host's address in it (default: the first)", default=""),
    switch("--ipv6", "give IPv6 addresses too"),
    switch("--internal", "its tasks reach each other and the host, nothing else"),
    switch("--routed", "its tasks leave with their own addresses: others have routes to them"),
    switch("--open", "tasks of other networks may come in"),
    option("--bridge", "the name of its device (default: made of the network's)", default=""),
    option("--mtu", "the size of its packets", NUMBER, default=0),
    option("--label", "NAME=VALUE", many=True),
    option("--engine", "who joins tasks to it: mobyshell itself, or CNI's plugins", default="",
           choices=("builtin", "cni")),
    argument("name", TEXT, "its name"),
    effect=WRITE, example="network create --internal --label for=tests inner",
)  # fmt: skip
def create(
    ctx: Context, *, name: str, subnet: tuple[str, ...], gateway: str, ipv6: bool, internal: bool,
    routed: bool, open: bool, bridge: str, mtu: int, label: tuple[str, ...], engine: str,
) -> Done:  # fmt: skip
    """Make a network: a bridge of the host that tasks are plugged into.

    It is a configuration list of CNI, in the store's directory; the bridge comes with the first
    task, and goes with the network.
    """
    networking = _networking(ctx)
    routes = networking.routes() if os.geteuid() == 0 and not subnet else ()
    networking.networks.create(
        name, subnets=subnet, gateway=gateway, bridge=bridge, mtu=mtu, internal=internal,
        ipv6=ipv6, isolated=not open, routed=routed, labels=read_labels(label),
        engine="cni" if engine == "cni" else "", created=ctx.clock.now_ns() / 1e9, routes=routes,
    )  # fmt: skip
    return Done(name)


def read_labels(words: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE …`. UsageError for a word without a name."""
    found = {}
    for word in words:
        name, _, value = word.partition("=")
        if not name:
            raise UsageError(f"the label {word!r:.60} has no name", hint="NAME=VALUE")
        found[name] = value
    return found


@verb(N, "inspect", argument("name", NETWORK, "the network"), effect=READ,
      example="network inspect lan", key="i")  # fmt: skip
def inspect(ctx: Context, *, name: str) -> Record:
    """Show a network: its configuration, who does it and why, and the tasks that are in it."""
    networking = _networking(ctx)
    one = networking.networks.get(name)
    attached = networking.attached(name)
    fields = _row(one, attached)
    fields["tasks"] = [
        {"id": each.id, "addresses": list(each.addresses), "ports": [str(p) for p in each.ports]}
        for each in attached
    ]
    fields["configuration"] = dict(one.document)
    return Record(fields, "name")


@verb(
    N, "check",
    switch("--repair", "take it away"),
    effect=WRITE, example="network check",
)  # fmt: skip
def check(ctx: Context, *, repair: bool) -> Rows:
    """Find what is left of tasks that are gone: their attachments, devices, rules and addresses.

    Attachments are let go by whoever joins a network next; this is for looking, and for whose
    records were deleted by hand.
    """
    from mobyshell.core.network import orphans

    networking = _networking(ctx)
    rows = [{"kind": "attachment", "name": one, "whose": one, "repaired": repair}
            for one in networking.stale()]  # fmt: skip
    if repair:
        networking.reconcile()
    found = orphans.find(networking) if os.geteuid() == 0 else []
    if repair:
        orphans.remove(networking, found)
    rows += [{"kind": one.kind, "name": one.name or one.whose, "whose": one.whose,
              "repaired": repair} for one in found]  # fmt: skip
    columns = (("kind", "KIND", "text"), ("name", "NAME", "id"), ("whose", "WHOSE", "text"),
               ("repaired", "REPAIRED", "check"))  # fmt: skip
    said = "" if rows else "nothing is left of anybody who is gone"
    return Rows(columns, rows, "name", said)


@verb(N, "rm", argument("name", NETWORK, "the networks", many=True), effect=DESTROY,
      example="network rm lan", key="D")  # fmt: skip
def rm(ctx: Context, *, name: tuple[str, ...]) -> Done:
    """Remove networks that no task is in, and their bridges."""
    networking, failed = _networking(ctx), []
    for one in name:
        try:
            networking.remove_network(one)
        except MobyshellError as error:
            failed.append(error)
    if failed:
        raise failed[0]
    return Done(" ".join(name))

"""`network`: what containers are joined to, and who is."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    DESTROY,
    NETWORK,
    NUMBER,
    READ,
    TASK,
    TEXT,
    WRITE,
    argument,
    option,
    switch,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, done_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobyshell.commands.context import Context
    from mobyshell.core.network.attach import Networking
    from mobyshell.core.network.config import NetworkConfig
    from mobyshell.core.network.values import Attachment, Operation

N = "network"


def home_of(ctx: Context) -> Networking:
    """The networks and attachments of the session's namespace."""
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
    networking = home_of(ctx)
    rows = []
    for one in networking.networks.ls():
        row = _row(one, networking.attached(one.name))
        rows.append({**row, "subnet": ", ".join(row["subnets"]),
                     "kind": ", ".join(row["plugins"])})  # fmt: skip
    columns = (("name", "NAME", "id"), ("engine", "ENGINE", "text"), ("subnet", "SUBNET", "text"),
               ("bridge", "BRIDGE", "text"), ("tasks", "TASKS", "number"),
               ("kind", "PLUGINS", "text"), ("path", "FILE", "text"))  # fmt: skip
    return Rows(columns, rows, "name")


def _choices(
    ctx: Context, networking: Networking, *, subnet: tuple[str, ...], gateway: str, ipv6: bool,
    internal: bool, routed: bool, open: bool, bridge: str, mtu: int, label: tuple[str, ...],
    engine: str,
) -> dict[str, Any]:  # fmt: skip
    """The words of `network create` as `Networks.draft` takes them."""
    from mobyshell.commands.stored import bare_labels

    routes = networking.routes() if os.geteuid() == 0 and not subnet else ()
    return {
        "subnets": subnet, "gateway": gateway, "bridge": bridge, "mtu": mtu, "internal": internal,
        "ipv6": ipv6, "isolated": not open, "routed": routed, "labels": bare_labels(label),
        "engine": "cni" if engine == "cni" else "", "created": ctx.clock.now_ns() / 1e9,
        "routes": routes,
    }  # fmt: skip


def _step_rows(steps: Sequence[Operation], said: str) -> Rows:
    from mobyshell.commands.task_surroundings import step_rows

    columns = (("n", "#", "number"), ("phase", "WHERE", "text"), ("title", "OPERATION", "prose"))
    return Rows(columns, step_rows(steps), "title", said)


def _plan_create(ctx: Context, *, name: str, **how: Any) -> Rows:
    """The file, and what the first task that is joined brings about."""
    from mobyshell.core.network.look import plan_create

    networking = home_of(ctx)
    steps = plan_create(networking, name, **_choices(ctx, networking, **how))
    return _step_rows(
        steps, "step 1 is what `network create` does; the rest comes with the first task"
    )


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
    effect=WRITE, example="network create --internal --label for=tests inner", key="n",
    plan=_plan_create,
)  # fmt: skip
def create(ctx: Context, *, name: str, **how: Any) -> Done:
    """Make a network: a bridge of the host that tasks are plugged into.

    It is a configuration list of CNI, in the store's directory; the bridge comes with the first
    task, and goes with the network.
    """
    networking = home_of(ctx)
    networking.networks.create(name, **_choices(ctx, networking, **how))
    return Done(name)


@verb(N, "inspect", argument("name", NETWORK, "the network"), effect=READ,
      example="network inspect lan", key="i")  # fmt: skip
def inspect(ctx: Context, *, name: str) -> Record:
    """Show a network: its configuration, who does it and why, and the tasks that are in it."""
    networking = home_of(ctx)
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
    N, "plan",
    option("-p --publish", "[[IP:]HOST:]CONTAINER[/udp]: with this port", TEXT, many=True),
    argument("name", NETWORK, "the network"),
    effect=READ, example="network plan -p 8080:80 lan", key="y",
)  # fmt: skip
def plan(ctx: Context, *, name: str, publish: tuple[str, ...]) -> Rows:
    """Print what joining one more task would do, one operation a line, without doing it.

    `--json` has for each why it is done, and what does the same in a shell.
    """
    from mobyshell.core.network import ports
    from mobyshell.core.network.look import plan_join

    networking = home_of(ctx)
    wanted = tuple(one for word in publish for one in ports.parse(word))
    steps = plan_join(networking, networking.configuration(name, dry=True), wanted)
    return _step_rows(steps, "")


def _plan_connect(
    ctx: Context, *, name: str, id: str, ip: tuple[str, ...], alias: tuple[str, ...]
) -> Rows:
    from mobyshell.core.tasks.surroundings import Surroundings
    from mobyshell.moby.networks import asked_for

    place = Surroundings(ctx.root, ctx.state, ctx.namespace)
    plan = place.plan_connect(ctx.tasks, id, asked_for(name, ip, alias))
    return _step_rows(plan.operations, "")


@verb(
    N, "connect",
    option("--ip --ip6", "the address that it shall have there", TEXT, many=True),
    option("--alias", "a further name by which its neighbours find it", TEXT, many=True),
    argument("name", NETWORK, "the network"), argument("id", TASK, "the task"),
    effect=WRITE, example="network connect --alias db lan web", key="J",
    plan=_plan_connect,
)  # fmt: skip
def connect(
    ctx: Context, *, name: str, id: str, ip: tuple[str, ...], alias: tuple[str, ...]
) -> Done:
    """Join a task that is there to one more network, running or stopped.

    It gets the next device (eth1, …) and an address, its neighbours hear its name, and ports that it
    publishes stay where they lead. Its container's next task has it too.
    """
    from mobyshell.commands.image_transfer import tenant
    from mobyshell.moby import networks

    joined = networks.connect(tenant(ctx), name, id, ip, alias)
    addresses = ", ".join(lease.address for lease in joined.leases)
    return Done(name, said=f"{id} is in {name}: {joined.interface} {addresses}".rstrip())


def _plan_disconnect(ctx: Context, *, name: str, id: str) -> Rows:
    from mobyshell.core.network.connecting import plan_disconnect

    return _step_rows(plan_disconnect(home_of(ctx), id, name).operations, "")


@verb(N, "disconnect", argument("name", NETWORK, "the network"), argument("id", TASK, "the task"),
      effect=WRITE, example="network disconnect lan web", plan=_plan_disconnect)  # fmt: skip
def disconnect(ctx: Context, *, name: str, id: str) -> Done:
    """Take a task out of a network; its others stay as they are.

    Ports that led through it lead through another of its networks, if one can carry them; else they
    stay reserved, and lead to it again when it is joined to one that can.
    """
    from mobyshell.commands.image_transfer import tenant
    from mobyshell.moby import networks

    networks.disconnect(tenant(ctx), name, id)
    return Done(name, said=f"{id} is not in {name} any more")


@verb(
    N, "check",
    switch("--repair", "take it away"),
    effect=WRITE, example="network check",
)  # fmt: skip
def check(ctx: Context, *, repair: bool) -> Rows:
    """Find what is left of tasks that are gone, and what plugins find changed of those that are there.

    Attachments, devices, rules and addresses of the gone are let go by whoever joins a network next;
    this is for looking, and for whose records were deleted by hand. CNI's plugins are asked (CHECK)
    whether a task's network is as they made it; that is not repaired: leave the network and join it.
    """
    from mobyshell.core.network import checking, orphans

    networking = home_of(ctx)
    why: dict[str, str] = {}
    lost = [*networking.stale(), *networking.unsettled()]
    if repair:
        networking.reconcile(told=lambda whose, error: why.update({whose: str(error)}))
    still = {*networking.stale(), *networking.unsettled()}
    rows = [{"kind": "attachment", "name": one, "whose": one, "repaired": one not in still,
             "why": why.get(one, "")} for one in lost]  # fmt: skip
    found = orphans.find(networking) if os.geteuid() == 0 else []
    if repair:
        orphans.remove(networking, found)
    rows += [{"kind": one.kind, "name": one.name or one.whose, "whose": one.whose,
              "repaired": repair, "why": ""} for one in found]  # fmt: skip
    rows += [{"kind": "network", "name": one.network, "whose": one.whose, "repaired": False,
              "why": one.why} for one in checking.check(networking)]  # fmt: skip
    columns = (("kind", "KIND", "text"), ("name", "NAME", "id"), ("whose", "WHOSE", "text"),
               ("repaired", "REPAIRED", "check"), ("why", "WHY", "text"))  # fmt: skip
    said = "" if rows else "nothing is left of anybody who is gone"
    return Rows(columns, rows, "name", said)


def _plan_rm(ctx: Context, *, name: tuple[str, ...]) -> Rows:
    from mobyshell.core.network.look import plan_remove

    networking = home_of(ctx)
    return _step_rows([step for one in name for step in plan_remove(networking, one)], "")


@verb(N, "rm", argument("name", NETWORK, "the networks", many=True), effect=DESTROY,
      example="network rm lan", key="D", plan=_plan_rm)  # fmt: skip
def rm(ctx: Context, *, name: tuple[str, ...]) -> Done:
    """Remove networks that no task is in, and their bridges."""
    return done_each(name, home_of(ctx).remove_network)

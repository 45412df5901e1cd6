"""The options by which a task gets networks, ports and volumes, and the creation with them."""

from __future__ import annotations

from mobyshell.commands.registry import NETWORK, TEXT, VOLUME, option

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from mobyshell.commands.context import Context
    from mobyshell.core.network.values import Operation
    from mobyshell.core.oci import Spec
    from mobyshell.core.tasks.foreseen import Look
    from mobyshell.core.tasks.service import TaskInfo

OPTIONS = (
    option("--network", "none, host, container:ID, pasta, slirp4netns, or NAME[:ip=ADDRESS,alias=NAME] "
           "of a network (default: what the config says)", NETWORK, many=True),
    option("-p --publish", "[[IP:]HOST:]CONTAINER[/udp]: a port of the host that leads to the task",
           TEXT, many=True),
    option("-v --volume", "NAME:/path[:ro,nocopy], /directory:/path[:ro], or /path", VOLUME, many=True),
)  # fmt: skip


RESTART = option("--restart", "start it again when it ends: no, on-failure[:N], always, unless-stopped",
                 TEXT, default="")  # fmt: skip


def create_task(
    ctx: Context, id: str, path: str, *, network: Sequence[str], publish: Sequence[str],
    volume: Sequence[str], **more: Any,
) -> TaskInfo:  # fmt: skip
    """The task, created. `more`: as `Tasks.create` takes it."""
    if not (network or publish or volume):
        return ctx.tasks.create(id, path, **more)
    import json

    from mobyshell.core.oci import load_spec, spec_to_json
    from mobyshell.core.tasks.surroundings import Surroundings, Wishes

    wishes = Wishes.read(network, publish, volume)
    place = Surroundings(ctx.root, ctx.state, ctx.namespace)
    with place.around(ctx.tasks, id, load_spec(path), wishes) as spec:
        return ctx.tasks.create(id, path, spec=json.dumps(spec_to_json(spec)), **more)


def foresee(
    ctx: Context, id: str, spec: Spec, *, network: Sequence[str], publish: Sequence[str],
    volume: Sequence[str], look: Look | None = None,
) -> tuple[Spec, list[dict[str, Any]]]:  # fmt: skip
    """The spec as the container will have it, and as rows of a plan what is done about volumes and
    networks before the container is made. `look`: see `foreseen.Look`."""
    if not (network or publish or volume):
        return spec, []
    from mobyshell.core.tasks.foreseen import foresee as found
    from mobyshell.core.tasks.surroundings import Surroundings, Wishes

    wishes = Wishes.read(network, publish, volume)
    place = Surroundings(ctx.root, ctx.state, ctx.namespace)
    plan = found(place, lambda other: f"/proc/{ctx.tasks.get(other).pid}/ns/net", id, spec, wishes,
                 look)  # fmt: skip
    rows: list[dict[str, Any]] = [
        {"n": number, "actor": "volume", "phase": "host", "title": one.title, "why": one.why,
         "source": one.source, "destination": one.destination, "options": list(one.options)}
        for number, one in enumerate(plan.volumes, 1)
    ]  # fmt: skip
    return plan.spec, [*rows, *step_rows(plan.network.operations)]


def step_rows(steps: Sequence[Operation]) -> list[dict[str, Any]]:
    """Steps of a network's plan as rows of one."""
    return [
        {"n": number, "actor": "network", "phase": one.where, "title": one.shell.split("\n")[0],
         **one.to_json()}
        for number, one in enumerate(steps, 1)
    ]  # fmt: skip


def network_fields(ctx: Context, id: str) -> dict[str, Any] | None:
    """What a task is attached to, for `task inspect`; None if its network is its config's alone."""
    from mobyshell.core.network.attach import Networking

    found = Networking(ctx.root, ctx.state, ctx.namespace).find(id)
    if found is None:
        return None
    return {
        "networks": [
            {"name": one.network, "interface": one.interface, "engine": one.engine,
             "addresses": [lease.address for lease in one.leases],
             "gateways": [lease.gateway for lease in one.leases if lease.gateway]}
            for one in found.joined
        ],
        "ports": [str(one) for one in found.ports],
        "namespace": found.netns, "directory": found.directory,
    }  # fmt: skip

"""The networks of a namespace as a person surveys them: a seam for screens, behind which they are
read. And the changing of those of a task, which its container remembers. Every call may block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import NotFound
from mobyshell.core.network import look as looks
from mobyshell.core.network.asked import Asked, parse
from mobyshell.core.network.look import NetworkInfo, NetworkLook
from mobyshell.moby.around import HOW

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking
    from mobyshell.core.network.values import Joined, Operation
    from mobyshell.moby.tenant import Tenant


def connect(
    tenant: Tenant, network: str, id: str, ips: Sequence[str] = (), aliases: Sequence[str] = ()
) -> Joined:
    """Join a task that is there to a network; its place in it. See `Moby.connect`."""
    joined = tenant.surroundings().connect(tenant.tasks, id, asked_for(network, ips, aliases))
    _remember(tenant, id)
    return joined


def asked_for(network: str, ips: Sequence[str], aliases: Sequence[str]) -> str:
    """A network's name with what is asked for beside it. UsageError."""
    asked = parse(network)
    return str(Asked(asked.network, (*asked.ips, *ips), (*asked.aliases, *aliases)))


def disconnect(tenant: Tenant, network: str, id: str) -> None:
    """Take a task out of a network. See `Moby.disconnect`."""
    tenant.surroundings().disconnect(tenant.tasks, id, network)
    _remember(tenant, id)


def _remember(tenant: Tenant, id: str) -> None:
    """The container's next task begins with what this one has; not with nothing, where ports want a
    network."""
    try:
        row = tenant.store.containers.get(id)
    except NotFound:
        return  # of a bundle
    found, how = tenant.surroundings().networking.find(id), row.extensions.get(HOW, {})
    joined = found.joined if found is not None else ()
    names = [str(Asked(one.network, one.ips, one.aliases)) for one in joined]
    if names or not how.get("publish"):
        changed = {**how, "network": names or ["none"]}
        tenant.store.containers.update(id, extensions={**row.extensions, HOW: changed})


class Networks(Protocol):
    """What screens ask about networks. NotFound for a name that is none."""

    def ls(self) -> list[NetworkInfo]:
        """All that the namespace can use, with their members as they are recorded."""
        ...

    def look(self, name: str) -> NetworkLook:
        """One, with what the kernel has of it."""
        ...

    def plan(self, name: str) -> tuple[Operation, ...]:
        """What joining one more container would do."""
        ...


class NetworkSurvey:
    """`Networks` of the namespace that `home` says at each call."""

    def __init__(self, home: Callable[[], Networking]) -> None:
        self._home = home

    def ls(self) -> list[NetworkInfo]:
        """See `Networks.ls`."""
        return looks.survey(self._home())

    def look(self, name: str) -> NetworkLook:
        """See `Networks.look`."""
        return looks.look(self._home(), name)

    def plan(self, name: str) -> tuple[Operation, ...]:
        """See `Networks.plan`. Unsupported if it needs plugins that are not installed."""
        home = self._home()
        return looks.plan_join(home, home.configuration(name, dry=True))

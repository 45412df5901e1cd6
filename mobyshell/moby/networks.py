"""The networks of a namespace as a person surveys them: a seam for screens, behind which they are
read. Changes nothing; every call may block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.network import look as looks
from mobyshell.core.network.look import NetworkInfo, NetworkLook

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking
    from mobyshell.core.network.values import Operation


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

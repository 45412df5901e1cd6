"""Whether networks that plugins made are still as they made them: CNI's CHECK.

Owns the asking, for everybody of a state root. Nothing is changed by it. CNI's GC is not asked for:
who calls it names all whom a network has, and other engines of the machine use the same lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError
from mobyshell.core.network import cni
from mobyshell.core.network.asked import Asked
from mobyshell.core.network.config import NetworkConfig
from mobyshell.core.network.planner import Terms, by_plugins
from mobyshell.core.network.values import Attachment, Joined, Operation
from mobyshell.core.network.work import work
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking


@value
class Broken:
    """A container's place in a network that a plugin finds changed, and what it says."""

    whose: str
    network: str
    why: str


def check(home: Networking) -> Iterator[Broken]:
    """Ask for each container that is there, in each of its networks that plugins made."""
    for one in home.records.all():
        if not one.complete or not home.there(one.namespace, one.id):
            continue
        for number, joined in enumerate(one.joined):
            if joined.engine == "cni" and not joined.pending and cni.can_check(joined.document):
                step = _step(home, one, joined, first=number == 0)
                try:
                    work([step], host=home.host, netns=one.netns or "")
                except MobyshellError as error:
                    yield Broken(f"{one.namespace}/{one.id}", joined.network, str(error))


def _step(home: Networking, one: Attachment, joined: Joined, *, first: bool) -> Operation:
    terms = Terms(one.netns or "", pin=False, plugins=cni.directories())
    asked = Asked(joined.network, joined.ips, joined.aliases)
    config = NetworkConfig(joined.network, joined.document)
    found = by_plugins("cni-check", home.identity(one.id, one.namespace), config, joined.interface,
                       terms, one.ports if first else (), asked)  # fmt: skip
    arguments = {**found.arguments, "result": dict(joined.result)}
    return Operation(found.verb, found.where, arguments, found.why, found.shell)

"""What joins a container that is there to one more network, or takes it out of one. Pure.

The other networks stay as they are: their devices and addresses are not touched. Rules are made anew
for all together, in one transaction, since a port leads to the first that can carry it; a port that
none can carry stays the container's, and leads somewhere again when one can.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace

from mobyshell.core.network.leaving import left_by, unruled
from mobyshell.core.network.planner import (
    PROXY_PIDS,
    Identity,
    Terms,
    Wanted,
    joined_by,
    published,
    routes_of,
    rules_for,
    unused,
    wanted_of,
)
from mobyshell.core.network.values import HOST, Joined, NetworkPlan, Operation, PortMapping


def in_order(joined: Sequence[Joined], ports: Sequence[PortMapping]) -> tuple[Joined, ...]:
    """Networks with the one first that ports lead to. What plugins have published, they have."""
    if ports and joined and joined[0].engine != "cni" and not _publishes(joined[0]):
        for one in joined:
            if _publishes(one):
                return (one, *(other for other in joined if other is not one))
    return tuple(joined)


def with_one_more(
    joined: Sequence[Joined], one: Joined, ports: Sequence[PortMapping]
) -> tuple[Joined, ...]:
    """Networks and one that is to be joined, in their order: it is the first if it can carry ports
    that none carries yet."""
    capable = _publishes(one) or one.engine == "cni"
    if ports and capable and not (joined and (_publishes(joined[0]) or joined[0].engine == "cni")):
        return (one, *joined)
    return (*joined, one)


def _publishes(joined: Joined) -> bool:
    bridge = wanted_of(joined).bridge
    return bridge is not None and bridge.publishes


def plan_joining(
    identity: Identity, every: Sequence[Joined], one: Wanted, terms: Terms
) -> NetworkPlan:
    """The operations that join `one`, which is among `every`, already in order."""
    return NetworkPlan(tuple(_joining(identity, every, one, terms)))


def _joining(
    identity: Identity, every: Sequence[Joined], one: Wanted, terms: Terms
) -> Iterator[Operation]:
    wanted = [one if each.interface == one.interface else wanted_of(each) for each in every]
    ports = terms.ports if wanted[0] is one else ()
    if ports:
        yield unused(ports)
    yield from joined_by(identity, one, ports, terms)
    yield from _rules(identity, wanted, terms)


def _rules(identity: Identity, wanted: Sequence[Wanted], terms: Terms) -> Iterator[Operation]:
    """All rules instead of those that there are."""
    before = unruled(identity)
    found = False
    for step in rules_for(identity, wanted, terms):
        yield replace(step, shell=f"{before.shell}\n{step.shell}")
        found = True
    if not found:
        yield before


def plan_leaving(
    identity: Identity, rest: Sequence[Joined], gone: Joined, terms: Terms, *, carried: bool
) -> NetworkPlan:
    """The operations that take a container out of the network `gone`, and leave it in `rest`, which is
    in order. `carried`: the ports led to that one. Doing it again changes nothing."""
    return NetworkPlan(tuple(_leaving(identity, rest, gone, terms, carried=carried)))


def _leaving(
    identity: Identity, rest: Sequence[Joined], gone: Joined, terms: Terms, *, carried: bool
) -> Iterator[Operation]:
    wanted = [wanted_of(one) for one in rest]
    ports = terms.ports if carried else ()
    if ports and not terms.kernel_ports:
        path = f"{terms.directory}/{PROXY_PIDS}"
        yield Operation("stop", HOST, {"pidfile": path}, "the program that passed its ports on ends",
                        f"kill $(cat {shlex.quote(path)})")  # fmt: skip
    yield from _rules(identity, wanted, terms)
    yield left_by(identity, gone, ports, terms)
    for one in wanted:  # what led through the one that is gone leads through another
        if one.bridge is not None:
            yield from routes_of(one, one.bridge, terms)
    for one in wanted[:1]:
        yield from published(one, ports, terms)

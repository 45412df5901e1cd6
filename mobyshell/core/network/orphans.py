"""What bears our mark and belongs to nobody: found by looking at the kernel, not at records.

Records are written before the kernel knows of anything, so there are no such things but where
somebody deleted a record by hand. Owns the finding and the removal of devices, rules, reservations
and bridges of one state root; what has no mark of it is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobyshell.core.network.addresses import Addresses
from mobyshell.core.network.planner import Identity
from mobyshell.core.network.values import HOST, Operation
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking

_BRIDGE = "network"


@dataclass(frozen=True, slots=True)
class Orphan:
    """One thing. `kind`: device, rules, address or bridge; `whose`: who has had it."""

    kind: str
    name: str
    whose: str


def find(home: Networking) -> list[Orphan]:
    """Every orphan of the state root. Root only, since nobody else makes any."""
    look = Operation(
        "owned", HOST, {"tag": home.identity("").tag}, "whose mark is ours", "ip -d link"
    )
    (owned,) = work([look], host=home.host)
    reserved, bridges = list(_addresses(home)), set(_bridges(home))
    # only now: what came meanwhile is not among the above, and what went is gone
    known = [home.identity(id, namespace) for namespace, id in home.records.ids()]
    found = list(_kernel(owned, {one.mark for one in known}, bridges))
    ids = {one.cni_id for one in known}
    return [*found, *(one for one in reserved if one.whose not in ids)]


def remove(home: Networking, orphans: Iterable[Orphan]) -> None:
    """Take them away. What is gone already is gone."""
    operations = []
    for one in orphans:
        if one.kind == "device":
            operations.append(Operation("unlink", HOST, {"name": one.name, "alias": one.whose},
                                        "nobody's cable", f"ip link del {one.name}"))  # fmt: skip
        elif one.kind == "rules":
            operations.append(
                Operation("unrule", HOST, {"comment": one.whose}, "nobody's rules", "")
            )
        elif one.kind == "bridge":
            operations.append(Operation("unbridge", HOST, {"name": one.name}, "no network's bridge",
                                        f"ip link del {one.name}"))  # fmt: skip
        else:
            network, _, ip = one.name.partition(" ")
            for directory in _directories(home, network):
                Addresses(directory, network).release(one.whose, [ip])
    work(operations, host=home.host, keep_going=True)


def _kernel(owned: Iterable[list[str]], marks: set[str], bridges: set[str]) -> Iterator[Orphan]:
    for kind, name, mark in owned:
        if kind == "device" and mark.split(" ")[2] == _BRIDGE:
            if name not in bridges:
                yield Orphan("bridge", name, mark)
        elif mark not in marks:
            yield Orphan(kind, name, mark)


def _bridges(home: Networking) -> Iterator[str]:
    """The bridges of every network of every namespace."""
    for one in home.networks.everywhere():
        for plugin in one.plugins:
            if isinstance(plugin.get("bridge"), str):
                yield str(plugin["bridge"])


def _directories(home: Networking, network: str) -> Iterator[str]:
    for one in home.networks.everywhere():
        bridge, _ = one.built_in()
        if bridge is not None and one.name == network:
            yield bridge.data_directory


def _addresses(home: Networking) -> Iterator[Orphan]:
    """Every reservation of a container of this state root."""
    for one in home.networks.everywhere():
        for directory in _directories(home, one.name):
            for ip, owner in Addresses(directory, one.name).owners().items():
                if _is_ours(owner, home.identity("")):
                    yield Orphan("address", f"{one.name} {ip}", owner)


def _is_ours(owner: str, anybody: Identity) -> bool:
    """Whether a reservation is of a container of this state root (`Identity.cni_id`)."""
    return owner.rpartition("-")[2][:8] == anybody.tag and len(owner.rpartition("-")[2]) == 20

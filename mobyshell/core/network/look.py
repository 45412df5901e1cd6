"""What a network is made of now: who is in it, by which devices and rules, and which of them the
kernel has. Changes nothing.

Records say what was made, and the planner, asked again, how; the kernel is asked by the worker, which
is where its network is.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.nftables import Rule
from mobyshell.core.network import cni
from mobyshell.core.network.attaching import has_nftables
from mobyshell.core.network.config import NetworkConfig
from mobyshell.core.network.names import FILES
from mobyshell.core.network.planner import Terms, mac_of, plan_attach, wanted_of
from mobyshell.core.network.values import (
    HOST,
    Attachment,
    Joined,
    Operation,
    PortMapping,
    Request,
)
from mobyshell.core.network.work import work

if TYPE_CHECKING:
    from mobyshell.core.network.attach import Networking

NEXT = "next"
"""The name of a container that there is not yet."""

_LARGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class Device:
    """A device of the host. `bridge`: the name of the one it is a port of."""

    name: str
    up: bool
    mac: str
    mtu: int
    kind: str
    bridge: str


@dataclass(frozen=True, slots=True)
class Member:
    """A container in a network. `host_interface`: our end of its cable; `routes`: destination and
    gateway; `rules`: those of this network, as nft(8) writes them after the chain's name; `steps`: all
    that was done. These three are empty in a list of networks."""

    id: str
    complete: bool
    engine: str
    interface: str
    host_interface: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    mac: str
    ports: tuple[str, ...]
    routes: tuple[tuple[str, str], ...] = ()
    rules: tuple[str, ...] = ()
    steps: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """A network in a list. `driver`: its first plugin; `engine`: who joins containers to it, and
    `why` that is not us."""

    config: NetworkConfig
    driver: str
    engine: str
    why: str
    bridge: str
    gateways: tuple[str, ...]
    members: tuple[Member, ...]

    @property
    def name(self) -> str:
        return self.config.name


@dataclass(frozen=True, slots=True)
class NetworkLook:
    """A network and what the kernel has of it. `devices`: by name, those that are its own; `rules`:
    how many of a member's (in all its networks) there are, and how many there should be; None where
    we may not look, and `trouble` says why nothing could be seen. `files`: resolv.conf and others of
    each member, by the path they have inside."""

    info: NetworkInfo
    devices: Mapping[str, Device] = field(default_factory=dict)
    rules: Mapping[str, tuple[int | None, int]] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    trouble: str = ""


def survey(home: Networking) -> list[NetworkInfo]:
    """Every network that the namespace can use, by name. What was done for their members is left out:
    it is planned again for the one that is looked at."""
    attached = [one for one in home.records.all() if one.namespace == home.namespace]
    return [_info(config, attached) for config in home.networks.ls()]


def look(home: Networking, name: str) -> NetworkLook:
    """All about one. NotFound."""
    config = home.networks.get(name)
    attached = home.attached(name)
    kernel_ports, by_id = has_nftables(), {one.id: one for one in attached}
    info = _info(config, attached)
    members = [_planned(home, one, by_id[one.id], kernel_ports) for one in info.members]
    info = replace(info, members=tuple(members))
    files = {one.id: _files(one.directory) for one in attached}
    try:
        (seen,) = work([Operation("seen", HOST, {}, "what there is", "ip -d link; nft list ruleset")],
                       host=home.host)  # fmt: skip
    except MobyshellError as error:
        return NetworkLook(info, files=files, trouble=error.message)
    own = {info.bridge, *(one.host_interface for one in info.members)} - {""}
    devices = {one.name: one for one in (Device(*each) for each in seen["devices"])
               if one.name in own or (info.bridge and one.bridge == info.bridge)}  # fmt: skip
    marks: Mapping[str, int] | None = seen["rules"]
    rules = {
        one.id: (None if marks is None else marks.get(home.identity(one.id).mark, 0),
                 sum(len(_rules(each)) for each in _steps(home, one, one.joined, kernel_ports)))
        for one in attached
    }  # fmt: skip
    return NetworkLook(info, devices, rules, files)


def plan_join(
    home: Networking, config: NetworkConfig, ports: Sequence[PortMapping] = ()
) -> tuple[Operation, ...]:
    """What joining one more container, called NEXT, would do now; nothing is changed.
    AlreadyExists for a port that is published."""
    identity = home.identity(NEXT)
    wanted = home.want(identity, config, 0, dry=True)
    request = Request(NEXT, (config.name,))
    netns = home.records.netns(home.namespace, NEXT)
    terms = home.terms(request, netns, home.choose_ports(ports))
    return plan_attach(identity, [wanted], terms).operations


def plan_create(home: Networking, name: str, **choices: Any) -> tuple[Operation, ...]:
    """What `Networks.create` would write, and what the first container would bring about. UsageError."""
    draft = home.networks.draft(name, **choices)
    text = json.dumps(draft.document, indent=2)
    file = Operation(
        "write", HOST, {"path": draft.path, "document": dict(draft.document)},
        "a network is a file: a configuration list of CNI",
        f"cat > {shlex.quote(draft.path)} <<'END'\n{text}\nEND",
    )  # fmt: skip
    return (file, *plan_join(home, draft))


def plan_remove(home: Networking, name: str) -> tuple[Operation, ...]:
    """What `Networking.remove_network` would do. NotFound; Refused for the machine's; WrongState if
    somebody is in it."""
    config = home.networks.removable(name)
    home.check_unused(name)
    path, bridge = shlex.quote(config.path), str(config.plugins[0].get("bridge", ""))
    steps = [Operation("unlink", HOST, {"path": config.path}, "a network is a file", f"rm {path}")]
    if bridge:
        steps.append(Operation("unbridge", HOST, {"name": bridge}, "nobody is plugged into it",
                               f"ip link del {bridge}"))  # fmt: skip
    return tuple(steps)


def _info(config: NetworkConfig, attached: Iterable[Attachment]) -> NetworkInfo:
    bridge, why = config.built_in()
    gateways = [one.gateway for group in bridge.ranges for one in group] if bridge else []
    members = [_member(one, joined) for one in attached
               for joined in one.joined if joined.network == config.name]  # fmt: skip
    first = config.plugins[0]
    return NetworkInfo(
        config, str(first["type"]), "builtin" if bridge else "cni", why,
        str(first.get("bridge", "")), tuple(gateways if bridge and bridge.gateway else ()),
        tuple(members),
    )  # fmt: skip


def _member(attachment: Attachment, joined: Joined) -> Member:
    first = attachment.joined[0] is joined
    return Member(
        attachment.id, attachment.complete, joined.engine, joined.interface,
        joined.host_interface, tuple(one.address for one in joined.leases),
        tuple(one.gateway for one in joined.leases if one.gateway), _mac(joined),
        tuple(str(one) for one in attachment.ports) if first else (),
    )  # fmt: skip


def _planned(
    home: Networking, member: Member, attachment: Attachment, kernel_ports: bool
) -> Member:
    """A member with what was done for it."""
    joined = [one for one in attachment.joined if one.interface == member.interface]
    steps = _steps(home, attachment, joined, kernel_ports)
    routes = [(str(one.arguments["to"]), str(one.arguments["through"])) for one in steps
              if one.verb == "route"]  # fmt: skip
    rules = [text for one in steps for text in _rules(one)]
    return replace(member, routes=tuple(routes), rules=tuple(rules), steps=steps)


def _mac(joined: Joined) -> str:
    if joined.engine == "builtin":
        return mac_of(joined.leases) if joined.leases else ""
    for one in joined.result.get("interfaces") or ():
        if isinstance(one, dict) and one.get("name") == joined.interface and one.get("sandbox"):
            return str(one.get("mac", ""))
    return ""


def _steps(
    home: Networking, attachment: Attachment, joined: Iterable[Joined], kernel_ports: bool
) -> tuple[Operation, ...]:
    """What was done for an attachment, in some of its networks: the same plan, made again."""
    wanted = []
    for one in joined:
        found = wanted_of(one)
        if found.bridge is not None and not one.leases:
            continue  # it is being made: nothing was given to it yet
        wanted.append(found)
    if not wanted:
        return ()
    first = wanted[0].interface == attachment.joined[0].interface
    terms = Terms(
        attachment.netns or "", attachment.pinned, attachment.ports if first else (),
        cni.directories(), kernel_ports, attachment.directory,
        attachment.users, attachment.userns,
    )  # fmt: skip
    identity = home.identity(attachment.id, attachment.namespace)
    return plan_attach(identity, wanted, terms).operations


def _rules(step: Operation) -> list[str]:
    if step.verb != "rules":
        return []
    return [f"{one.chain}: {one.words()}" for one in map(_rule, step.arguments["rules"])]


def _rule(values: Mapping[str, Any]) -> Rule:
    to = values["to"]
    return Rule(**{**values, "to": tuple(to) if to is not None else None})


def _files(directory: str) -> dict[str, str]:
    found = {}
    for name, inside in FILES.items():
        try:
            fd = os.open(f"{directory}/{name}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue  # it is being made or taken apart
        try:
            found[inside] = os.read(fd, _LARGEST).decode(errors="replace")
        finally:
            os.close(fd)
    return found

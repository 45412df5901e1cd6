"""Networks and addresses to operations, and attachments to what undoes them. Pure.

Nothing here looks at the machine: the same request, configuration and leases make the same plan.
Each operation says why, and how a shell does the same.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from mobyshell.core.linux.nftables import Rule, script
from mobyshell.core.network.asked import Asked
from mobyshell.core.network.config import BridgeConfig, NetworkConfig
from mobyshell.core.network.values import (
    CONTAINER,
    HOST,
    Joined,
    Lease,
    NetworkPlan,
    Operation,
    PortMapping,
    Users,
)

PROXY_PIDS = "proxy.pid"
SLIRP_PID = "slirp.pid"
HOLDER_PID = "holder.pid"


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a kernel object is: written into the alias of a device and the comment of a rule.

    `state`: the state root, of which each has its own containers of one name.
    """

    state: str
    namespace: str
    id: str

    @property
    def tag(self) -> str:
        """Eight digits that stand for the state root."""
        return hashlib.sha256(self.state.encode()).hexdigest()[:8]

    @property
    def mark(self) -> str:
        """What stands in aliases and comments."""
        return f"mobyshell {self.tag} {self.namespace}/{self.id}"

    @property
    def cni_id(self) -> str:
        """The container id for plugins and reservations: readable, and of this container alone."""
        number = hashlib.sha256(f"{self.namespace}\0{self.id}".encode()).hexdigest()[:12]
        return f"{self.namespace}-{self.id}-{self.tag}{number}".replace("+", "_")

    def device(self, interface: str) -> str:
        """The host's end of the pair whose other end is `interface`."""
        where = f"{self.mark}\0{interface}".encode()
        return f"veth{hashlib.sha256(where).hexdigest()[:11]}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A network that is to be joined, with what was allocated for it. `bridge`: None for plugins.
    `asked`: how it was asked for."""

    config: NetworkConfig
    interface: str
    bridge: BridgeConfig | None = None
    leases: tuple[Lease, ...] = ()
    asked: Asked = field(default_factory=lambda: Asked(""))


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for all networks of a container: its namespace and whether we make that, ports,
    where plugins are, whether the kernel maps ports (else a program does), and our directory; whose
    the namespace is to be, and where that user namespace is kept if it is made, too."""

    netns: str
    pin: bool
    ports: tuple[PortMapping, ...] = ()
    plugins: tuple[str, ...] = ()
    kernel_ports: bool = True
    directory: str = ""
    users: Users | None = None
    userns: str = ""


def join(identity: Identity, wanted: Wanted) -> Joined:
    """What the record says of a network before its operations are done."""
    bridge = wanted.bridge
    return Joined(
        wanted.config.name, wanted.interface, "builtin" if bridge else "cni",
        identity.device(wanted.interface) if bridge else "", bridge.bridge if bridge else "",
        wanted.leases, wanted.config.document, ips=wanted.asked.ips, aliases=wanted.asked.aliases,
    )  # fmt: skip


def wanted_of(joined: Joined) -> Wanted:
    """A network that is joined, as it was asked for."""
    config = NetworkConfig(joined.network, joined.document)
    bridge = config.built_in()[0] if joined.engine == "builtin" else None
    asked = Asked(joined.network, joined.ips, joined.aliases)
    return Wanted(config, joined.interface, bridge, joined.leases, asked)


def plan_attach(identity: Identity, wanted: Sequence[Wanted], terms: Terms) -> NetworkPlan:
    """The operations that join all networks, in order."""
    return NetworkPlan(tuple(_attach(identity, wanted, terms)))


def _attach(identity: Identity, wanted: Sequence[Wanted], terms: Terms) -> Iterator[Operation]:
    if terms.pin:
        yield _pin(terms)
    yield _up(CONTAINER, "lo", "the container's own loopback", terms)
    if terms.ports:
        yield unused(terms.ports)
    ports = terms.ports
    for one in wanted:
        yield from joined_by(identity, one, ports, terms)
        ports = ()  # each port leads to one network, the first
    yield from rules_for(identity, wanted, terms)


def unused(ports: Sequence[PortMapping]) -> Operation:
    """Whether a program of the host has one of the ports."""
    return Operation(
        "ports", HOST, {"ports": [one.to_json() for one in ports]},
        "ports that are published must be nobody's", "! ss -Hltun | grep -wE "
        + shlex.quote("|".join(f":{one.host_port}" for one in ports)),
    )  # fmt: skip


def joined_by(
    identity: Identity, one: Wanted, ports: Sequence[PortMapping], terms: Terms
) -> Iterator[Operation]:
    """One network, with the ports that lead to it; all but the rules."""
    if one.bridge is None:
        yield by_plugins("cni-add", identity, one.config, one.interface, terms, ports, one.asked)
    else:
        yield from join_bridge(identity, one, one.bridge, terms)
        yield from published(one, ports, terms)


def published(one: Wanted, ports: Sequence[PortMapping], terms: Terms) -> Iterator[Operation]:
    """What ports take beside rules."""
    if one.bridge is None or not one.bridge.publishes or not ports:
        return
    if terms.kernel_ports:
        yield sysctl(f"net/ipv4/conf/{one.bridge.bridge}/route_localnet", "1",
                     "127.0.0.1 of the host leads to published ports")  # fmt: skip
    else:
        yield proxied(one.leases, ports, terms)


def rules_for(identity: Identity, wanted: Sequence[Wanted], terms: Terms) -> Iterator[Operation]:
    """The rules of all networks together; ports lead to the first. Nothing if there are none."""
    rules: list[Rule] = []
    ports = terms.ports if terms.kernel_ports else ()
    for one in wanted:
        if one.bridge is not None:
            mapped = ports if one.bridge.publishes else ()
            rules += rules_of(one.bridge, one.leases, mapped, guarded=terms.kernel_ports)
        ports = ()
    if rules:
        yield Operation(
            "rules", HOST, {"rules": [asdict(one) for one in rules], "comment": identity.mark},
            "translation of addresses and ports, in one transaction",
            script(rules, identity.mark),
        )  # fmt: skip


def _pin(terms: Terms) -> Operation:
    path, users = shlex.quote(terms.netns), terms.users
    why = "a network namespace that outlives its processes"
    if users is None:
        return Operation("pin", HOST, {"path": terms.netns}, why,
                         f"touch {path} && unshare --net={path} true")  # fmt: skip
    if users.path:
        shell = f"touch {path} && nsenter --user={shlex.quote(users.path)} unshare --net sleep 1 & "
        shell += f"sleep .5; mount --bind /proc/$!/ns/net {path}"
    else:
        there = shlex.quote(terms.userns)
        maps = " ".join(
            f"--map-{kind}={outside},{inside},{size}"
            for kind, lines in (("users", users.uids), ("groups", users.gids))
            for inside, outside, size in lines
        )
        shell = f"touch {path} {there} && unshare --user={there} --net={path} {maps} true"
    return Operation("pin-users", HOST, {"path": terms.netns, "kept": terms.userns, "users": users.path,
                      "uids": users.uids, "gids": users.gids},
                     f"{why}, and belongs to the container's users", shell)  # fmt: skip


def join_bridge(
    identity: Identity, wanted: Wanted, bridge: BridgeConfig, terms: Terms
) -> Iterator[Operation]:
    name, mtu = bridge.bridge, bridge.mtu
    size = f" mtu {mtu}" if mtu else ""
    alias = f"mobyshell {identity.tag} network {wanted.config.name}"
    yield Operation(
        "bridge", HOST, {"name": name, "mtu": mtu, "alias": alias},
        f"the bridge of the network {wanted.config.name}",
        f"ip link show {name} >/dev/null 2>&1 || ip link add {name}{size} type bridge",
    )  # fmt: skip
    if bridge.gateway:
        for lease in wanted.leases:
            address = f"{lease.gateway}/{lease.address.partition('/')[2]}"
            yield _address(HOST, name, address, "the host is the network's gateway", terms)
            six = ":" in address
            yield sysctl("net/ipv6/conf/all/forwarding" if six else "net/ipv4/ip_forward", "1",
                          "packets of containers are passed on")  # fmt: skip
    yield _up(HOST, name, "the bridge carries packets", terms, promiscuous=bridge.promiscuous)
    host, inside = identity.device(wanted.interface), wanted.interface
    mac = mac_of(wanted.leases)
    yield Operation(
        "veth", HOST,
        {"name": host, "peer": inside, "mtu": mtu, "mac": mac, "alias": identity.mark},
        "a cable from the host into the container; the address of its end follows from the IP "
        "address, so that no neighbour remembers a wrong one",
        f"ip link add {host}{size} type veth peer name {inside} address {mac}{size} "
        f"netns {shlex.quote(terms.netns)} && ip link set {host} alias {shlex.quote(identity.mark)}",
    )  # fmt: skip
    yield Operation(
        "plug", HOST, {"device": host, "bridge": name, "hairpin": bridge.hairpin},
        "plugged into the bridge",
        f"ip link set {host} master {name}"
        + (f" && bridge link set dev {host} hairpin on" if bridge.hairpin else ""),
    )  # fmt: skip
    yield _up(HOST, host, "the host's end is on", terms)
    for lease in wanted.leases:
        yield _address(CONTAINER, inside, lease.address, "the container's address", terms)
    yield _up(CONTAINER, inside, "the container's end is on", terms)
    yield from routes_of(wanted, bridge, terms)


def routes_of(wanted: Wanted, bridge: BridgeConfig, terms: Terms) -> Iterator[Operation]:
    """How a container reaches others through one network. Of two to one destination the first stays."""
    inside = wanted.interface
    for to, through in _routes(bridge, wanted.leases):
        words = f"ip route add {to} {f'via {through} ' if through else ''}dev {inside}"
        yield Operation(
            "route", CONTAINER, {"device": inside, "to": to, "through": through},
            "how the container reaches others",
            _inside(terms, words) + ("" if inside == "eth0" else " || :  # there may be one"),
        )  # fmt: skip


def _routes(bridge: BridgeConfig, leases: Sequence[Lease]) -> list[tuple[str, str]]:
    """The routes of host-local, through the gateway of their kind where they name none."""
    gateways = {ipaddress.ip_address(one.gateway).version: one.gateway for one in leases}
    found = []
    for to, through in bridge.routes:
        version = ipaddress.ip_network(to).version
        if version in gateways:
            found.append((to, through or gateways[version]))
    if bridge.default_gateway:
        every = {4: "0.0.0.0/0", 6: "::/0"}
        found += [(every[version], through) for version, through in gateways.items()
                  if every[version] not in dict(found)]  # fmt: skip
    return found


def rules_of(
    bridge: BridgeConfig, leases: Sequence[Lease], ports: Sequence[PortMapping], *, guarded: bool
) -> list[Rule]:
    """What the host's packet filter does for one container on one bridge. `guarded`: the bridge has
    route_localnet as soon as a port of anybody on it is mapped."""
    found: list[Rule] = []
    for lease in leases:
        ip, subnet = lease.ip, str(ipaddress.ip_interface(lease.address).network)
        four = ipaddress.ip_address(ip).version == 4
        for one in ports:
            found += _port_rules(one, ip, four=four)
        if ports:
            # who is beside it on the bridge, or is it, comes to its published ports and is answered
            found.append(
                Rule("postrouting", "masquerade", source=subnet, destination=ip, mapped=True)
            )
            if four:
                found.append(
                    Rule("postrouting", "masquerade", source="127.0.0.0/8", destination=ip)
                )
        if bridge.masquerade:
            found.append(Rule("postrouting", "masquerade", source=ip, not_destination=subnet))
    if bridge.publishes and guarded:
        # with route_localnet a container could else ask the host's loopback (CVE-2020-8558)
        found.append(Rule("guard", "drop", input=bridge.bridge, destination="127.0.0.0/8"))
    if bridge.isolated:
        found += [
            Rule(
                "forward", "jump", input=bridge.bridge, not_output=bridge.bridge, jump="isolation"
            ),
            Rule("isolation", "drop", output=bridge.bridge),
        ]
    return found


def _port_rules(one: PortMapping, ip: str, *, four: bool) -> Iterator[Rule]:
    if one.host_ip and (":" not in one.host_ip) != four:
        return
    for chain in ("prerouting", "output"):
        yield Rule(
            chain, "dnat", destination=one.host_ip, not_destination="" if four else "::1",
            protocol=one.protocol, port=one.host_port, local=not one.host_ip,
            to=(ip, one.container_port),
        )  # fmt: skip


def mac_of(leases: Sequence[Lease]) -> str:
    """An address for a device that follows from its first IP address (0a:58, as CNI had it)."""
    packed = ipaddress.ip_address(leases[0].ip).packed
    return b"".join((b"\x0a\x58", packed[-4:])).hex(":")


def _up(where: str, device: str, why: str, terms: Terms, *, promiscuous: bool = False) -> Operation:
    words = f"ip link set {device} up" + (" promisc on" if promiscuous else "")
    arguments = {"device": device, "promiscuous": promiscuous}
    return Operation("up", where, arguments, why, _at(where, terms, words))


def _address(where: str, device: str, address: str, why: str, terms: Terms) -> Operation:
    nodad = " nodad" if ":" in address else " broadcast +"
    words = f"ip addr replace {address} dev {device}{nodad}"
    arguments = {"device": device, "address": address}
    return Operation("address", where, arguments, why, _at(where, terms, words))


def sysctl(name: str, value: str, why: str) -> Operation:
    return Operation("sysctl", HOST, {"name": name, "value": value}, why,
                     f"sysctl -qw {name}={value}")  # fmt: skip


def _at(where: str, terms: Terms, words: str) -> str:
    return _inside(terms, words) if where == CONTAINER else words


def _inside(terms: Terms, words: str) -> str:
    return f"nsenter --net={shlex.quote(terms.netns)} {words}"


def proxied(leases: Sequence[Lease], ports: Sequence[PortMapping], terms: Terms) -> Operation:
    to = {"4" if ":" not in one.ip else "6": one.ip for one in leases}
    return Operation(
        "proxy", HOST,
        {"ports": [one.to_json() for one in ports], "to": to,
         "pidfile": f"{terms.directory}/{PROXY_PIDS}"},
        "this kernel maps no ports: a program passes connections on",
        "\n".join(f"socat TCP-LISTEN:{one.host_port},fork,reuseaddr "
                  f"TCP:{leases[0].ip}:{one.container_port} &" for one in ports),
    )  # fmt: skip


def by_plugins(
    verb: str, identity: Identity, config: NetworkConfig, interface: str, terms: Terms,
    ports: Sequence[PortMapping], asked: Asked,
) -> Operation:  # fmt: skip
    """A list's plugins with one command; each is told what it says that it can use (CNI's
    CONVENTIONS.md, "dynamic plugin specific fields")."""
    said = {"ips": asked.ips, "aliases": asked.aliases}
    capabilities: dict[str, Any] = {key: list(words) for key, words in said.items() if words}
    if ports:
        capabilities["portMappings"] = [one.to_json() for one in ports]
    arguments = {
        "document": dict(config.document), "container": identity.cni_id, "netns": terms.netns,
        "interface": interface, "plugins": list(terms.plugins), "capabilities": capabilities,
    }  # fmt: skip
    shell = f"CNI_PATH={':'.join(terms.plugins)} CNI_IFNAME={interface} "
    shell += f"CAP_ARGS={shlex.quote(json.dumps(capabilities))} " if capabilities else ""
    kinds = ", ".join(str(one["type"]) for one in config.plugins)
    return Operation(
        verb, HOST, arguments, f"the network {config.name}, by the plugins {kinds}",
        f"{shell}cnitool {verb[4:]} {config.name} {shlex.quote(terms.netns)}",
    )  # fmt: skip

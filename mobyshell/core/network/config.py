"""Networks as data: CNI's configuration lists, read, checked, and written. Pure.

Owns what our own implementation understands of them (`bridge` with `host-local`, `portmap`,
`firewall`, and a `tuning` that changes nothing); a list that asks for more is done by the plugins
that it names. Source: https://www.cni.dev/docs/spec (1.1.0), and the plugins' own pages.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from mobyshell.core.errors import InvalidSpec, UsageError
from mobyshell.core.oci.safejson import read_json

Network: TypeAlias = "ipaddress.IPv4Network | ipaddress.IPv6Network"

VERSIONS = ("", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
"""Those that we speak, the newest last; a file without any means the first that there was."""

RESERVED = ("none", "host", "container", "pasta", "slirp4netns")
"""Words that `--network` knows, and that are therefore no names of networks."""

_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}")
_DEVICE = re.compile(r"[^\s/:]{1,15}")
_OURS = "mobyshell"
"""The member of a list in which we keep what CNI has no place for: labels, who does it, when."""

_BRIDGE = frozenset({
    "type", "name", "cniVersion", "bridge", "isGateway", "isDefaultGateway", "forceAddress",
    "ipMasq", "mtu", "hairpinMode", "promiscMode", "ipam", "dns", "args", "capabilities",
})  # fmt: skip
_IPAM = frozenset({
    "type", "ranges", "routes", "subnet", "rangeStart", "rangeEnd", "gateway", "dataDir",
})  # fmt: skip
_RANGE = ("subnet", "rangeStart", "rangeEnd", "gateway")
DATA_DIRECTORY = "/var/lib/cni/networks"
"""Where host-local keeps its reservations if a list does not say."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses `first` to `last` of a subnet, without the gateway's."""

    subnet: Network
    first: int
    last: int
    gateway: str


@dataclass(frozen=True, slots=True)
class BridgeConfig:
    """What a list means, where our own implementation understands all of it.

    `ranges`: sets of ranges, one address is taken of each set. `publishes`: there is a `portmap`;
    `isolated`: nothing comes in from other isolated bridges.
    """

    bridge: str
    gateway: bool
    default_gateway: bool
    masquerade: bool
    hairpin: bool
    promiscuous: bool
    mtu: int
    ranges: tuple[tuple[Range, ...], ...]
    routes: tuple[tuple[str, str], ...]
    data_directory: str
    publishes: bool
    isolated: bool


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """A configuration list. `path` is its file ("" if it has none); `ours`: we made it, and may
    remove it."""

    name: str
    document: Mapping[str, Any]
    path: str = ""
    ours: bool = False

    @property
    def plugins(self) -> tuple[Mapping[str, Any], ...]:
        """The plugins in their order."""
        return tuple(self.document["plugins"])

    @property
    def extra(self) -> Mapping[str, Any]:
        """What we keep beside CNI's members: `labels`, `engine`, `created`."""
        found = self.document.get(_OURS)
        return found if isinstance(found, dict) else {}

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        found = self.extra.get("labels")
        return (
            {str(key): str(value) for key, value in found.items()}
            if isinstance(found, dict)
            else {}
        )

    @property
    def subnets(self) -> tuple[Network, ...]:
        """The subnets of its addresses, where they are in the list."""
        found = []
        for plugin in self.plugins:
            ipam = plugin.get("ipam")
            if isinstance(ipam, dict):
                try:
                    found += [one.subnet for group in _ranges(ipam) for one in group]
                except InvalidSpec:
                    continue
        return tuple(found)

    def built_in(self) -> tuple[BridgeConfig | None, str]:
        """The list as our own implementation does it; or None, and why that cannot."""
        try:
            return _understand(self)
        except InvalidSpec as error:
            return None, str(error)


def parse(data: bytes, path: str = "", *, ours: bool = False) -> NetworkConfig:
    """A configuration list, or one plugin's configuration, which is a list of one. InvalidSpec."""
    document = read_json(data, path or "the network")
    where = f"{path}: " if path else ""
    if not isinstance(document, dict):
        raise InvalidSpec(f"{where}a network is a JSON object")
    if "plugins" not in document and isinstance(document.get("type"), str):
        version = document.get("cniVersion", "")
        document = {"cniVersion": version, "name": document.get("name"), "plugins": [document]}
    name, plugins = document.get("name"), document.get("plugins")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidSpec(f"{where}{name!r:.80} is no name of a network")
    document = {**document, "cniVersion": _version(document, where)}
    if not isinstance(plugins, list) or not plugins or len(plugins) > 32:
        raise InvalidSpec(f"{where}a network has 1 to 32 plugins")
    for one in plugins:
        kind = one.get("type") if isinstance(one, dict) else None
        if not isinstance(kind, str) or not _NAME.fullmatch(kind):
            raise InvalidSpec(f"{where}{kind!r:.80} is no type of a plugin")
    return NetworkConfig(name, document, path, ours)


def _version(document: Mapping[str, Any], where: str) -> str:
    """The version that plugins are spoken to in: the newest we know of those that a list offers."""
    first, more = document.get("cniVersion", ""), document.get("cniVersions") or []
    offered = [first, *(more if isinstance(more, list) else [more])]
    known = [one for one in VERSIONS if one in offered and (one or offered == [""])]
    if not known:
        said = ", ".join(repr(one)[:40] for one in offered[:8] if one != "")
        raise InvalidSpec(f"{where}cniVersion {said} is none of {', '.join(VERSIONS[1:])}")
    return known[-1]


def check_name(name: str) -> str:
    """`name` if a network can have it. UsageError."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r:.80} is no name of a network",
                         hint="letters, digits and _ . -, beginning with a letter or digit")  # fmt: skip
    if name in RESERVED:
        raise UsageError(f"{name} is a word that --network knows", hint="choose another name")
    return name


def check_device(name: str) -> str:
    """`name` if a device can have it (dev_valid_name in net/core/dev.c). UsageError."""
    if not _DEVICE.fullmatch(name) or name in (".", ".."):
        raise UsageError(f"{name!r:.40} is no name of a device",
                         hint="1 to 15 bytes without spaces, / and :")  # fmt: skip
    return name


def _understand(config: NetworkConfig) -> tuple[BridgeConfig | None, str]:
    if config.extra.get("engine") == "cni":
        return None, "it asks for the plugins"
    first, *chained = config.plugins
    if first["type"] != "bridge":
        return None, f"its first plugin is {first['type']}"
    unknown = sorted({key for key in first if first[key]} - _BRIDGE)
    if unknown:
        return None, f"bridge with {', '.join(unknown)}"
    ipam = first.get("ipam")
    if not isinstance(ipam, dict) or ipam.get("type") != "host-local":
        return None, "its addresses are not host-local's"
    unknown = sorted(set(ipam) - _IPAM)
    if unknown:
        return None, f"host-local with {', '.join(unknown)}"
    publishes = isolated = False
    for plugin in chained:
        more = {key for key in plugin if plugin[key]} - {"type", "capabilities"}
        if plugin["type"] == "portmap" and more <= {"snat"}:
            publishes = True
        elif plugin["type"] == "firewall" and more <= {"backend", "ingressPolicy"}:
            policy = plugin.get("ingressPolicy", "")
            if policy not in ("", "open", "same-bridge"):
                return None, f"firewall with ingressPolicy {policy!r:.40}"
            isolated = policy == "same-bridge"
        elif plugin["type"] != "tuning" or more:
            return (
                None,
                f"{plugin['type']} {'with ' + ', '.join(sorted(more)) if more else ''}".strip(),
            )
    mtu = first.get("mtu", 0)
    if not isinstance(mtu, int) or isinstance(mtu, bool) or not (mtu == 0 or 68 <= mtu <= 65535):
        raise InvalidSpec(f"mtu {mtu!r:.20} is none")
    if first.get("hairpinMode") is True and first.get("promiscMode") is True:
        raise InvalidSpec("a bridge has hairpinMode or promiscMode, not both")
    bridge = first.get("bridge", "cni0")
    if not isinstance(bridge, str) or not _DEVICE.fullmatch(bridge):
        raise InvalidSpec(f"{bridge!r:.40} is no name of a bridge")

    def flag(name: str) -> bool:
        return first.get(name) is True

    found = BridgeConfig(
        bridge, flag("isGateway") or flag("isDefaultGateway"), flag("isDefaultGateway"),
        flag("ipMasq"), flag("hairpinMode"), flag("promiscMode"), mtu, _ranges(ipam),
        _routes(ipam), str(ipam.get("dataDir") or DATA_DIRECTORY), publishes, isolated,
    )  # fmt: skip
    return found, ""


def _ranges(ipam: Mapping[str, Any]) -> tuple[tuple[Range, ...], ...]:
    """The range sets of host-local; its old form, one range beside the others' place, comes first."""
    groups = ipam.get("ranges") or []
    if not isinstance(groups, list):
        raise InvalidSpec("the ranges of host-local are a list of lists")
    if ipam.get("subnet"):
        groups = [[ipam], *groups]
    if not groups or not all(isinstance(one, list) and one for one in groups):
        raise InvalidSpec("host-local has no ranges")
    found = tuple(tuple(_range(one) for one in group) for group in groups)
    for group in found:
        if len({one.subnet.version for one in group}) > 1:
            raise InvalidSpec("a set of ranges mixes IPv4 and IPv6")
    return found


def _range(document: Any) -> Range:
    try:
        if not all(isinstance(document.get(key, ""), str) for key in _RANGE):
            raise TypeError(f"{', '.join(_RANGE)} are texts")
        subnet = ipaddress.ip_network(document["subnet"])
        ends = int(subnet.network_address), int(subnet.broadcast_address)
        usual = ends[0] + 1, ends[1] - (subnet.version == 4), ends[0] + 1
        first, last, gateway = (
            int(ipaddress.ip_address(document[key])) if document.get(key) else otherwise
            for key, otherwise in zip(("rangeStart", "rangeEnd", "gateway"), usual, strict=True)
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidSpec(f"a range cannot be read: {error}") from None
    if subnet.num_addresses < 4 or not ends[0] < first <= last <= ends[1]:
        raise InvalidSpec(f"no addresses can be given from {subnet}")
    at = subnet.network_address
    return Range(subnet, first, last, str(at + (gateway - int(at))))


def _routes(ipam: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """(destination, gateway or "")."""
    found = []
    routes = ipam.get("routes") or []
    if not isinstance(routes, list) or not all(isinstance(one, dict) for one in routes):
        raise InvalidSpec("the routes of host-local are a list of objects")
    for one in routes:
        try:
            if set(one) - {"dst", "gw"}:
                raise ValueError(f"{', '.join(sorted(set(one) - {'dst', 'gw'}))} is not known")
            to = str(ipaddress.ip_network(one["dst"], strict=False))
            through = str(ipaddress.ip_address(one["gw"])) if one.get("gw") else ""
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidSpec(f"a route cannot be read: {error}") from None
        found.append((to, through))
    return tuple(found)

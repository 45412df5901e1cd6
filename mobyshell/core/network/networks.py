"""The networks that a namespace can use: ours below the store's root, and those of the machine.

Owns their files: `<root>/networks/<namespace>/NAME.conflist`, written whole; and the reading of
CNI's directory (NETCONFPATH, else /etc/cni/net.d), which is the machine administrator's and is never
written. Of two networks of a name, ours is meant.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mobyshell.core.errors import (
    AlreadyExists,
    InvalidSpec,
    NotFound,
    Refused,
    SyscallFailed,
    UsageError,
)
from mobyshell.core.linux.files import sync_directory
from mobyshell.core.linux.paths import make_private
from mobyshell.core.network import config, files
from mobyshell.core.network.config import Network, NetworkConfig
from mobyshell.core.oci.labels import check_labels

DEFAULT = "bridge"
"""The network of a container that publishes ports and names none; made when first asked for."""

_LARGEST = 4 * 1024 * 1024 + 1
_POOL = ipaddress.ip_network("10.90.0.0/15")


class Networks:
    """The networks of one namespace. `addresses`: where reservations of new networks are kept."""

    def __init__(
        self, root: str, namespace: str, addresses: str, machine: str | None = None
    ) -> None:
        self._root = f"{root}/networks"
        self._namespace = namespace
        self._addresses = addresses
        self._machine = machine or os.environ.get("NETCONFPATH") or "/etc/cni/net.d"

    def ls(self) -> list[NetworkConfig]:
        """Every network, by name; files that are none are passed over."""
        found = {one.name: one for one in _directory(self._machine, ours=False)}
        found |= {one.name: one for one in _directory(self._ours(), ours=True)}
        return sorted(found.values(), key=lambda one: one.name)

    def get(self, name: str) -> NetworkConfig:
        """A network. NotFound, with the namespaces that have one of that name; InvalidSpec."""
        config.check_name(name)
        path = self._path(name)
        try:
            with open(path, "rb") as file:
                return config.parse(file.read(), path, ours=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        for one in _directory(self._machine, ours=False):
            if one.name == name:
                return one
        if wrong := _unreadable(self._machine, name):
            raise wrong
        others = [one for one in _names(self._root)
                  if os.path.exists(f"{self._root}/{one}/{name}.conflist")]  # fmt: skip
        raise NotFound(
            f"no network {name} in namespace {self._namespace}",
            hint=f"there is one in namespace {', '.join(others)}" if others
            else "`mobyshell network ls` lists them, `mobyshell network create` makes one",
        )  # fmt: skip

    def draft(
        self, name: str, *, subnets: Sequence[str] = (), gateway: str = "", bridge: str = "",
        mtu: int = 0, internal: bool = False, ipv6: bool = False, isolated: bool = True,
        routed: bool = False, labels: Mapping[str, str] | None = None, engine: str = "",
        created: float = 0.0, routes: Iterable[Network] = (),
    ) -> NetworkConfig:  # fmt: skip
        """A bridged network as `create` would make it. Without `subnets`, a free one is chosen: none
        that overlaps with another network of any namespace, or with `routes` of the host.
        `internal`: its containers reach each other and the host, and nothing else; `routed`: they
        leave with their own addresses, to which others have routes. UsageError.
        """
        config.check_name(name)
        taken = [*self._taken(), *routes]
        chosen = [_subnet(one) for one in subnets] or [_free(taken, name)]
        if ipv6 and not any(one.version == 6 for one in chosen):
            chosen.append(self._unique_local(name))
        _check_subnets(chosen, self._taken())
        gateways = _gateways(chosen, gateway)
        device = config.check_device(bridge) if bridge else self.bridge_name(name)
        document = _document(name, device, chosen, gateways, self._addresses, mtu=mtu,
                             internal=internal, isolated=isolated, routed=routed)  # fmt: skip
        check_labels(labels or {})
        document["mobyshell"] = {
            "namespace": self._namespace, "labels": dict(labels or {}), "created": created,
            **({"engine": engine} if engine else {}),
        }  # fmt: skip
        return config.parse(_text(document), self._path(name), ours=True)

    def create(self, name: str, **choices: Any) -> NetworkConfig:
        """Make a network; `choices` as for `draft`. AlreadyExists, UsageError."""
        made = self.draft(name, **choices)
        try:
            make_private(self._ours())
        except OSError as error:
            raise SyscallFailed.of(error, "mkdir", path=self._ours()) from None
        try:
            files.write(made.path, _text(made.document), lasting=True, new=True)
        except AlreadyExists:
            raise AlreadyExists(
                f"there is a network {name} in namespace {self._namespace}",
                hint=f"`mobyshell network inspect {name}` shows it",
            ) from None
        return made

    def remove(self, name: str) -> None:
        """Delete the file of a network of ours. Whether somebody is attached is for the caller to
        know. NotFound; Refused for the machine's."""
        found = self.removable(name)
        try:
            os.unlink(found.path)
            sync_directory(os.path.dirname(found.path))
        except OSError as error:
            raise SyscallFailed.of(error, "unlink", path=found.path) from None

    def removable(self, name: str) -> NetworkConfig:
        """A network of ours. NotFound; Refused for the machine's."""
        found = self.get(name)
        if not found.ours:
            raise Refused(f"the network {name} is the machine's: {found.path}",
                          hint="its administrator removes it, by deleting the file")  # fmt: skip
        return found

    def bridge_name(self, name: str) -> str:
        """The device of a network: the same for the same place, namespace and name."""
        where = f"{self._root}\0{self._namespace}\0{name}".encode()
        return f"moby{hashlib.sha256(where).hexdigest()[:10]}"

    def _ours(self) -> str:
        return f"{self._root}/{self._namespace}"

    def _path(self, name: str) -> str:
        return f"{self._ours()}/{name}.conflist"

    def everywhere(self) -> list[NetworkConfig]:
        """The networks of every namespace, and the machine's."""
        every = list(_directory(self._machine, ours=False))
        for one in _names(self._root):
            every += _directory(f"{self._root}/{one}", ours=True)
        return every

    def _taken(self) -> list[Network]:
        return [subnet for one in self.everywhere() for subnet in one.subnets]

    def _unique_local(self, name: str) -> Network:
        """A /64 of fd00::/8 (RFC 4193), different for each place, namespace and name."""
        where = f"{self._root}\0{self._namespace}\0{name}".encode()
        number = int.from_bytes(hashlib.sha256(where).digest()[:7], "big")
        return ipaddress.IPv6Network(((0xFD << 120) | (number << 64), 64))


def _text(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"


def _directory(path: str, *, ours: bool) -> list[NetworkConfig]:
    """The networks in a directory, in the order of file names; of a name, the first, as libcni."""
    found: dict[str, NetworkConfig] = {}
    for name in _files(path):
        try:
            with open(f"{path}/{name}", "rb") as file:
                one = config.parse(file.read(_LARGEST), f"{path}/{name}", ours=ours)
        except (OSError, InvalidSpec):
            continue
        found.setdefault(one.name, one)
    return list(found.values())


def _unreadable(path: str, name: str) -> InvalidSpec | None:
    """What is wrong with the file in a directory that was to be the network `name`."""
    for file in _files(path):
        try:
            with open(f"{path}/{file}", "rb") as opened:
                data = opened.read(_LARGEST)
            config.parse(data, f"{path}/{file}")
        except InvalidSpec as error:
            if file.rpartition(".")[0] == name or f'"{name}"'.encode() in data:
                return error
        except OSError:
            continue
    return None


def _files(path: str) -> list[str]:
    return [one for one in _names(path) if one.endswith((".conflist", ".conf", ".json"))]


def _names(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _subnet(text: str) -> Network:
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise UsageError(f"{text!r:.60} is no subnet: {error}", hint="as in 10.5.0.0/24") from None
    if found.num_addresses < 4 or found.is_multicast or found.is_loopback:
        raise UsageError(f"no network of containers can be {found}", hint="as in 10.5.0.0/24")
    return found


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def _check_subnets(chosen: Sequence[Network], taken: Sequence[Network]) -> None:
    for index, one in enumerate(chosen):
        for other in (*taken, *chosen[:index]):
            if _overlap(one, other):
                raise UsageError(f"the subnet {one} overlaps with {other} of another network",
                                 hint="leave --subnet away to have one chosen")  # fmt: skip


def _free(taken: Sequence[Network], name: str) -> Network:
    for one in _POOL.subnets(new_prefix=24):
        if not any(_overlap(one, other) for other in taken):
            return one
    raise UsageError(f"every /24 of {_POOL} is in use", hint=f"choose one: --subnet, for {name}")


def _gateways(subnets: Sequence[Network], wanted: str) -> list[str]:
    found = [str(one.network_address + 1) for one in subnets]
    if not wanted:
        return found
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        raise UsageError(f"{wanted!r:.60} is no address") from None
    for index, one in enumerate(subnets):
        if address in one:
            found[index] = str(address)
            return found
    raise UsageError(f"the gateway {address} is in no subnet of the network")


def _document(
    name: str, bridge: str, subnets: Sequence[Network], gateways: Sequence[str], addresses: str, *,
    mtu: int, internal: bool, isolated: bool, routed: bool,
) -> dict[str, Any]:  # fmt: skip
    """The configuration list, as it would be written by hand for the plugins."""
    ipam: dict[str, Any] = {
        "type": "host-local", "dataDir": addresses,
        "ranges": [
            [{"subnet": str(subnet), "gateway": gateway}]
            for subnet, gateway in zip(subnets, gateways, strict=True)
        ],
    }  # fmt: skip
    if not internal:
        versions = sorted({one.version for one in subnets})
        ipam["routes"] = [{"dst": "0.0.0.0/0" if one == 4 else "::/0"} for one in versions]
    plugin: dict[str, Any] = {
        "type": "bridge", "bridge": bridge, "isGateway": True, "ipMasq": not (internal or routed),
        "hairpinMode": True, "ipam": ipam,
    }  # fmt: skip
    if mtu:
        plugin["mtu"] = mtu
    plugins: list[dict[str, Any]] = [plugin]
    if not internal:
        plugins.append({"type": "portmap", "capabilities": {"portMappings": True}})
    if isolated:
        plugins.append({"type": "firewall", "ingressPolicy": "same-bridge"})
    return {"cniVersion": "1.0.0", "name": name, "plugins": plugins}

"""Network devices, addresses and routes of one network namespace, by rtnetlink(7).

The messages are pyroute2's: what they consist of, how it is packed, and how answers are read. Owns
what is asked for, and its errors as ours. What is there already as it shall be is fine (`ensure_…`),
what is gone already is gone. Whoever uses it decides which namespace: that of the moment it was made.

The library's own sockets are left out: they bring asyncio's loop along, which has no place in a
process that enters namespaces, and take four times as long to load. Ours is `netlink`'s.
"""

from __future__ import annotations

import errno
import importlib.util
import ipaddress
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from mobyshell.core.errors import SyscallFailed, Unsupported
from mobyshell.core.linux.netlink import CREATE, EXCL, Netlink

# linux/rtnetlink.h, if.h, if_addr.h
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 20, 22, 24, 26
_UP, _PROMISC, _NODAD, _PERMANENT = 0x1, 0x100, 0x02, 0x80
_UNIVERSE, _LINK_SCOPE, _MAIN, _BOOT, _UNICAST = 0, 253, 254, 3, 1
_HEADER = struct.Struct("=IHHII")

Attributes = list[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Link:
    """A device. `master`: the number of the bridge it is a port of, 0 for none."""

    index: int
    name: str
    up: bool
    mtu: int
    mac: str
    master: int
    kind: str
    alias: str


@dataclass(frozen=True, slots=True)
class Route:
    """A unicast route of the main table. `gateway` is "" where the destination is on the link."""

    destination: str
    gateway: str
    index: int


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device, and what it is added with. `lasting`: permanent, and of global scope."""

    index: int
    text: str
    lasting: bool
    attributes: tuple[tuple[str, str], ...] = ()


def load() -> SimpleNamespace:
    """pyroute2's messages: `link`, `address` and `route`. Unsupported if it is not installed.

    Only these are loaded: the package's own `__init__` imports every protocol that it knows, which
    takes longer than all the work for a container.
    """
    if "pyroute2" not in sys.modules:
        spec = importlib.util.find_spec("pyroute2")
        if spec is None:
            raise Unsupported("the library pyroute2 is not installed", hint="pip install pyroute2")
        sys.modules["pyroute2"] = importlib.util.module_from_spec(spec)
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return SimpleNamespace(link=ifinfmsg, address=ifaddrmsg, route=rtmsg)


class Links:
    """The devices of the network namespace we are in when this is made."""

    def __init__(self) -> None:
        self._netlink = Netlink()

    def __enter__(self) -> Links:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._netlink.close()

    def _tell(self, what: str, kind: int, message: Any, *, new: bool = False) -> None:
        self._netlink.tell(kind, CREATE | EXCL if new else 0, _packed(message), what)

    def _list(self, what: str, kind: int, message: Any) -> list[Any]:
        answers = self._netlink.dump(kind, _packed(message), what)
        return [_read(type(message), one) for one in answers]

    def _unless(self, number: int, do: Callable[[], object]) -> bool:
        """Whether it was done; False if it failed with that error."""
        try:
            do()
        except SyscallFailed as error:
            if error.errno == number:
                return False
            raise
        return True

    # devices

    def all(self) -> list[Link]:
        """Every device."""
        return [_link(one) for one in self._list("listing the devices", _GETLINK, _device())]

    def find(self, name: str) -> Link | None:
        """The device of that name."""
        try:
            return self.get(name)
        except SyscallFailed as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def get(self, name: str) -> Link:
        """The device of that name. SyscallFailed (ENODEV) if there is none."""
        asked = _device([("IFLA_IFNAME", name)])
        (found,) = self._netlink.ask(_GETLINK, 0, _packed(asked), f"looking for the device {name}")
        return _link(_read(type(asked), found))

    def ensure_bridge(self, name: str, *, mtu: int = 0, alias: str = "") -> bool:
        """Make a bridge; False if there is one. SyscallFailed (EEXIST) if that is no bridge."""
        kind = {"attrs": [("IFLA_INFO_KIND", "bridge")]}
        made = _device([("IFLA_IFNAME", name), *_size(mtu), ("IFLA_LINKINFO", kind)])
        try:
            self._tell(f"making the bridge {name}", _NEWLINK, made, new=True)
        except SyscallFailed as error:
            found = self.find(name) if error.errno == errno.EEXIST else None
            if found is None or found.kind != "bridge":
                raise
            return False
        self._name(name, alias)
        return True

    def make_veth(
        self, name: str, peer: str, namespace: int, *, mtu: int = 0, mac: str = "", alias: str = ""
    ) -> None:
        """Make a pair: `name` here, `peer` with the address `mac` in the network namespace that the
        descriptor `namespace` is of."""
        other: Attributes = [
            ("IFLA_IFNAME", peer), *_size(mtu), ("IFLA_NET_NS_FD", namespace),
            *([("IFLA_ADDRESS", mac)] if mac else []),
        ]  # fmt: skip
        kind = {"attrs": [
            ("IFLA_INFO_KIND", "veth"),
            ("IFLA_INFO_DATA", {"attrs": [("VETH_INFO_PEER", {"attrs": other})]}),
        ]}  # fmt: skip
        made = _device([("IFLA_IFNAME", name), *_size(mtu), ("IFLA_LINKINFO", kind)])
        self._tell(f"making the pair {name} and {peer}", _NEWLINK, made, new=True)
        self._name(name, alias)

    def _name(self, name: str, alias: str) -> None:
        if alias:
            self._set(f"naming whose {name} is", self.get(name).index, [("IFLA_IFALIAS", alias)])

    def _set(self, what: str, index: int, attributes: Attributes) -> None:
        self._tell(what, _NEWLINK, _device(attributes, index=index))

    def plug(self, name: str, bridge: str, *, hairpin: bool = False) -> None:
        """Make a device a port of a bridge."""
        index, master = self.get(name).index, self.get(bridge).index
        self._set(f"plugging {name} into {bridge}", index, [("IFLA_MASTER", master)])
        if hairpin:
            port = {"attrs": [
                ("IFLA_INFO_SLAVE_KIND", "bridge"),
                ("IFLA_INFO_SLAVE_DATA", {"attrs": [("IFLA_BRPORT_MODE", 1)]}),
            ]}  # fmt: skip
            self._set(f"letting {name} send to itself", index, [("IFLA_LINKINFO", port)])

    def set_up(self, name: str, *, promiscuous: bool = False, up: bool = True) -> None:
        """Switch a device on, or off."""
        flags = (_UP if up else 0) | (_PROMISC if promiscuous else 0)
        self._tell(f"switching {name} {'on' if up else 'off'}", _NEWLINK,
                   _device(index=self.get(name).index, flags=flags, change=flags | _UP))  # fmt: skip

    def move(self, name: str, namespace: int, new: str) -> None:
        """Into the network namespace that a descriptor is of, and under another name, at once."""
        self._set(f"moving it as {new}", self.get(name).index,
                  [("IFLA_IFNAME", new), ("IFLA_NET_NS_FD", namespace)])  # fmt: skip

    def remove(self, name: str) -> bool:
        """Delete a device, and with a veth its peer; False if it is gone."""
        gone = _device([("IFLA_IFNAME", name)])
        return self._unless(errno.ENODEV, lambda: self._tell(f"deleting {name}", _DELLINK, gone))

    # addresses

    def ensure_address(self, name: str, address: str) -> bool:
        """Give a device an address (`10.1.0.1/16`), of which no duplicate is looked for; False if
        it has it."""
        wanted = ipaddress.ip_interface(address)
        ip, attributes = str(wanted.ip), Attributes()
        if wanted.version == 6:
            attributes.append(("IFA_FLAGS", _NODAD))
        elif wanted.network.prefixlen < 31:
            attributes.append(("IFA_BROADCAST", str(wanted.network.broadcast_address)))
        return self._add(name, address, [("IFA_LOCAL", ip), ("IFA_ADDRESS", ip), *attributes])

    def restore(self, name: str, addresses: Iterable[Address]) -> None:
        """Give a device addresses that it has had elsewhere."""
        for one in addresses:
            self._add(name, one.text, one.attributes)

    def _add(self, name: str, address: str, attributes: Iterable[tuple[str, Any]]) -> bool:
        wanted = ipaddress.ip_interface(address)
        added = load().address()
        added["family"], added["prefixlen"] = _family(wanted), wanted.network.prefixlen
        added["index"], added["attrs"] = self.get(name).index, list(attributes)
        what = f"giving {name} the address {address}"
        return self._unless(errno.EEXIST, lambda: self._tell(what, _NEWADDR, added, new=True))

    def addresses(self, index: int = 0) -> list[Address]:
        """Every address; those of one device if `index` is given."""
        answers = self._list("listing the addresses", _GETADDR, load().address())
        return [one for one in map(_address, answers) if one.text and index in (0, one.index)]

    # routes

    def ensure_route(self, name: str, destination: str, gateway: str = "") -> bool:
        """A route through a device; False if there is one to that destination."""
        to = ipaddress.ip_network(destination)
        added = load().route()
        added["family"], added["dst_len"], added["table"] = _family(to), to.prefixlen, _MAIN
        added["proto"], added["type"] = _BOOT, _UNICAST
        added["scope"] = _UNIVERSE if gateway or to.version == 6 else _LINK_SCOPE
        added["attrs"] = [
            *([("RTA_DST", str(to.network_address))] if to.prefixlen else []),
            *([("RTA_GATEWAY", gateway)] if gateway else []),
            ("RTA_OIF", self.get(name).index),
        ]  # fmt: skip
        what = f"routing {destination} through {name}"
        return self._unless(errno.EEXIST, lambda: self._tell(what, _NEWROUTE, added, new=True))

    def routes(self) -> list[Route]:
        """The unicast routes of the main table."""
        return list(_routes(self._list("listing the routes", _GETROUTE, load().route())))


def _packed(message: Any) -> bytes:
    """What follows the header: that one is `netlink`'s."""
    message.encode()
    return bytes(message.data[_HEADER.size :])


def _read(form: Any, body: bytes) -> Any:
    """An answer as the library's message."""
    message = form(_HEADER.pack(_HEADER.size + len(body), 0, 0, 0, 0) + body)
    message.decode()
    return message


def _device(attributes: Attributes | None = None, **fields: int) -> Any:
    message = load().link()
    message["attrs"] = attributes or []
    for key, value in fields.items():
        message[key] = value
    return message


def _size(mtu: int) -> Attributes:
    return [("IFLA_MTU", mtu)] if mtu else []


def _family(of: Any) -> int:
    return socket.AF_INET if of.version == 4 else socket.AF_INET6


def _link(told: Any) -> Link:
    return Link(
        told["index"], told.get_attr("IFLA_IFNAME") or "", bool(told["flags"] & _UP),
        told.get_attr("IFLA_MTU") or 0, told.get_attr("IFLA_ADDRESS") or "",
        told.get_attr("IFLA_MASTER") or 0, told.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") or "",
        told.get_attr("IFLA_IFALIAS") or "",
    )  # fmt: skip


def _address(told: Any) -> Address:
    names = ("IFA_ADDRESS", "IFA_LOCAL", "IFA_BROADCAST")
    attributes = {one: told.get_attr(one) for one in names if told.get_attr(one)}
    where = attributes.get("IFA_LOCAL") or attributes.get("IFA_ADDRESS")
    flags = told.get_attr("IFA_FLAGS") or told["flags"]
    lasting = bool(flags & _PERMANENT) and told["scope"] == _UNIVERSE
    return Address(told["index"], f"{where}/{told['prefixlen']}" if where else "", lasting,
                   tuple(attributes.items()))  # fmt: skip


def _routes(answers: Iterable[Any]) -> Iterator[Route]:
    for one in answers:
        if (one["table"], one["type"]) != (_MAIN, _UNICAST):
            continue
        if one["family"] not in (socket.AF_INET, socket.AF_INET6):
            continue
        zero = "0.0.0.0" if one["family"] == socket.AF_INET else "::"
        to = f"{one.get_attr('RTA_DST') or zero}/{one['dst_len']}"
        yield Route(to, one.get_attr("RTA_GATEWAY") or "", one.get_attr("RTA_OIF") or 0)

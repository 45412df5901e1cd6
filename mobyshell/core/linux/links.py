"""Network devices, addresses and routes of one network namespace, by rtnetlink(7).

Owns the messages. Whoever uses it decides which namespace: that of the moment it was made. What is
there already as it shall be is fine (`ensure_…`), what is gone already is gone.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.netlink import (
    CREATE,
    DUMP,
    EXCL,
    Netlink,
    attribute,
    attributes,
    nested,
    text,
)

# linux/rtnetlink.h, if_link.h, if_addr.h, veth.h
_NEWLINK, _DELLINK, _GETLINK, _SETLINK = 16, 17, 18, 19
_NEWADDR, _GETADDR, _NEWROUTE, _GETROUTE = 20, 22, 24, 26
_ADDRESS, _IFNAME, _MTU, _MASTER, _PROTINFO, _LINKINFO, _IFALIAS, _NET_NS_FD = (
    1, 3, 4, 10, 12, 18, 20, 28,
)  # fmt: skip
_KIND, _DATA, _PEER, _HAIRPIN = 1, 2, 1, 4
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_NODAD, _RTA_DST, _RTA_OIF, _RTA_GATEWAY = 0x02, 1, 4, 5
_UP, _PROMISC = 0x1, 0x100
_MAIN, _BOOT, _UNIVERSE, _LINK_SCOPE, _UNICAST = 254, 3, 0, 253, 1
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDR = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst, src, tos, table, protocol, scope, type, flags


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


class Links:
    """The devices of the network namespace we are in when this is made."""

    def __init__(self) -> None:
        self._netlink = Netlink()

    def close(self) -> None:
        """Hang up."""
        self._netlink.close()

    def all(self) -> list[Link]:
        """Every device."""
        return [
            _link(one) for one in self._netlink.ask(_GETLINK, DUMP, _LINK.pack(0, 0, 0, 0, 0),
                                                    "listing the devices")
        ]  # fmt: skip

    def find(self, name: str) -> Link | None:
        """The device of that name."""
        body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name)
        try:
            return _link(next(self._netlink.ask(_GETLINK, 0, body, f"looking for {name}")))
        except SyscallFailed as error:
            if error.errno == errno.ENODEV:
                return None
            raise

    def get(self, name: str) -> Link:
        """The device of that name. SyscallFailed (ENODEV) if there is none."""
        found = self.find(name)
        if found is None:
            raise SyscallFailed("netlink", errno.ENODEV, what=f"looking for {name}")
        return found

    def ensure_bridge(self, name: str, *, mtu: int = 0, alias: str = "") -> bool:
        """Make a bridge; False if there is one. SyscallFailed (EEXIST) if that is no bridge."""
        body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name)
        body += attribute(_MTU, struct.pack("=I", mtu)) if mtu else b""
        body += nested(_LINKINFO, text(_KIND, "bridge"))
        try:
            self._netlink.tell(_NEWLINK, CREATE | EXCL, body, f"making the bridge {name}")
        except SyscallFailed as error:
            found = self.find(name) if error.errno == errno.EEXIST else None
            if found is None or found.kind != "bridge":
                raise
            return False
        if alias:
            self._set(self.get(name).index, text(_IFALIAS, alias), f"naming whose {name} is")
        return True

    def make_veth(
        self, name: str, peer: str, namespace: int, *, mtu: int = 0, mac: str = "", alias: str = ""
    ) -> None:
        """Make a pair: `name` here, `peer` with the address `mac` in the network namespace that the
        descriptor `namespace` is of."""
        size = attribute(_MTU, struct.pack("=I", mtu)) if mtu else b""
        other = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, peer) + size
        other += attribute(_NET_NS_FD, struct.pack("=I", namespace))
        other += attribute(_ADDRESS, bytes.fromhex(mac.replace(":", ""))) if mac else b""
        body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name) + size
        body += nested(_LINKINFO, text(_KIND, "veth"), nested(_DATA, nested(_PEER, other)))
        self._netlink.tell(_NEWLINK, CREATE | EXCL, body, f"making the pair {name} and {peer}")
        if alias:
            self._set(self.get(name).index, text(_IFALIAS, alias), f"naming whose {name} is")

    def plug(self, name: str, bridge: str, *, hairpin: bool = False) -> None:
        """Make a device a port of a bridge."""
        index = self.get(name).index
        master = struct.pack("=I", self.get(bridge).index)
        self._set(index, attribute(_MASTER, master), f"plugging {name} into {bridge}")
        if hairpin:
            body = _LINK.pack(socket.AF_BRIDGE, 0, index, 0, 0)
            body += nested(_PROTINFO, attribute(_HAIRPIN, b"\1"))
            self._netlink.tell(_SETLINK, 0, body, f"letting {name} send to itself")

    def set_up(self, name: str, *, promiscuous: bool = False) -> None:
        """Switch a device on."""
        flags = _UP | (_PROMISC if promiscuous else 0)
        body = _LINK.pack(0, 0, self.get(name).index, flags, flags)
        self._netlink.tell(_NEWLINK, 0, body, f"switching {name} on")

    def remove(self, name: str) -> bool:
        """Delete a device, and with a veth its peer; False if it is gone."""
        body = _LINK.pack(0, 0, 0, 0, 0) + text(_IFNAME, name)
        try:
            self._netlink.tell(_DELLINK, 0, body, f"deleting {name}")
        except SyscallFailed as error:
            if error.errno == errno.ENODEV:
                return False
            raise
        return True

    def _set(self, index: int, change: bytes, what: str) -> None:
        self._netlink.tell(_NEWLINK, 0, _LINK.pack(0, 0, index, 0, 0) + change, what)

    def ensure_address(self, name: str, address: str) -> bool:
        """Give a device an address (`10.1.0.1/16`), of which no duplicate is looked for; False if
        it has it."""
        wanted = ipaddress.ip_interface(address)
        packed = wanted.ip.packed
        family = socket.AF_INET if wanted.version == 4 else socket.AF_INET6
        body = _ADDR.pack(family, wanted.network.prefixlen, 0, _UNIVERSE, self.get(name).index)
        body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
        if wanted.version == 6:
            body += attribute(_IFA_FLAGS, struct.pack("=I", _NODAD))
        elif wanted.network.prefixlen < 31:
            body += attribute(_IFA_BROADCAST, wanted.network.broadcast_address.packed)
        return self._ensure(_NEWADDR, body, f"giving {name} the address {address}")

    def addresses(self, index: int = 0) -> list[tuple[int, str]]:
        """(device, address) of every address; of one device if `index` is given."""
        found = []
        for one in self._netlink.ask(
            _GETADDR, DUMP, _ADDR.pack(0, 0, 0, 0, 0), "listing addresses"
        ):
            _, prefix, _, _, owner = _ADDR.unpack_from(one)
            told = dict(attributes(one[_ADDR.size :]))
            packed = told.get(_IFA_LOCAL, told.get(_IFA_ADDRESS))
            if packed is not None and index in (0, owner):
                found.append((owner, f"{ipaddress.ip_address(packed)}/{prefix}"))
        return found

    def ensure_route(self, name: str, destination: str, gateway: str = "") -> bool:
        """A route through a device; False if there is one to that destination."""
        to = ipaddress.ip_network(destination)
        family = socket.AF_INET if to.version == 4 else socket.AF_INET6
        scope = _UNIVERSE if gateway or to.version == 6 else _LINK_SCOPE
        body = _ROUTE.pack(family, to.prefixlen, 0, 0, _MAIN, _BOOT, scope, _UNICAST, 0)
        if to.prefixlen:
            body += attribute(_RTA_DST, to.network_address.packed)
        if gateway:
            body += attribute(_RTA_GATEWAY, ipaddress.ip_address(gateway).packed)
        body += attribute(_RTA_OIF, struct.pack("=I", self.get(name).index))
        return self._ensure(_NEWROUTE, body, f"routing {destination} through {name}")

    def routes(self) -> list[Route]:
        """The unicast routes of the main table."""
        found = []
        body = _ROUTE.pack(0, 0, 0, 0, 0, 0, 0, 0, 0)
        for one in self._netlink.ask(_GETROUTE, DUMP, body, "listing routes"):
            family, prefix, _, _, table, _, _, kind, _ = _ROUTE.unpack_from(one)
            told = dict(attributes(one[_ROUTE.size :]))
            if (
                table != _MAIN
                or kind != _UNICAST
                or family not in (socket.AF_INET, socket.AF_INET6)
            ):
                continue
            zero = bytes(4 if family == socket.AF_INET else 16)
            to = f"{ipaddress.ip_address(told.get(_RTA_DST, zero))}/{prefix}"
            through = told.get(_RTA_GATEWAY)
            (index,) = struct.unpack("=I", told.get(_RTA_OIF, bytes(4)))
            found.append(Route(to, str(ipaddress.ip_address(through)) if through else "", index))
        return found

    def _ensure(self, kind: int, body: bytes, what: str) -> bool:
        try:
            self._netlink.tell(kind, CREATE | EXCL, body, what)
        except SyscallFailed as error:
            if error.errno == errno.EEXIST:
                return False
            raise
        return True


def _link(body: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    told = dict(attributes(body[_LINK.size :]))
    kind = dict(attributes(told.get(_LINKINFO, b""))).get(_KIND, b"")
    number = struct.Struct("=I")

    def word(what: int) -> str:
        return told.get(what, b"").rstrip(b"\0").decode(errors="replace")

    return Link(
        index, word(_IFNAME), bool(flags & _UP), number.unpack(told.get(_MTU, bytes(4)))[0],
        told.get(_ADDRESS, b"").hex(":"), number.unpack(told.get(_MASTER, bytes(4)))[0],
        kind.rstrip(b"\0").decode(), word(_IFALIAS),
    )  # fmt: skip

"""Moving a network device into another network namespace, by rtnetlink(7).

A helper process, `python -m mobyshell.core.linux.netdevices PID NAME NEW`: it enters the namespace,
which must never happen in a process with threads or an event loop. The device keeps its settings
and its permanent global addresses, which the kernel takes away on the move, and is up afterwards.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWNET
from mobyshell.core.linux.syscalls import call

# linux/rtnetlink.h, if_link.h, if_addr.h
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_REQUEST, _ACK, _DUMP, _CREATE, _EXCL = 0x1, 0x4, 0x300, 0x400, 0x200
_ERROR, _DONE = 2, 3
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_PERMANENT, _UNIVERSE, _UP = 0x80, 0, 1
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device, with the attributes by which it is added again."""

    family: int
    prefix: int
    attributes: tuple[tuple[int, bytes], ...]


class Netlink:
    """A socket to the kernel's routing tables of the network namespace we are in."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        )
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes, what: str) -> Iterator[bytes]:
        """The bodies of the answers. SyscallFailed, with `what` it was about, if it is refused."""
        self._sequence += 1
        length = _HEADER.size + len(body)
        self._socket.send(_HEADER.pack(length, kind, flags | _REQUEST, self._sequence, 0) + body)
        while True:
            data = self._socket.recv(1 << 18)
            while len(data) >= _HEADER.size:
                size, answer, _, _, _ = _HEADER.unpack_from(data)
                content, data = data[_HEADER.size : size], data[(size + 3) & ~3 :]
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    (code,) = struct.unpack_from("=i", content)
                    if code:
                        raise SyscallFailed("netlink", -code, what=what)
                    return
                yield content
                if not flags & (_DUMP | _ACK):
                    return

    def device(self, name: str) -> tuple[int, bool]:
        """The number of the device `name`, and whether it is up."""
        body = _LINK.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        (found,) = self.ask(_GETLINK, 0, body, f"link not found for interface {name}")
        _, _, index, flags, _ = _LINK.unpack_from(found)
        return int(index), bool(flags & _UP)

    def set_up(self, index: int, up: bool) -> None:
        """Switch a device on or off."""
        body = _LINK.pack(0, 0, index, _UP if up else 0, _UP)
        list(self.ask(_NEWLINK, _ACK, body, f"switching the device {'on' if up else 'off'}"))

    def move(self, index: int, namespace: int, name: str) -> None:
        """Into another namespace, and under another name, at once."""
        body = _LINK.pack(0, 0, index, 0, 0)
        body += _attribute(_IFLA_IFNAME, name.encode() + b"\0")
        body += _attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
        list(self.ask(_NEWLINK, _ACK, body, f"moving it as {name}"))

    def addresses(self, index: int) -> list[Address]:
        """The permanent global addresses of a device: others mean nothing elsewhere."""
        found = []
        for one in self.ask(_GETADDR, _DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "listing addresses"):
            family, prefix, flags, scope, owner = _ADDRESS.unpack_from(one)
            attributes = dict(_attributes(one[_ADDRESS.size :]))
            if _IFA_FLAGS in attributes:
                (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
            if owner == index and flags & _PERMANENT and scope == _UNIVERSE:
                wanted = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST)
                kept = tuple((kind, attributes[kind]) for kind in wanted if kind in attributes)
                found.append(Address(family, prefix, kept))
        return found

    def add(self, index: int, address: Address) -> None:
        """Give a device an address; one that it has already is fine."""
        body = _ADDRESS.pack(address.family, address.prefix, 0, _UNIVERSE, index)
        body += b"".join(_attribute(kind, value) for kind, value in address.attributes)
        try:
            list(self.ask(_NEWADDR, _ACK | _CREATE | _EXCL, body, "restoring an address"))
        except SyscallFailed as error:
            if error.errno != errno.EEXIST:
                raise


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind, data[4:size]
        data = data[(size + 3) & ~3 :]


def move(pid: int, name: str, new: str) -> None:
    """Move the device `name` into the network namespace of `pid`, to be `new` there. This process is
    in that namespace afterwards. SyscallFailed with the step that was refused: the device is then
    back where it was, as it was."""
    ours, theirs = (os.open(f"/proc/{one}/ns/net", os.O_RDONLY) for one in ("self", pid))
    with Netlink() as here:  # a socket stays in the namespace that it was made in
        index, up = here.device(name)
        addresses = here.addresses(index)
        try:
            here.set_up(index, False)
            here.move(index, theirs, new)
            call("setns", theirs, CLONE_NEWNET, what="entering the container's network")
            with Netlink() as there:
                _furnish(there, new, addresses)
        except MobyshellError:
            _bring_back(here, ours, theirs, (name, new))
            with suppress(MobyshellError):
                _furnish(here, name, addresses, up)
            raise


def _furnish(where: Netlink, name: str, addresses: list[Address], up: bool = True) -> None:
    index, _ = where.device(name)
    for address in addresses:
        where.add(index, address)
    where.set_up(index, up)


def _bring_back(here: Netlink, ours: int, theirs: int, names: tuple[str, str]) -> None:
    """A move whose new name is taken is half a move: the device is there, under its old name."""
    with suppress(MobyshellError):
        here.device(names[0])
        return
    call("setns", theirs, CLONE_NEWNET)
    with Netlink() as there:
        for one in dict.fromkeys(names):
            with suppress(MobyshellError):
                there.move(there.device(one)[0], ours, names[0])
                return


def main(argv: list[str]) -> int:
    """0, or 1 with the reason on stderr."""
    try:
        move(int(argv[0]), argv[1], argv[2])
    except (MobyshellError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

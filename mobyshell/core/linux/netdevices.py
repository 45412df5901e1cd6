"""Moving a network device into another network namespace, by rtnetlink(7).

A helper process, `python -m mobyshell.core.linux.netdevices PID NAME NEW`: it enters the namespace,
which must never happen in a process with threads or an event loop. The device keeps its settings
and its permanent global addresses, which the kernel takes away on the move, and is up afterwards.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWNET
from mobyshell.core.linux.netlink import CREATE, DUMP, EXCL, Netlink, attribute, attributes
from mobyshell.core.linux.syscalls import call

# linux/rtnetlink.h, if_link.h, if_addr.h
_NEWLINK, _GETLINK, _NEWADDR, _GETADDR = 16, 18, 20, 22
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_PERMANENT, _UNIVERSE, _UP = 0x80, 0, 1
_LINK = struct.Struct("=BxHiII")  # family, type, index, flags, change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix, flags, scope, index


@dataclass(frozen=True, slots=True)
class Address:
    """An address of a device, with the attributes by which it is added again."""

    family: int
    prefix: int
    attributes: tuple[tuple[int, bytes], ...]


class Devices(Netlink):
    """The devices of the network namespace that we are in."""

    def __enter__(self) -> Devices:
        return self

    def device(self, name: str) -> tuple[int, bool]:
        """The number of the device `name`, and whether it is up."""
        body = _LINK.pack(0, 0, 0, 0, 0) + attribute(_IFLA_IFNAME, name.encode() + b"\0")
        (found,) = self.ask(_GETLINK, 0, body, f"link not found for interface {name}")
        _, _, index, flags, _ = _LINK.unpack_from(found)
        return int(index), bool(flags & _UP)

    def set_up(self, index: int, up: bool) -> None:
        """Switch a device on or off."""
        body = _LINK.pack(0, 0, index, _UP if up else 0, _UP)
        self.tell(_NEWLINK, 0, body, f"switching the device {'on' if up else 'off'}")

    def move(self, index: int, namespace: int, name: str) -> None:
        """Into another namespace, and under another name, at once."""
        body = _LINK.pack(0, 0, index, 0, 0)
        body += attribute(_IFLA_IFNAME, name.encode() + b"\0")
        body += attribute(_IFLA_NET_NS_FD, struct.pack("=I", namespace))
        self.tell(_NEWLINK, 0, body, f"moving it as {name}")

    def addresses(self, index: int) -> list[Address]:
        """The permanent global addresses of a device: others mean nothing elsewhere."""
        found = []
        for one in self.ask(_GETADDR, DUMP, _ADDRESS.pack(0, 0, 0, 0, 0), "listing addresses"):
            family, prefix, flags, scope, owner = _ADDRESS.unpack_from(one)
            told = dict(attributes(one[_ADDRESS.size :]))
            if _IFA_FLAGS in told:
                (flags,) = struct.unpack("=I", told[_IFA_FLAGS])
            if owner == index and flags & _PERMANENT and scope == _UNIVERSE:
                wanted = (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST)
                kept = tuple((kind, told[kind]) for kind in wanted if kind in told)
                found.append(Address(family, prefix, kept))
        return found

    def add(self, index: int, address: Address) -> None:
        """Give a device an address; one that it has already is fine."""
        body = _ADDRESS.pack(address.family, address.prefix, 0, _UNIVERSE, index)
        body += b"".join(attribute(kind, value) for kind, value in address.attributes)
        try:
            self.tell(_NEWADDR, CREATE | EXCL, body, "restoring an address")
        except SyscallFailed as error:
            if error.errno != errno.EEXIST:
                raise


def move(pid: int, name: str, new: str) -> None:
    """Move the device `name` into the network namespace of `pid`, to be `new` there. This process is
    in that namespace afterwards. SyscallFailed with the step that was refused: the device is then
    back where it was, as it was."""
    ours, theirs = (os.open(f"/proc/{one}/ns/net", os.O_RDONLY) for one in ("self", pid))
    with Devices() as here:  # a socket stays in the namespace that it was made in
        index, up = here.device(name)
        addresses = here.addresses(index)
        try:
            here.set_up(index, False)
            here.move(index, theirs, new)
            call("setns", theirs, CLONE_NEWNET, what="entering the container's network")
            with Devices() as there:
                _furnish(there, new, addresses)
        except MobyshellError:
            _bring_back(here, ours, theirs, (name, new))
            with suppress(MobyshellError):
                _furnish(here, name, addresses, up)
            raise


def _furnish(where: Devices, name: str, addresses: list[Address], up: bool = True) -> None:
    index, _ = where.device(name)
    for address in addresses:
        where.add(index, address)
    where.set_up(index, up)


def _bring_back(here: Devices, ours: int, theirs: int, names: tuple[str, str]) -> None:
    """A move whose new name is taken is half a move: the device is there, under its old name."""
    with suppress(MobyshellError):
        here.device(names[0])
        return
    call("setns", theirs, CLONE_NEWNET)
    with Devices() as there:
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

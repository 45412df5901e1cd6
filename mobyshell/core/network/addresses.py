"""Who has which address: one file per address, as CNI's host-local keeps them.

The same files and the same lock, so that plugins and we may give out addresses of one network side
by side. An address is taken by creating its file (O_EXCL), and given again only after its file was
deleted, and then as late as possible. Source: plugins/ipam/host-local/backend/disk in
containernetworking/plugins.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator, Sequence

from mobyshell.core.errors import AlreadyExists, MobyshellError, SyscallFailed, UsageError
from mobyshell.core.linux.paths import make_private
from mobyshell.core.network import files
from mobyshell.core.network.config import Range
from mobyshell.core.network.values import Lease

_LAST = "last_reserved_ip."
_MOST_TRIES = 1 << 20


class NoAddressLeft(MobyshellError):
    """Every address of a network is given out."""


class Addresses:
    """The addresses of one network. `directory`: host-local's dataDir; it is made when needed."""

    def __init__(self, directory: str, network: str) -> None:
        self._directory = f"{directory}/{network}"
        self._network = network

    def allocate(
        self, ranges: Sequence[Sequence[Range]], owner: str, interface: str, ips: Sequence[str] = ()
    ) -> tuple[Lease, ...]:
        """One address of each set of ranges, for `owner`; all or none. Of a set that one of `ips` is
        of, that one.

        NoAddressLeft; AlreadyExists for one that somebody has; UsageError for one that is of no set.
        """
        chosen = self._chosen(ranges, ips)
        try:
            make_private(self._directory)
            with files.locked(f"{self._directory}/lock"):
                taken: list[Lease] = []
                try:
                    for number, group in enumerate(ranges):
                        asked = chosen.get(number)
                        taken.append(self._take(number, group, owner, interface) if asked is None
                                     else self._take_asked(asked, owner, interface))  # fmt: skip
                except BaseException:
                    self._release([one.ip for one in taken], owner)
                    raise
                return tuple(taken)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=self._directory) from None

    def peek(self, ranges: Sequence[Sequence[Range]], ips: Sequence[str] = ()) -> tuple[Lease, ...]:
        """What `allocate` would give now; nothing is changed."""
        found, chosen = [], self._chosen(ranges, ips)
        for number, group in enumerate(ranges):
            if asked := chosen.get(number):
                if owner := self._owner(asked.ip):
                    raise self._taken(asked, owner)
                found.append(asked)
                continue
            for one, ip in _candidates(group, self._last(number)):
                if not os.path.exists(f"{self._directory}/{ip}"):
                    found.append(_lease(one, ip))
                    break
            else:
                raise self._full(group)
        return tuple(found)

    def release(self, owner: str, addresses: Sequence[str] | None = None) -> int:
        """Give back `addresses`, or all, that belong to `owner`; how many. What is gone is fine."""
        if not os.path.isdir(self._directory):
            return 0
        try:
            with files.locked(f"{self._directory}/lock"):
                return self._release(addresses, owner)
        except OSError as error:
            raise SyscallFailed.of(error, "unlink", path=self._directory) from None

    def owners(self) -> dict[str, str]:
        """Who has which address."""
        try:
            names = sorted(os.listdir(self._directory))
        except OSError:
            return {}
        found = {one: self._owner(one) for one in names if _is_address(one)}
        return {name: owner for name, owner in found.items() if owner}

    def forget(self) -> None:
        """Delete what is kept of the network, once nobody has an address of it."""
        if self.owners():
            return
        try:
            for name in os.listdir(self._directory):
                os.unlink(f"{self._directory}/{name}")
            os.rmdir(self._directory)
        except OSError:
            pass  # somebody takes one at this moment, or it never was

    def _chosen(self, ranges: Sequence[Sequence[Range]], ips: Sequence[str]) -> dict[int, Lease]:
        """The addresses that were asked for, by the set that each is of. UsageError."""
        found: dict[int, Lease] = {}
        for ip in ips:
            address = ipaddress.ip_address(ip)
            for number, group in enumerate(ranges):
                where = next((one for one in group if address in one.subnet), None)
                if where is not None and number not in found and _usable(where, ip):
                    found[number] = _lease(where, ip)
                    break
            else:
                subnets = ", ".join(str(one.subnet) for group in ranges for one in group)
                raise UsageError(f"{ip} is no address for a container in the network {self._network}",
                                 hint=f"it has {subnets}")  # fmt: skip
        return found

    def _take_asked(self, asked: Lease, owner: str, interface: str) -> Lease:
        """As `_take`; what is given next follows the last that nobody asked for."""
        if not self._reserve(asked.ip, owner, interface):
            raise self._taken(asked, self._owner(asked.ip))
        return asked

    def _taken(self, asked: Lease, owner: str) -> AlreadyExists:
        return AlreadyExists(f"{asked.ip} of the network {self._network} is {owner}'s")

    def _reserve(self, ip: str, owner: str, interface: str) -> bool:
        """Make the file of an address; False if there is one."""
        try:
            fd = os.open(f"{self._directory}/{ip}",
                         os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)  # fmt: skip
        except FileExistsError:
            return False
        try:
            os.write(fd, f"{owner}\r\n{interface}".encode())
        finally:
            os.close(fd)
        return True

    def _take(self, number: int, group: Sequence[Range], owner: str, interface: str) -> Lease:
        for one, ip in _candidates(group, self._last(number)):
            if not self._reserve(ip, owner, interface):
                continue
            files.write(f"{self._directory}/{_LAST}{number}", ip.encode(), mode=0o600)
            return _lease(one, ip)
        raise self._full(group)

    def _full(self, group: Sequence[Range]) -> NoAddressLeft:
        subnets = ", ".join(str(one.subnet) for one in group)
        return NoAddressLeft(
            f"no address is left in {subnets} of the network {self._network}",
            hint="delete tasks that have one, or make a larger network",
        )

    def _last(self, number: int) -> str:
        try:
            with open(f"{self._directory}/{_LAST}{number}") as file:
                return file.read(64).strip()
        except OSError:
            return ""

    def _owner(self, name: str) -> str:
        try:
            with open(f"{self._directory}/{name}", "rb") as file:
                return file.read(4096).split(b"\r\n")[0].strip().decode(errors="replace")
        except OSError:
            return ""

    def _release(self, addresses: Sequence[str] | None, owner: str) -> int:
        names = os.listdir(self._directory) if addresses is None else addresses
        gone = 0
        for name in names:
            if _is_address(name) and self._owner(name) == owner:
                os.unlink(f"{self._directory}/{name}")
                gone += 1
        return gone


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _usable(where: Range, ip: str) -> bool:
    """Whether a container can have an address of a subnet: not its gateway's, nor one that is for
    all of it."""
    subnet, address = where.subnet, ipaddress.ip_address(ip)
    if ip == where.gateway or address == subnet.network_address:
        return False
    return subnet.version == 6 or address != subnet.broadcast_address


def _lease(where: Range, ip: str) -> Lease:
    return Lease(f"{ip}/{where.subnet.prefixlen}", where.gateway)


def _candidates(group: Sequence[Range], last: str) -> Iterator[tuple[Range, str]]:
    """Every address of the ranges once, beginning after `last`: what was given back rests longest."""
    start, position = 0, -1
    if last and _is_address(last):
        number = int(ipaddress.ip_address(last))
        for index, one in enumerate(group):
            if ipaddress.ip_address(last) in one.subnet and one.first <= number <= one.last:
                start, position = index, number
    order = [(one, one.first, one.last) for one in (*group[start:], *group[:start])]
    if position >= 0:
        first = group[start]
        order[0] = (first, position + 1, first.last)
        order.append((first, first.first, position))
    tries = 0
    for one, low, high in order:
        base, at = one.subnet.network_address, int(one.subnet.network_address)
        for number in range(low, high + 1):
            tries += 1
            if tries > _MOST_TRIES:
                return
            ip = str(base + (number - at))
            if ip != one.gateway:
                yield one, ip

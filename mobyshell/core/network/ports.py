"""Published ports: the words of `-p`, and which ports of the host they may have. Whether a program
of the host has one is the worker's to find out."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mobyshell.core.errors import AlreadyExists, UsageError
from mobyshell.core.network.values import PortMapping

DYNAMIC = range(49153, 65536)
"""Ports that are chosen for whoever names none, as Docker does."""

PROTOCOLS = ("tcp", "udp", "sctp")
_MOST = 1000
"""Ports of one range: each becomes several rules."""


def parse(word: str) -> tuple[PortMapping, ...]:
    """The mappings that `[[IP:]HOST:]CONTAINER[/PROTOCOL]` stands for; both may be ranges of the
    same length. Without HOST, or with 0, its port is 0: to be chosen. UsageError.
    """
    rest, slash, protocol = word.partition("/")
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise _bad(word, f"the protocol is {' or '.join(PROTOCOLS)}")
    address = ""
    if rest.startswith("["):
        address, bracket, rest = rest[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise _bad(word, "an IPv6 address stands in [ ]")
        parts = [address, *rest[1:].split(":")]
        parts = parts if len(parts) == 3 else []
    else:
        parts = rest.split(":")
    if not 1 <= len(parts) <= 3:
        raise _bad(word)
    address = _address(word, parts[0]) if len(parts) == 3 else ""
    inside = _range(word, parts[-1])
    outside = _range(word, parts[-2], zero=True) if len(parts) > 1 and parts[-2] else range(1)
    if outside == range(1):
        return tuple(PortMapping(0, one, protocol, address) for one in inside)
    if len(outside) != len(inside):
        raise _bad(word, "the two ranges are of the same length")
    return tuple(
        PortMapping(host, container, protocol, address)
        for host, container in zip(outside, inside, strict=True)
    )


def _bad(word: str, hint: str = "") -> UsageError:
    return UsageError(f"{word!r:.100} is no port to publish",
                      hint=hint or "[[IP:]HOST:]CONTAINER[/tcp|udp|sctp], as in 8080:80")  # fmt: skip


def _address(word: str, text: str) -> str:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise _bad(word, f"{text!r:.60} is no address") from None
    return "" if found.is_unspecified else str(found)


def _range(word: str, text: str, *, zero: bool = False) -> range:
    first, dash, last = text.partition("-")
    ends = [first, last if dash else first]
    if not all(one.isascii() and one.isdecimal() and len(one) <= 5 for one in ends):
        raise _bad(word)
    low, high = int(ends[0]), int(ends[1])
    if not (0 if zero and not dash else 1) <= low <= high <= 65535 or high - low >= _MOST:
        raise _bad(word, f"ports are from 1 to 65535, at most {_MOST} at once")
    return range(low, high + 1)


def check_free(wanted: Iterable[PortMapping], taken: Iterable[tuple[PortMapping, str]]) -> None:
    """AlreadyExists if one of `wanted` is in `taken` (mapping, whose), or twice among `wanted`."""
    seen = list(taken)
    for one in wanted:
        for other, whose in seen:
            if one.host_port and _same(one, other):
                raise AlreadyExists(
                    f"port {one.host_port}/{one.protocol} of the host is published by {whose}",
                    hint="choose another, or leave the host's port away to have one chosen",
                )
        seen.append((one, "this container already"))


def _same(one: PortMapping, other: PortMapping) -> bool:
    if (one.host_port, one.protocol) != (other.host_port, other.protocol):
        return False
    return not one.host_ip or not other.host_ip or one.host_ip == other.host_ip


def choose(
    wanted: Sequence[PortMapping], taken: Sequence[tuple[PortMapping, str]]
) -> tuple[PortMapping, ...]:
    """The mappings with a port of the host each, of those in `taken` (mapping, whose) none.
    AlreadyExists."""
    check_free(wanted, taken)
    used = {(one.host_port, one.protocol) for one in (*wanted, *(port for port, _ in taken))}
    found = []
    for one in wanted:
        if not one.host_port:
            free = [port for port in DYNAMIC if (port, one.protocol) not in used]
            if not free:
                raise AlreadyExists(f"every port from {DYNAMIC.start} on is published")
            one = replace(one, host_port=random.choice(free))
            used.add((one.host_port, one.protocol))
        found.append(one)
    return tuple(found)

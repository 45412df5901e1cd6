"""Ports as people write them, and as a configuration may have them: `port/protocol`, one by one
(image-spec, config.md, ExposedPorts). Pure."""

from __future__ import annotations

HINT = "such as 80, 53/udp, 8000-8010"
_PROTOCOLS = ("tcp", "udp", "sctp")


def ports_of(word: str) -> list[str] | None:
    """The ports that `80`, `53/udp` or `8000-8010` means; None if it means none."""
    numbers, slash, protocol = word.lower().partition("/")
    ends = numbers.split("-")
    if not all(one.isascii() and one.isdecimal() and int(one[:6]) < 65536 for one in ends):
        return None
    first, last = int(ends[0][:6]), int(ends[-1][:6])
    if len(ends) > 2 or last < first or (protocol if slash else "tcp") not in _PROTOCOLS:
        return None
    return [f"{port}/{protocol or 'tcp'}" for port in range(first, last + 1)]

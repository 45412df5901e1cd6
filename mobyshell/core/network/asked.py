"""A network as it is asked for: its name, and what a container wants to have and be called in it. Pure.

web                       podman's way of writing it, which a container remembers it in, too
web:ip=10.90.0.7
web:ip=10.90.0.7,ip=fd00::7,alias=db,alias=primary
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from mobyshell.core.errors import UsageError

_ALIAS = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_HINT = "NAME:ip=ADDRESS,alias=NAME"


@dataclass(frozen=True, slots=True)
class Asked:
    """`ips`: addresses that it shall have, one of a kind; `aliases`: further names for its neighbours."""

    network: str
    ips: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        kinds = []
        for one in self.ips:
            try:
                kinds.append(ipaddress.ip_address(one).version)
            except ValueError:
                raise UsageError(f"{one!r:.60} is no IP address", hint="without a prefix") from None
        if len(set(kinds)) != len(kinds):
            raise UsageError(
                f"{self.network:.60}: one address of a kind, not {', '.join(self.ips)}"
            )
        for one in self.aliases:
            if not _ALIAS.fullmatch(one):
                raise UsageError(f"{one!r:.60} is no name of a host")

    def __str__(self) -> str:
        more = [f"ip={one}" for one in self.ips] + [f"alias={one}" for one in self.aliases]
        return f"{self.network}:{','.join(more)}" if more else self.network


def parse(word: str) -> Asked:
    """What a word asks for. UsageError."""
    name, colon, rest = word.partition(":")
    found: dict[str, list[str]] = {"ip": [], "ip6": [], "alias": []}
    for part in rest.split(",") if colon else ():
        key, equals, value = part.partition("=")
        if key not in found or not equals:
            raise UsageError(f"{word!r:.80}: {part!r:.40} is no option of a network", hint=_HINT)
        found[key].append(value)
    ips = (*found["ip"], *found["ip6"])
    return Asked(
        name, tuple(str(_address(one)) for one in ips), tuple(dict.fromkeys(found["alias"]))
    )


def _address(word: str) -> str:
    try:
        return str(ipaddress.ip_address(word))
    except ValueError:
        return word  # which says what is wrong with it

"""Name servers that networks bring along: those that plugins answered, or that a list names. Pure.

Owns the reading of CNI's `dns` (spec, section 5: `nameservers`, `domain`, `search`, `options`). What
is no address, and no word of a resolv.conf(5), is passed over.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from mobyshell.core.network.values import Joined
from mobyshell.core.values import value

_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,255}")


@value
class Names:
    """What a resolv.conf is to say; empty where the host's words stay."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def names_of(joined: Iterable[Joined]) -> Names:
    """What all networks of a container say, each word once."""
    servers: dict[str, None] = {}
    search: dict[str, None] = {}
    options: dict[str, None] = {}
    for one in joined:
        said = _said(one)
        servers |= dict.fromkeys(word for word in _words(said, "nameservers") if _is_address(word))
        domain = said.get("domain")
        first = [domain] if isinstance(domain, str) and _WORD.fullmatch(domain) else []
        search |= dict.fromkeys((*first, *_words(said, "search")))
        options |= dict.fromkeys(_words(said, "options"))
    return Names(tuple(servers), tuple(search), tuple(options))


def _said(one: Joined) -> Mapping[str, Any]:
    if one.engine == "cni":
        found = one.result.get("dns")
    else:  # as the plugin `bridge` answers what its configuration has
        plugins = one.document.get("plugins") or [{}]
        found = plugins[0].get("dns")
    return found if isinstance(found, dict) else {}


def _words(said: Mapping[str, Any], key: str) -> list[str]:
    found = said.get(key)
    words = found if isinstance(found, list) else []
    return [one for one in words if isinstance(one, str) and _WORD.fullmatch(one)]


def _is_address(word: str) -> bool:
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True

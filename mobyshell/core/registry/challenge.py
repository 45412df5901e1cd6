"""What a server wants to see: WWW-Authenticate (RFC 9110 11.6.1). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LONGEST = 8 << 10
_MOST = 8

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_PARAMETER = re.compile(r"\s*,?\s*([A-Za-z0-9_-]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s,\"]+))")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to say who one is. `scheme` in lower case, as `bearer`."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges in these header values; what is none is passed over."""
    found: list[Challenge] = []
    for value in values:
        at = 0
        while at < len(value) <= _LONGEST and len(found) < _MOST:
            word = _TOKEN.search(value, at)
            if word is None:
                break
            parameters, at = _parameters(value, word.end())
            found.append(Challenge(word[0].lower(), parameters))
    return found


def _parameters(value: str, at: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while (one := _PARAMETER.match(value, at)) is not None:
        text = one[3] if one[2] is None else re.sub(r"\\(.)", r"\1", one[2])
        found.setdefault(one[1].lower(), text)
        at = one.end()
    return found, at

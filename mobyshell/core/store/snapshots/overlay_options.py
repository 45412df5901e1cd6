"""overlayfs' options as text: paths with `:`, `,` and `\\` in them, written and read. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from mobyshell.core.values import value

_SPECIAL = re.compile(r"([\\:,])")


def escape(path: Path | str) -> str:
    """A path as a part of `lowerdir=` (and, the same, of other options): `\\` before what ends it
    (fs/overlayfs/params.c)."""
    return _SPECIAL.sub(r"\\\1", str(path))


def unescape(text: str) -> str:
    """The reverse."""
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def split(text: str, separator: str = ":") -> list[str]:
    """The parts between separators that are not escaped; each still escaped."""
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] == "\\":
            position += 1
        elif text[position] == separator:
            parts.append(text[start:position])
            start = position + 1
        position += 1
    return [*parts, text[start:]]


@value
class OverlayOptions:
    """What an overlay is made of. `words` are the options that are not about directories."""

    lowers: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    words: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: Iterable[str]) -> OverlayOptions:
        """From a mount's options."""
        lowers: tuple[str, ...] = ()
        upper = work = ""
        words = []
        for option in options:
            name, _, value = option.partition("=")
            if name == "lowerdir":
                lowers = tuple(unescape(one) for one in split(value))
            elif name == "upperdir":
                upper = unescape(value)
            elif name == "workdir":
                work = unescape(value)
            else:
                words.append(option)
        return cls(lowers, upper, work, tuple(words))

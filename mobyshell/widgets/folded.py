"""Text that is folded where it is shown: what does not fit goes on below, under what it belongs to.

Owns where a line may be broken. Pure but for the last class, which Rich asks for lines of a width.
"""

from __future__ import annotations

import re

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

_DIGEST = re.compile(r"[a-z0-9]+:(?=[0-9a-f]{64}\b)")
_COLUMN = re.compile(r"\s*\S+(?: \S+)*?\s{2,}(?=\S)")
_ENDS = (",:|", "/=")
"""After these a long word may be broken, better after the first: lists, then paths and options."""

_HALF = 32
"""Digits of half a digest: two equal lines are compared at a glance."""


def fold(line: str, width: int) -> list[str]:
    """`line` in lines of at most `width` cells. Those after the first are moved in further than it,
    to its second column if it has columns (two spaces or more apart); of a paragraph they are not."""
    if cell_len(line) <= width:
        return [line]
    prefix, hang = _beginning(line, width)
    body = line[len(prefix) :].strip()
    lines, now, begun, start = [], prefix, False, 0
    for word in body.split(" "):
        for number, piece in enumerate(_pieces(word, max(width - max(len(prefix), hang), 1))):
            gap = " " if begun and not number else ""
            if begun and (number or cell_len(now + gap + piece) > width):
                lines.append(now.rstrip())
                under = piece.startswith(" ") and start + cell_len(piece) <= width
                now, gap = " " * (start if under else hang), ""
            now += gap
            start = start if number else cell_len(now)
            now += piece
            begun = True
    return [*lines, now.rstrip()]


def _beginning(line: str, width: int) -> tuple[str, int]:
    """What stands before the words of the first line, and how far the others are moved in."""
    column = _COLUMN.match(line)
    if column is not None and len(column[0]) <= width // 2:
        return column[0], len(column[0])
    margin = len(line) - len(line.lstrip())
    if margin == 0 or margin + 2 > width // 2:  # a paragraph
        return "", 0
    return " " * margin, margin + 2


def _pieces(word: str, room: int) -> list[str]:
    """A word in pieces that fit into `room`."""
    if cell_len(word) <= room:
        return [word]
    digest = _DIGEST.match(word)
    if digest is not None and len(digest[0]) + _HALF <= room:
        head = digest.end()
        return [word[: head + _HALF], *_pieces(" " * head + word[head + _HALF :], room)]
    pieces = []
    while cell_len(word) > room:
        fits = chop_cells(word, room)[0] or word[:1]
        places = (max(fits.rfind(end) for end in ends) + 1 for ends in _ENDS)
        place = next((one for one in places if one > len(fits) // 2), len(fits))
        pieces.append(word[:place])
        word = word[place:]
    return [*pieces, word]


class Folded:
    """A text for Rich, its lines folded to whatever width there is."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = (one for line in self.text.split("\n") for one in fold(line, options.max_width))
        yield Text("\n".join(lines), no_wrap=True)

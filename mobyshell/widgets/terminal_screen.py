"""The model of a terminal's screen (pyte), and how a line of it is drawn. Knows no widget."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pyte
from pyte.screens import Char
from rich.segment import Segment
from rich.style import Style
from textual.strip import Strip

DECCKM = 1 << 5
"""pyte keeps private modes shifted by five bits; number 1 is application cursor keys."""
BRACKETED_PASTE = 2004 << 5


@lru_cache(maxsize=1024)
def style_of(fg: str, bg: str, bold: bool, italics: bool, underscore: bool, reverse: bool) -> Style:
    """The style of a character with these attributes."""
    return Style(
        color=_colour(fg), bgcolor=_colour(bg), bold=bold or None, italic=italics or None,
        underline=underscore or None, reverse=reverse or None,
    )  # fmt: skip


def _colour(name: str) -> str | None:
    if name == "default":
        return None
    if len(name) == 6 and all(one in "0123456789abcdef" for one in name):
        return f"#{name}"
    if name.startswith("bright"):
        return "bright_" + name.removeprefix("bright").replace("brown", "yellow")
    return name.replace("brown", "yellow")


class TerminalScreen(pyte.HistoryScreen):
    """The screen model. Programs ask where the cursor is; it answers through `answer`."""

    def __init__(self, answer: Callable[[bytes], None]) -> None:
        self._answer = answer
        super().__init__(80, 24, history=2000, ratio=0.5)

    def write_process_input(self, data: str) -> None:
        """The answer to a question of the program."""
        self._answer(data.encode())

    @property
    def application_keys(self) -> bool:
        """Whether the program asked for application cursor keys."""
        return DECCKM in self.mode

    @property
    def bracketed_paste(self) -> bool:
        """Whether the program wants to know what was pasted."""
        return BRACKETED_PASTE in self.mode


def line_strip(screen: TerminalScreen, y: int, width: int, *, cursor: bool) -> Strip:
    """Line `y`, `width` cells wide; with the cursor, if it is to be seen."""
    if y >= screen.lines:
        return Strip.blank(width)
    line, place = screen.buffer[y], screen.cursor
    segments: list[Segment] = []
    text, current = "", None
    for x in range(min(screen.columns, width)):
        char: Char = line[x]
        at_cursor = cursor and place.y == y and place.x == x and not place.hidden
        style = style_of(char.fg, char.bg, char.bold, char.italics, char.underscore,
                         char.reverse != at_cursor)  # fmt: skip
        if style is not current:
            if text:
                segments.append(Segment(text, current))
            text, current = "", style
        text += char.data
    if text:
        segments.append(Segment(text, current))
    return Strip(segments).adjust_cell_length(width)

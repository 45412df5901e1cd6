"""Lines of text that keep coming: moved through like vim, wrapped or cut at the edge."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar

from rich.cells import cell_len, chop_cells
from textual import events
from textual.binding import Binding, BindingType
from textual.widgets import Log

KEPT = 10_000
"""Lines that are kept; who wants more reads the file they come from."""


def folded(line: str, width: int) -> list[str]:
    """`line` in pieces of at most `width` cells."""
    if width < 1 or cell_len(line) <= width:
        return [line]
    return chop_cells(line, width)


class Lines(Log):
    """The last lines of what was added."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="lines.down"),
        Binding("k", "scroll_up", "Up", show=False, id="lines.up"),
        Binding("h", "scroll_left", "Left", show=False, id="lines.left"),
        Binding("l", "scroll_right", "Right", show=False, id="lines.right"),
        Binding("G", "scroll_end", "Last", show=False, id="lines.last"),
        Binding("w", "wrap", "Wrap", id="lines.wrap"),
    ]

    def __init__(self, *, wrap: bool = False, **more: Any) -> None:
        super().__init__(highlight=False, auto_scroll=False, **more)
        self.wrap = wrap
        self.kept: deque[str] = deque(maxlen=KEPT)

    def set_lines(self, lines: Iterable[str], *, to_end: bool) -> None:
        """Show these lines only."""
        self.kept.clear()
        self.clear()
        self.add_lines(lines, to_end=to_end)

    def add_lines(self, lines: Iterable[str], *, to_end: bool) -> None:
        """Show these lines, too."""
        new = list(lines)[-KEPT:]
        if len(self.kept) + len(new) > KEPT:
            # rather than by the line: Log forgets one line at a time, and slowly
            del new[: max(0, len(new) - KEPT)]
            while len(self.kept) + len(new) > KEPT * 9 // 10 and self.kept:
                self.kept.popleft()
            self.kept.extend(new)
            self._redraw(to_end)
            return
        self.kept.extend(new)
        self.write_lines(self._folded(new), scroll_end=to_end)

    def _folded(self, lines: Iterable[str]) -> list[str]:
        width = self.scrollable_content_region.width if self.wrap else 0
        return [piece for line in lines for piece in folded(line, width)] if width else list(lines)

    def _redraw(self, to_end: bool) -> None:
        place = self.scroll_offset.y
        self.clear()
        self.write_lines(self._folded(self.kept), scroll_end=to_end)
        if not to_end:
            self.scroll_to(y=place, animate=False)

    @property
    def at_end(self) -> bool:
        """Whether the last line can be seen."""
        return self.scroll_offset.y >= self.max_scroll_y

    def _aim(self) -> None:
        """Upwards is from the line that is seen: where it was going can lie below the end, since the
        place has become larger, or a scrollbar or a title has gone."""
        self.scroll_target_y = min(self.scroll_target_y, self.max_scroll_y)

    def action_scroll_up(self) -> None:
        """One line up."""
        self._aim()
        super().action_scroll_up()

    def on_mouse_scroll_up(self) -> None:
        """Some lines up, which is Textual's to do."""
        self._aim()

    def action_wrap(self) -> None:
        """Long lines in pieces, or cut at the edge."""
        self.wrap = not self.wrap
        self._redraw(self.at_end)

    def on_resize(self, event: events.Resize) -> None:
        """Other pieces fit now."""
        if self.wrap:
            self._redraw(self.at_end)

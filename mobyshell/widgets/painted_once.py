"""A table that paints a cell anew only if it has changed.

Textual's own paints every cell that can be seen after one of them has: with figures that are measured
each second, that is most of what a workbench costs while somebody looks.
"""

from __future__ import annotations

from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.cache import LRUCache
from textual.coordinate import Coordinate
from textual.widgets import DataTable

KEPT = 4096
"""Cells: of some screens full."""


class PaintedOnce(DataTable[Text]):
    """Knows cells by what is in them. For rows of one line, and texts of one style."""

    def __init__(self, **more: Any) -> None:
        self._painted: LRUCache[tuple[object, ...], list[list[Segment]]] = LRUCache(KEPT)
        super().__init__(**more)

    def _render_cell(
        self, row_index: int, column_index: int, base_style: Style, width: int,
        cursor: bool = False, hover: bool = False,
    ) -> list[list[Segment]]:  # fmt: skip
        if row_index < 0 or column_index < 0:
            return super()._render_cell(row_index, column_index, base_style, width, cursor, hover)
        text = self.get_cell_at(Coordinate(row_index, column_index))
        # where it is belongs to it: a click is told by the style of what was clicked
        key = (row_index, column_index, text.plain, text.style, base_style, width, cursor, hover,
               self._show_hover_cursor, self.show_cursor, self._pseudo_class_state)  # fmt: skip
        known = self._painted.get(key)
        if known is None:
            style = base_style + Style.from_meta({"row": row_index, "column": column_index})
            known = self._painted[key] = [self._pieces(text, style, width, cursor, hover)]
        return known

    def _pieces(
        self, text: Text, style: Style, width: int, cursor: bool, hover: bool
    ) -> list[Segment]:  # fmt: skip
        """The cell as text in one style between spaces: what Textual's own comes to, after rich has
        looked for padding, wrapping and the pieces of several styles."""
        component, post = self._get_styles_to_render_cell(
            False, False, False, hover, cursor, self.show_cursor, self._show_hover_cursor,
            self.cursor_foreground_priority == "css", self.cursor_background_priority == "css",
        )  # fmt: skip
        around = style + component
        mine = around + self.app.console.get_style(text.style, default=Style.null())
        room, edge = width - 2 * self.cell_padding, " " * self.cell_padding
        plain = text.plain if cell_len(text.plain) <= room else set_cell_size(text.plain, room)
        rest = " " * (room - cell_len(plain))
        pieces = ((edge, around), (plain, mine), (rest + edge, around))
        return [Segment(one, each + post) for one, each in pieces if one]

    def _clear_caches(self) -> None:
        super()._clear_caches()
        self._painted.clear()

    def notify_style_update(self) -> None:
        """Other colours."""
        self._painted.clear()
        super().notify_style_update()

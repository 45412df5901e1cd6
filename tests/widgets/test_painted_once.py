"""A cell that is painted in one go looks as Textual's own would."""

from __future__ import annotations

import pytest
from rich.text import Text
from textual.app import App, ComposeResult
from textual.coordinate import Coordinate
from textual.widgets import DataTable

from mobyshell.widgets.painted_once import PaintedOnce

CELLS = [
    Text("plain"), Text("dim", style="dim"), Text("green 字 wide", style="green"), Text(""),
    Text("exactly ten", style="bold #ff8800"), Text("[b]no markup[/]"), Text("e\u0301té ☃"),
]  # fmt: skip


class Both(App[None]):
    """The same rows in both tables."""

    def compose(self) -> ComposeResult:
        yield PaintedOnce(cursor_type="row")
        yield DataTable[Text](cursor_type="row")

    def on_mount(self) -> None:
        for table in self.query(DataTable):
            table.add_column("A", width=11)
            table.add_column("B", width=13)
            for cell in CELLS:
                table.add_row(cell, cell)


@pytest.mark.parametrize("theme", ["textual-dark", "textual-light"])
async def test_the_same_text_and_style_in_each_place(theme: str) -> None:
    async with Both().run_test(size=(60, 40)) as pilot:
        pilot.app.theme = theme
        ours, theirs = pilot.app.query(DataTable)
        for row in (0, 3):
            for table in (ours, theirs):
                table.focus()
                table.move_cursor(row=row)
                await pilot.pause()
            ours.hover_coordinate = theirs.hover_coordinate = Coordinate(2, 0)
            pilot.app.screen.set_focus(None)
            await pilot.pause()
            for y in range(len(CELLS) + 1):
                assert _looks(ours, y) == _looks(theirs, y)


def _looks(table: DataTable[Text], y: int) -> list[tuple[object, ...]]:
    """Each character of a line with how it is shown."""
    return [
        (character, segment.style, segment.style and segment.style.meta)
        for segment in table.render_line(y)
        for character in segment.text
    ]

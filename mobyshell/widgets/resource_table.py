"""A live table of things: filtered, sorted, marked, and updated cell by cell."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import DataTable

from mobyshell.commands.output import cell
from mobyshell.styles.syntax import rich_colour
from mobyshell.widgets.painted_once import PaintedOnce
from mobyshell.widgets.resource import (
    ResourceSpec,
    Row,
    fitted,
    matches,
    nested,
    ordered,
    visible_columns,
)
from mobyshell.widgets.typed_ahead import TypedAhead

_STYLES = {"good": "$text-success", "busy": "$text-warning", "bad": "$text-error", "off": "dim"}
_RIGHT = ("number", "bytes", "duration", "age", "percent")


class ResourceTable(PaintedOnce, TypedAhead):
    """Shows rows of a `ResourceSpec`. Rows are set as a whole, and differ only where they differ."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "cursor_down", "Down", show=False, id="table.down"),
        Binding("k", "cursor_up", "Up", show=False, id="table.up"),
        Binding("home", "scroll_top", "First", show=False, id="table.first"),
        Binding("G,end", "scroll_bottom", "Last", show=False, id="table.last"),
        Binding("space", "mark", "Mark", show=False, id="table.mark"),
        Binding("o", "sort", "Sort", show=False, id="table.sort"),
        Binding("O", "reverse", "Reverse", show=False, id="table.reverse"),
    ]

    @dataclass
    class Chosen(Message):
        """Another row has the cursor; None if there is none."""

        table: ResourceTable
        key: str | None

        @property
        def control(self) -> ResourceTable:
            """Which table it is, for `@on` selectors."""
            return self.table

    def __init__(self, spec: ResourceSpec, **more: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, **more)
        self.spec = spec
        self.query_text = ""
        self.fits: Callable[[Row, str], bool] = matches
        """Whether a row passes a filter: where a list has a language of its own."""
        self.from_end = False
        """Whether the cursor begins on the last row, as where the newest is at the end."""
        self.sort_key, self.reversed = spec.sort or spec.key, spec.descending
        self.marked: set[str] = set()
        self._rows: dict[str, Row] = {}
        self._shown: list[str] = []
        self._cells: dict[str, list[str]] = {}
        self._columns: tuple[Any, ...] = ()
        self._begin_on = ""
        self._stems: dict[str, str] = {}
        self._stale: set[str] = set()
        """Rows out of sight whose values have changed since they were painted."""

    def on_mount(self) -> None:
        self.app.theme_changed_signal.subscribe(self, lambda theme: self._rebuild())

    def on_resize(self, event: events.Resize) -> None:
        """Other columns fit now."""
        columns = visible_columns(self.spec, event.size.width)
        if columns != self._columns:
            self._columns = columns
            self._rebuild()
        else:
            self._paint_stale()

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show exactly these rows."""
        self._rows = {str(row[self.spec.key]): row for row in rows}
        self.marked &= set(self._rows)
        self._refresh_rows()

    def update_row(self, key: str, **values: Any) -> None:
        """Change some values of one row, if it is there."""
        if key in self._rows:
            self._rows[key] = {**self._rows[key], **values}
            if key in self._cells:
                self._paint_seen([key])

    def filter(self, query: str) -> None:
        """Show only rows that match."""
        chosen, self.query_text = self.chosen, query
        self._refresh_rows()
        if chosen not in self._cells:
            self.move_cursor(row=0, animate=False)

    @property
    def chosen(self) -> str | None:
        """The key of the row under the cursor."""
        return self._shown[self.cursor_row] if 0 <= self.cursor_row < len(self._shown) else None

    @property
    def row(self) -> Row | None:
        """The values of the row under the cursor."""
        return self._rows.get(self.chosen or "")

    @property
    def subjects(self) -> list[str]:
        """What an action is about: the marked rows, or else the one under the cursor."""
        marked = [key for key in self._shown if key in self.marked]
        return marked or ([self.chosen] if self.chosen else [])

    @property
    def shown(self) -> list[str]:
        """The keys of the rows that can be seen, in order."""
        return list(self._shown)

    @property
    def in_sight(self) -> list[str]:
        """The keys of the rows that are on the screen now, and a few around them."""
        first = max(self.scroll_offset.y - 1, 0)
        return self._shown[first : first + self.size.height + 2]

    @property
    def fitting(self) -> bool:
        """Whether any row passes the filter, also while the table is not on the screen."""
        return any(self.fits(row, self.query_text) for row in self._rows.values())

    def choose(self, key: str) -> None:
        """Put the cursor on a row, if it is there; where nothing is laid out yet, once it is."""
        if key in self._shown:
            self.move_cursor(row=self._shown.index(key))
        elif not self._columns:
            self._begin_on = key

    def _wanted(self) -> list[str]:
        rows = [row for row in self._rows.values() if self.fits(row, self.query_text)]
        rows = ordered(rows, self.sort_key, reverse=self.reversed)
        if self.spec.parent:
            tree = nested(rows, self.spec.key, self.spec.parent)
            self._stems = {str(row[self.spec.key]): stem for row, stem in tree}
            rows = [row for row, _ in tree]
        return [str(row[self.spec.key]) for row in rows]

    def _refresh_rows(self) -> None:
        wanted, known = self._wanted(), len(self._shown)
        if wanted[:known] != self._shown or not (known and self._columns):
            if wanted != self._shown:
                self._rebuild()
            return
        self._paint_seen(self._shown)
        for key in wanted[known:]:  # a stream grows at its end
            self._append(key)

    def _append(self, key: str) -> None:
        self._shown.append(key)
        texts = self._cells[key] = self._texts(key)
        self.add_row(*self._styled(key, texts), key=key)

    def _rebuild(self) -> None:
        """The order or the columns have changed: only then is the table made anew."""
        if not self._columns:
            return
        wanted = self._wanted()
        fresh = self.from_end and not self._shown
        place = len(wanted) - 1 if fresh else kept_place(self._shown, self.cursor_row, wanted)
        if self._begin_on in wanted:
            place, self._begin_on = wanted.index(self._begin_on), ""
        # to clear it is to scroll it, and who hears of that finds no row
        self._stale, self._cells, self._shown = set(), {}, []
        with self.prevent(DataTable.RowHighlighted):
            self.clear(columns=True)
            for one in self._columns:
                arrow = ("▾" if self.reversed else "▴") if one.key == self.sort_key else ""
                title = f"{one.title}{arrow}"
                if one.kind in _RIGHT:
                    title = title.rjust(one.width)
                self.add_column(title, width=one.width, key=one.key)
            for key in wanted:
                self._append(key)
            if place > 0:
                self.move_cursor(row=place, animate=False)
        self.post_message(self.Chosen(self, self.chosen))
        if self._shown:
            self.is_filled()

    def _texts(self, key: str) -> list[str]:
        row = self._rows[key]
        texts = []
        for index, one in enumerate(self._columns):
            text = cell(row.get(one.key), one.kind)
            before = ""
            if index == 0:
                before = ("● " if key in self.marked else "") + self._stems.get(key, "")
            room = max(one.width - len(before), 1)
            text = fitted(before + fitted(text, room, middle=one.kind == "id"), one.width)
            texts.append(text.rjust(one.width) if one.kind in _RIGHT else text)
        return texts

    def _styled(self, key: str, texts: list[str]) -> list[Text]:
        health = self.spec.health(self._rows[key])
        token = _STYLES[health]
        colour = rich_colour(self.app.theme_variables.get(token[1:], ""))
        style = token if not token.startswith("$") else colour or ""
        styled = []
        for one, text in zip(self._columns, texts, strict=True):
            mine = style if one.kind == "state" or health == "off" else ""
            styled.append(Text(text, style=mine))
        return styled

    def _paint_seen(self, keys: Sequence[str]) -> None:
        """Paint those of `keys` that can be seen, the others when they come into sight."""
        self._stale.update(keys)
        self._paint_stale()

    def _paint_stale(self) -> None:
        if self._stale:
            for key in self.in_sight:
                if key in self._stale:
                    self._stale.discard(key)
                    self._paint(key)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Others are in sight."""
        super().watch_scroll_y(old_value, new_value)
        self._paint_stale()

    def _paint(self, key: str) -> None:
        texts = self._texts(key)
        before = self._cells.get(key)
        if before == texts:
            return
        styled = self._styled(key, texts)
        for one, old, new, text in zip(self._columns, before or texts, texts, styled, strict=True):
            if before is None or old != new or one.kind == "state":
                self.update_cell(key, one.key, text)
        self._cells[key] = texts

    def action_mark(self) -> None:
        """Mark or unmark the row, and go on to the next."""
        key = self.chosen
        if key is not None:
            self.marked ^= {key}
            self._paint(key)
            self.action_cursor_down()
            self.post_message(self.Chosen(self, self.chosen))

    def unmark(self) -> None:
        """Nothing is marked any more."""
        marked, self.marked = self.marked, set()
        for key in marked & set(self._cells):
            self._paint(key)
        self.post_message(self.Chosen(self, self.chosen))

    def action_sort(self) -> None:
        """Sort by the next column."""
        keys = [one.key for one in self._columns]
        place = keys.index(self.sort_key) if self.sort_key in keys else -1
        self.sort_key = keys[(place + 1) % len(keys)]
        self._rebuild()

    def action_reverse(self) -> None:
        """Turn the order round."""
        self.reversed = not self.reversed
        self._rebuild()

    def on_data_table_header_selected(self, event: DataTable.HeaderSelected) -> None:
        """A click on a title: in its order, and once more, the other way round."""
        event.stop()
        key = str(event.column_key.value)
        self.sort_key, self.reversed = key, key == self.sort_key and not self.reversed
        self._rebuild()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Tell the screen."""
        event.stop()
        self.post_message(self.Chosen(self, self.chosen))


def kept_place(before: Sequence[str], place: int, now: Sequence[str]) -> int:
    """Where the cursor goes that was on a row of `before`: to the same; if that is gone, to the one
    that has come into its place, or else to the one above."""
    places = {key: number for number, key in enumerate(now)}
    for key in (*before[place:], *reversed(before[:place])):
        if key in places:
            return places[key]
    return 0

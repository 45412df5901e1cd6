"""Steps to look at before they are done: a table, and below it all about the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical

from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource import ResourceSpec, Row
from mobyshell.widgets.resource_table import ResourceTable


class StepList(Vertical):
    """Rows, and a text for each of them, in the same order."""

    def __init__(self, spec: ResourceSpec, **more: Any) -> None:
        super().__init__(**more)
        self._spec = spec
        self._texts: dict[str, str] = {}

    def compose(self) -> ComposeResult:
        yield Listing(self._spec)
        yield RecordView()

    @property
    def table(self) -> ResourceTable:
        """The table."""
        return self.query_one(ResourceTable)

    @property
    def text(self) -> str:
        """What is said of the step under the cursor."""
        return self.query_one(RecordView).text

    def show(self, rows: Sequence[Row], texts: Sequence[str]) -> None:
        """Show these steps."""
        keys = [str(row[self._spec.key]) for row in rows]
        self._texts = dict(zip(keys, texts, strict=True))
        self.query_one(Listing).set_rows(rows)
        self._explain()

    def say(self, sentence: str) -> None:
        """No steps, and why."""
        self._texts = {}
        self.query_one(Listing).say(sentence)
        self._explain()

    @on(ResourceTable.Chosen)
    def chosen(self, event: ResourceTable.Chosen) -> None:
        """All about this one."""
        event.stop()
        self._explain()

    @on(ResourceTable.RowSelected)
    def selected(self, event: ResourceTable.RowSelected) -> None:
        """Enter goes nowhere from here."""
        event.stop()

    def _explain(self) -> None:
        self.query_one(RecordView).say(self._texts.get(self.table.chosen or "", ""))

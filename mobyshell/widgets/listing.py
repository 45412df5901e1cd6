"""A table, or in its place the sentence that says why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical

from mobyshell.widgets.resource import ResourceSpec, Row
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import StandIn


class Listing(Vertical):
    """Rows of a `ResourceSpec`; where there are none, its `empty` sentence, or what failed."""

    def __init__(self, spec: ResourceSpec, **more: Any) -> None:
        super().__init__(**more)
        self.spec = spec

    def compose(self) -> ComposeResult:
        yield StandIn()
        yield ResourceTable(self.spec)

    @property
    def table(self) -> ResourceTable:
        """The table."""
        return self.query_one(ResourceTable)

    def set_rows(self, rows: Sequence[Row]) -> None:
        """Show exactly these rows."""
        self.table.set_rows(rows)
        self._sentence("" if rows else self.spec.empty)

    def say(self, sentence: str) -> None:
        """No rows, and why; and no filter, which was of others."""
        self.table.query_text = ""
        self.table.set_rows([])
        self._sentence(sentence)

    def _sentence(self, text: str) -> None:
        self.query_one(StandIn).instead_of(self.table, text)

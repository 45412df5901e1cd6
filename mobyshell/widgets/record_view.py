"""A text to read: all that is known of one thing."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static


class RecordView(VerticalScroll):
    """Lines of `name: value`, scrolled like everything else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="record.down"),
        Binding("k", "scroll_up", "Up", show=False, id="record.up"),
        Binding("G", "scroll_end", "Last", show=False, id="record.last"),
    ]

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    @property
    def text(self) -> str:
        """What is shown."""
        return str(self.query_one(Static).content)

    def say(self, sentence: str) -> None:
        """Show this text."""
        self.query_one(Static).update(sentence)

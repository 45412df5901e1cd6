"""A text to read: all that is known of one thing."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Static

from mobyshell.widgets.folded import Folded


class RecordView(VerticalScroll):
    """Lines of `name: value`, folded to the width, scrolled like everything else."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("j", "scroll_down", "Down", show=False, id="record.down"),
        Binding("k", "scroll_up", "Up", show=False, id="record.up"),
        Binding("G", "scroll_end", "Last", show=False, id="record.last"),
    ]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.text = ""
        """What is shown."""

    def compose(self) -> ComposeResult:
        yield Static("", markup=False)

    def say(self, sentence: str) -> None:
        """Show this text; saying the same again costs nothing."""
        if sentence != self.text:
            self.text = sentence
            self.query_one(Static).update(Folded(sentence))

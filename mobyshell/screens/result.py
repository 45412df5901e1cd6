"""What a command said: text, a table, or lines that keep coming."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Label, Log


class ResultScreen(ModalScreen[None]):
    """Shows lines; those that come one by one are read in a thread until the screen is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", id="result.leave"),
        Binding("c", "copy", "Copy", id="result.copy"),
        Binding("j", "down", show=False, id="result.down"),
        Binding("k", "up", show=False, id="result.up"),
    ]

    def __init__(self, title: str, lines: Iterable[str]) -> None:
        super().__init__()
        self.heading = title
        self._source = lines
        self._lines: list[str] = []
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            yield Label(self.heading, classes="title", markup=False)
            yield Log(id="result", highlight=False, max_lines=20_000)
            yield Footer()

    def on_mount(self) -> None:
        self.query_one(Log).focus()
        if isinstance(self._source, list):
            self._add(self._source)
            self.query_one(Log).scroll_home(animate=False)
        else:
            self._follow()

    @work(thread=True, exit_on_error=False)
    def _follow(self) -> None:
        for line in self._source:
            if self._left.is_set():
                return
            self.app.call_from_thread(self._add, line.splitlines())

    def _add(self, lines: list[str]) -> None:
        self._lines += lines
        self.query_one(Log).write_lines(lines)

    def action_leave(self) -> None:
        """Back to where we were."""
        self._left.set()
        close = getattr(self._source, "close", None)
        if close is not None and not isinstance(self._source, list):
            try:
                close()
            except ValueError:
                pass  # it is running in the thread just now, which will look at the event
        self.dismiss()

    def action_copy(self) -> None:
        """To the clipboard of the terminal (OSC 52)."""
        self.app.copy_to_clipboard("\n".join(self._lines))
        self.notify(f"{len(self._lines)} lines copied")

    def action_down(self) -> None:
        """Vim movement."""
        self.query_one(Log).scroll_down(animate=False)

    def action_up(self) -> None:
        """Vim movement."""
        self.query_one(Log).scroll_up(animate=False)

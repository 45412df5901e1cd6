"""What a command said: text, a table, or lines that keep coming."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Footer, Label, Log

from mobyshell.core.errors import MobyshellError


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

    def _follow(self) -> None:
        """In a thread: an answer that keeps coming may never end."""
        loop = asyncio.get_running_loop()

        def read() -> None:
            last = []
            try:
                for line in self._source:
                    if self._left.is_set():
                        return
                    loop.call_soon_threadsafe(self._add, line.splitlines())
            except MobyshellError as error:
                last = ["", f"✗ {error.message}", *([error.hint] if error.hint else [])]
            except Exception as error:
                last = ["", f"✗ an internal error: {type(error).__name__}: {error}"]
            loop.call_soon_threadsafe(self._add, last or ["", "(the end)"])

        def guarded() -> None:
            try:
                read()
            except RuntimeError:
                pass  # the workbench was left: there is no loop, and nobody who reads

        threading.Thread(target=guarded, daemon=True, name="result").start()

    def _add(self, lines: list[str]) -> None:
        if not self.is_attached:
            return
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

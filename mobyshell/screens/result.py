"""What a command said: text, a table, or lines that keep coming."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Label

from mobyshell.commands.output import clean
from mobyshell.core.errors import MobyshellError
from mobyshell.widgets.dialog import Dialog
from mobyshell.widgets.key_bar import KeyBar
from mobyshell.widgets.lines import Lines


class ResultScreen(Dialog[None]):
    """Shows lines; those that come one by one are read in a thread until the screen is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "leave", "Back", id="result.leave"),
        Binding("c", "copy", "Copy", id="result.copy"),
    ]

    def __init__(
        self, title: str, lines: Iterable[str], *, wrap: bool = True,
        leave: Callable[[], object] | None = None,
    ) -> None:  # fmt: skip
        """`leave` is called when the screen is left, and ends the lines."""
        super().__init__()
        self._leave = leave
        self.heading, self._wrap = title, wrap
        self._source = lines
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        with Vertical(classes="page"):
            yield Label(self.heading, classes="title", markup=False)
            yield Lines(wrap=self._wrap, id="result")
            yield KeyBar(id="keys")

    def on_mount(self) -> None:
        self.query_one(Lines).focus()
        if isinstance(self._source, list):
            self._add(self._source)
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
        view = self.query_one(Lines)
        # what it says may be a container's words: shown, not obeyed
        shown = [clean(line.expandtabs(4)) for line in lines]
        view.add_lines(shown, to_end=view.at_end and not isinstance(self._source, list))

    def action_leave(self) -> None:
        """Back to where we were."""
        self._left.set()
        if self._leave is not None:
            self._leave()
        close = getattr(self._source, "close", None)
        if close is not None and not isinstance(self._source, list):
            try:
                close()
            except ValueError:
                pass  # it is running in the thread just now, which will look at the event
        self.dismiss()

    def action_copy(self) -> None:
        """To the clipboard of the terminal (OSC 52)."""
        lines = list(self.query_one(Lines).kept)
        self.app.copy_to_clipboard("\n".join(lines))
        self.notify(f"{len(lines)} lines copied")

"""A terminal in a tab: what is attached to it, and what is said where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from mobyshell.core.tasks.service import Attachment
from mobyshell.widgets.background import Failed, in_thread
from mobyshell.widgets.terminal import TerminalView


class TerminalPane(Vertical):
    """Shows what is attached; `nothing` where nothing is."""

    @dataclass
    class Left(Message):
        """The keyboard is the workbench's again."""

    def __init__(self, nothing: str, **more: Any) -> None:
        super().__init__(**more)
        self._nothing = nothing
        self._what = ""

    def compose(self) -> ComposeResult:
        yield Static(self._nothing, id="terminal-title", markup=False)
        yield TerminalView()

    @property
    def view(self) -> TerminalView:
        """The terminal itself."""
        return self.query_one(TerminalView)

    @property
    def place(self) -> tuple[int, int]:
        """Rows and columns for a program."""
        return max(self.view.size.height, 2), max(self.view.size.width, 10)

    def open(self, what: str, connect: Callable[[], Attachment]) -> None:
        """Attach to what `connect` makes, in a thread."""

        self._what = what

        async def opening() -> None:
            try:
                attachment = await in_thread(connect)
            except Exception as error:
                self._tell(self._nothing)
                self.post_message(Failed("opening the terminal", error))
                self.post_message(self.Left())
            else:
                self._tell(f"{what}: ctrl+] leaves it open, ctrl+p ctrl+q detaches")
                self.view.connect(attachment)
                self.view.focus()

        self._tell(f"{what}: opening …")
        self.run_worker(opening(), group="terminal", exclusive=True, exit_on_error=False)

    def _tell(self, text: str) -> None:
        self.query_one("#terminal-title", Static).update(text)

    @on(TerminalView.Ended)
    def ended(self, event: TerminalView.Ended) -> None:
        """Nobody is at the other end any more."""
        self._tell(self.parting(event.detached))
        if self.view.has_focus:
            self.post_message(self.Left())

    def parting(self, detached: bool) -> str:
        """What is said then; and of whom, who may not be looked at any more."""
        return f"{self._what}: " + ("detached, it runs on" if detached else "the process has ended")

    @on(TerminalView.Released)
    def released(self) -> None:
        """The terminal stays as it is."""
        self.post_message(self.Left())

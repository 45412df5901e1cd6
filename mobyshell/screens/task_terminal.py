"""The terminal of a task: a shell in it, or its own streams."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from mobyshell.core.tasks.service import Attachment, Tasks
from mobyshell.widgets.background import Failed, in_thread
from mobyshell.widgets.terminal import TerminalView

NOTHING = "No terminal is open: s opens a shell in the task, e one here, a attaches to its streams."


class TaskTerminal(Vertical):
    """Shows what is attached, and says so where nothing is."""

    @dataclass
    class Left(Message):
        """The keyboard is the workbench's again."""

    def __init__(self, tasks: Tasks, **more: Any) -> None:
        super().__init__(**more)
        self._tasks = tasks

    def compose(self) -> ComposeResult:
        yield Static(NOTHING, id="terminal-title", markup=False)
        yield TerminalView()

    @property
    def view(self) -> TerminalView:
        """The terminal itself."""
        return self.query_one(TerminalView)

    def open_shell(self, id: str) -> None:
        """A shell in the task."""
        rows, columns = max(self.view.size.height, 2), max(self.view.size.width, 10)

        def connect() -> Attachment:
            made = self._tasks.exec(
                id, ["sh"], terminal=True, stdin=True, env=["TERM=xterm-256color"], rows=rows,
                columns=columns,
            )  # fmt: skip
            return self._tasks.attach(id, exec_id=made.exec_id)

        self._open(f"a shell in {id}", connect)

    def open_attach(self, id: str) -> None:
        """The task's own streams."""
        self._open(f"the streams of {id}", lambda: self._tasks.attach(id))

    def _open(self, what: str, connect: Callable[[], Attachment]) -> None:
        async def opening() -> None:
            try:
                attachment = await in_thread(connect)
            except Exception as error:
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
        self._tell("detached: it runs on" if event.detached else "the process has ended")
        if self.view.has_focus:
            self.post_message(self.Left())

    @on(TerminalView.Released)
    def released(self) -> None:
        """The terminal stays as it is."""
        self.post_message(self.Left())

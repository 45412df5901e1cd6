"""The terminal of a task: a shell in it, or its own streams."""

from __future__ import annotations

from typing import Any

from mobyshell.core.tasks.service import Attachment, Tasks
from mobyshell.screens.terminal_pane import TerminalPane

NOTHING = "No terminal is open: s opens a shell in the task, e one here, a attaches to its streams."


class TaskTerminal(TerminalPane):
    """A `TerminalPane` that knows tasks."""

    def __init__(self, tasks: Tasks, **more: Any) -> None:
        super().__init__(NOTHING, **more)
        self._tasks = tasks

    def open_shell(self, id: str) -> None:
        """A shell in the task."""
        rows, columns = self.place

        def connect() -> Attachment:
            made = self._tasks.exec(
                id, ["sh"], terminal=True, stdin=True, env=["TERM=xterm-256color"], rows=rows,
                columns=columns,
            )  # fmt: skip
            return self._tasks.attach(id, exec_id=made.exec_id)

        self.open(f"a shell in {id}", connect)

    def open_attach(self, id: str) -> None:
        """The task's own streams."""
        self.open(f"the streams of {id}", lambda: self._tasks.attach(id))

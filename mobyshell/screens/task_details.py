"""All about one task, in tabs; each is read when it is looked at, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.core.runtime import Host
from mobyshell.core.tasks.service import TaskInfo, Tasks
from mobyshell.screens.session import said
from mobyshell.screens.task_reading import LogReader, Reader, Sayer, Show
from mobyshell.screens.task_rows import DIFFERENCES, PROCESSES
from mobyshell.screens.task_terminal import TaskTerminal
from mobyshell.screens.terminal_pane import TerminalPane
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.log_view import LogView
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.tabs import Tabbed, tab_bindings

TABS = {"logs": "logs", "ps": "processes", "trace": "explain", "diff": "diff", "inspect": "inspect"}
"""The tab of each verb that looks."""

READING = "reading about the task"


class TaskDetails(Tabbed):
    """Logs, processes, explain, diff, inspect, terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("details")]

    @dataclass
    class TabRead(Message):
        """A tab's content was read; `show` puts it on the screen."""

        task: str
        tab: str
        show: Show

    @dataclass
    class Left(Message):
        """The person is done here."""

    def __init__(self, tasks: Tasks, host: Callable[[], Host | None], **more: Any) -> None:
        super().__init__(**more)
        self._tasks = tasks
        self._reader = Reader(tasks, host)
        self._info: TaskInfo | None = None

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="logs"):
            with TabPane("Logs", id="logs"):
                yield LogView()
            with TabPane("Processes", id="processes"):
                yield Listing(PROCESSES)
            with TabPane("Explain", id="explain"):
                yield PlanView()
            with TabPane("Diff", id="diff"):
                yield Listing(DIFFERENCES)
            with TabPane("Inspect", id="inspect"):
                yield RecordView()
            with TabPane("Terminal", id="terminal"):
                yield TaskTerminal(self._tasks)

    def on_mount(self) -> None:
        log = LogReader(self._tasks, self.query_one(LogView))
        self._log = log
        self._panes: dict[str, tuple[Sayer, Callable[[TaskInfo], Show]]] = {}
        for tab, kind, read in (
            ("processes", Listing, self._reader.processes), ("explain", PlanView, self._reader.explain),
            ("diff", Listing, self._reader.diff), ("inspect", RecordView, self._reader.inspect),
        ):  # fmt: skip
            pane: Any = self.query_one(f"#{tab}").query_one(kind)
            self._panes[tab] = pane, partial(read, view=pane)
        self._panes["logs"] = self.query_one(LogView), log

    @property
    def terminal(self) -> TaskTerminal:
        """The terminal tab."""
        return self.query_one(TaskTerminal)

    # reading

    def show(self, info: TaskInfo | None) -> None:
        """Another task, or news of the same; read once the cursor rests."""
        before, self._info = self._info, info
        if info is None or before is None or info.id != before.id:
            self._log.forget()
            for pane, _ in self._panes.values():  # nothing of another task under this one's name
                pane.say("…" if info else "No task is chosen.")
        if info is None or info != before:
            self.refresh_soon()

    def refresh_soon(self) -> None:
        """Read what is looked at, in a moment."""
        self.soon(self._refresh)

    def tick(self) -> None:
        """Once a second while something runs: what moves on its own is read again."""
        running = self._info is not None and self._info.status == "running"
        if running and self.display and self.tab in ("logs", "processes"):
            self._refresh()

    @on(TabbedContent.TabActivated)
    def activated(self) -> None:
        """Another tab is looked at."""
        self._refresh()

    def _refresh(self) -> None:
        if self._info is not None and self.tab in self._panes:
            self._read(self._info, self.tab)

    @background(READING)
    def _read(self, info: TaskInfo, tab: str) -> Message:
        return self.TabRead(info.id, tab, self._panes[tab][1](info))

    @on(TabRead)
    def read(self, event: TabRead) -> None:
        """Show it, unless another task or tab is looked at by now."""
        event.stop()
        if self._info is not None and event.task == self._info.id and event.tab == self.tab:
            event.show()

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said in its own tab."""
        if event.what == READING and self.tab in self._panes:
            event.stop()
            self._panes[self.tab][0].say(said(self.app, event))

    # moving about

    @on(TerminalPane.Left)
    def terminal_left(self, event: TerminalPane.Left) -> None:
        """Back to the list."""
        event.stop()
        self.post_message(self.Left())

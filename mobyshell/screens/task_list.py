"""The live table of tasks: listed when something happens, measured while somebody looks."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.service import Stats, TaskInfo
from mobyshell.screens.session import Session, said
from mobyshell.screens.task_rows import TASKS, rate, task_rows
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence

SOON = 0.05
"""Seconds after an event until the tasks are listed: several at once are one reason."""

AGAIN = 2.0
"""Seconds after a failed listing until the next."""

LISTING = "listing the tasks"


class TaskList(Vertical):
    """Which tasks there are, and what they use."""

    @dataclass
    class Changed(Message):
        """The tasks were listed anew."""

        tasks: list[TaskInfo]

    @dataclass
    class Happened(Message):
        """Something happened to a task; "": perhaps to any."""

        id: str

    @dataclass
    class Measured(Message):
        """The counters of running tasks were read."""

        stats: dict[str, Stats]

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(**more)
        self.session = session
        self.infos: dict[str, TaskInfo] = {}
        self._before: dict[str, Stats] = {}
        self._rates: dict[str, dict[str, Any]] = {}
        self._wanted = ""
        self._soon: Timer | None = None
        self._trouble = ""
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        yield Static(id="trouble", classes="hidden", markup=False)
        yield ResourceTable(TASKS, id="tasks")
        yield Sentence(id="empty")

    def on_mount(self) -> None:
        self.ticker = self.set_interval(1.0, self._measure, pause=True)
        threading.Thread(target=self._listen, daemon=True, name="task-events").start()

    def on_unmount(self) -> None:
        self._left.set()

    @property
    def table(self) -> ResourceTable:
        """The table itself."""
        return self.query_one(ResourceTable)

    @property
    def chosen(self) -> TaskInfo | None:
        """The task under the cursor."""
        return self.infos.get(self.table.chosen or "")

    def choose(self, id: str) -> None:
        """Put the cursor on a task, as soon as it is there."""
        self._wanted = id
        self.table.choose(id)
        self.refresh_list()

    def filter(self, text: str) -> None:
        """Show only tasks that match."""
        self.table.filter(text)
        self._say_empty()

    # listing

    def _listen(self) -> None:
        """In a thread: every event of a task is a reason to look again, and so is a gap in them."""
        while not self._left.is_set():
            try:
                for event in self.session.tasks.events(
                    lambda: self.post_message(self.Happened(""))
                ):
                    if self._left.is_set():
                        return
                    if event.topic.startswith("/tasks/"):
                        self.post_message(self.Happened(event.id))
            except MobyshellError:
                pass  # the shim is between two lives
            except Exception as error:
                if not self._left.is_set():
                    self.post_message(Failed("following the events", error))
                    self._left.wait(30.0)
            self._left.wait(1.0)

    @on(Happened)
    def happened(self) -> None:
        """List again, in a moment."""
        if self._soon is None:
            self._soon = self.set_timer(SOON, self._list_now)

    def _list_now(self) -> None:
        self._soon = None
        self.refresh_list()

    @background(LISTING)
    def refresh_list(self) -> Message:
        """List the tasks."""
        return self.Changed(self.session.tasks.ls())

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Tasks that cannot be listed are not tasks that are not there: what was known stays."""
        if event.what != LISTING:
            return
        event.stop()
        if repr(event.error) != self._trouble:
            self._trouble = repr(event.error)
            text = f"✗ the tasks cannot be listed: {said(self.app, event)}"
            self.query_one("#trouble", Static).update(text)
        self.query_one("#trouble").remove_class("hidden")
        self._say_empty()
        if self._soon is None:
            self._soon = self.set_timer(AGAIN, self._list_now, name="again")

    @on(Changed)
    def listed(self, event: Changed) -> None:
        """Show the tasks."""
        self._trouble = ""
        self.query_one("#trouble").add_class("hidden")
        self.infos = {one.id: one for one in event.tasks}
        self._rates = {id: one for id, one in self._rates.items() if id in self.infos}
        now = self.session.context.clock.now_ns()
        self.table.set_rows(task_rows(event.tasks, self._rates, now))
        self._say_empty()
        self.tick()
        if self._wanted in self.infos:
            self.table.choose(self._wanted)
            self._wanted = ""  # from now on the person moves the cursor

    def _say_empty(self) -> None:
        """A table without rows says why."""
        text = "" if self.table.fitting or self._trouble else TASKS.empty
        if text and self.infos:
            text = f"No task matches “{self.table.query_text}”: / and esc show all."
        self.query_one(Sentence).say(text)
        self.table.set_class(bool(text), "hidden")

    # measuring

    def tick(self) -> None:
        """Measure once a second while something runs and somebody looks."""
        if self.screen.is_current and any(one.status == "running" for one in self.infos.values()):
            self.ticker.resume()
        else:
            self.ticker.pause()

    def _measure(self) -> None:
        first = self.table.scroll_offset.y
        seen = self.table.shown[first : first + self.table.size.height + 1]
        self._read([id for id in seen if self.infos[id].status == "running"])

    @background("measuring the tasks")
    def _read(self, ids: list[str]) -> Message:
        found = {}
        for id in ids:
            try:
                found[id] = self.session.tasks.stats(id)
            except MobyshellError:
                continue  # it has just ended
        return self.Measured(found)

    @on(Measured)
    def measured(self, event: Measured) -> None:
        """Show the figures, cell by cell."""
        now = self.session.context.clock.now_ns()
        for id, stats in event.stats.items():
            info = self.infos.get(id)
            if info is None:
                continue
            self._rates[id] = rate(self._before.get(id), stats)
            uptime = now - info.started_ns if info.started_ns else None
            self.table.update_row(id, uptime=uptime, **self._rates[id])
        self._before = event.stats

"""The tasks: a live table, and all about the one under the cursor."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static, TabbedContent

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.service import Stats, TaskInfo
from mobyshell.screens.base import MobyScreen
from mobyshell.screens.session import said, suspended
from mobyshell.screens.task_details import TaskDetails
from mobyshell.screens.task_rows import TASKS, rate, task_rows
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.resource_table import ResourceTable

SOON = 0.05
"""Seconds after an event until the tasks are listed: several at once are one reason."""

AGAIN = 2.0
"""Seconds after a failed listing until the next."""

SIGNALS = ("TERM", "KILL", "INT", "HUP", "QUIT", "USR1", "USR2", "STOP", "CONT")


class TasksScreen(MobyScreen):
    """Tasks."""

    NAME = "tasks"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "details", "Details", show=False, id="task.details"),
        Binding("s", "shell", "Shell", id="task.shell"),
        Binding("S", "act('start')", "Start", show=False, id="task.start"),
        Binding("l", "tab('logs')", "Logs", id="task.logs"),
        Binding("y", "tab('explain')", "Explain", id="task.explain"),
        Binding("d", "tab('diff')", "Diff", id="task.diff"),
        Binding("i", "tab('inspect')", "Inspect", show=False, id="task.inspect"),
        Binding("a", "attach", "Attach", show=False, id="task.attach"),
        Binding("e", "exec_tab", "Shell in a tab", show=False, id="task.exec"),
        Binding("p", "pause", "Pause", show=False, id="task.pause"),
        Binding("K", "kill", "Kill", id="task.kill"),
        Binding("D", "delete", "Delete", show=False, id="task.delete"),
        Binding("x", "menu", "Actions", id="task.menu"),
        Binding("c", "copy", "Copy", show=False, id="task.copy"),
        Binding("escape", "back", "Back", show=False, id="task.back"),
    ]

    @dataclass
    class Read(Message):
        """The tasks were listed."""

        tasks: list[TaskInfo]

    @dataclass
    class Measured(Message):
        """The counters of running tasks were read."""

        stats: dict[str, Stats]

    @dataclass
    class Happened(Message):
        """Something happened to a task; "": perhaps to any."""

        id: str

    def __init__(self, session: Any) -> None:
        super().__init__(session)
        self._infos: dict[str, TaskInfo] = {}
        self._before: dict[str, Stats] = {}
        self._rates: dict[str, dict[str, Any]] = {}
        self._wanted = ""
        self._stop = threading.Event()
        self._soon: Timer | None = None
        self._trouble = ""

    def body(self) -> ComposeResult:
        with Container(id="tasks-body"):
            with Container(id="list"):
                yield Static(id="trouble", classes="hidden", markup=False)
                yield ResourceTable(TASKS, id="tasks")
                yield Static(TASKS.empty, id="empty", classes="hidden", markup=False)
            yield TaskDetails(self.session.tasks, self.session.context.host_or_none, id="details")

    def on_mount(self) -> None:
        super().on_mount()
        self._ticker = self.set_interval(1.0, self._measure, pause=True)
        threading.Thread(target=self._listen, daemon=True, name="task-events").start()
        self.query_one("#tasks").focus()

    def on_unmount(self) -> None:
        self._stop.set()

    def on_screen_resume(self) -> None:
        """Seen again: what happened meanwhile?"""
        self._list()
        self._tick()

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is measured."""
        self._ticker.pause()

    # what is known

    def _listen(self) -> None:
        """In a thread: every event of a task is a reason to look again, and so is a gap in them."""
        while not self._stop.is_set():
            try:
                for event in self.session.tasks.events(
                    lambda: self.post_message(self.Happened(""))
                ):
                    if self._stop.is_set():
                        return
                    if event.topic.startswith("/tasks/"):
                        self.post_message(self.Happened(event.id))
            except MobyshellError:
                pass  # the shim is between two lives
            except Exception as error:
                if not self._stop.is_set():
                    self.post_message(Failed("following the events", error))
                    self._stop.wait(30.0)
            self._stop.wait(1.0)

    @on(Happened)
    def happened(self, event: Happened) -> None:
        """List again; several events at once are one reason."""
        if self._soon is None:
            self._soon = self.set_timer(SOON, self._list_now)
        if event.id == self._wanted:
            self.details.refresh_soon()

    def _list_now(self) -> None:
        self._soon = None
        self._list()

    @background("listing the tasks")
    def _list(self) -> Message:
        return self.Read(self.session.tasks.ls())

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Tasks that cannot be listed are not tasks that are not there: what was known stays."""
        if event.what != "listing the tasks":
            return
        event.stop()
        if repr(event.error) != self._trouble:
            self._trouble = repr(event.error)
            text = f"✗ the tasks cannot be listed: {said(self.moby, event)}"
            self.query_one("#trouble", Static).update(text)
        self.query_one("#trouble").remove_class("hidden")
        self.query_one("#empty").add_class("hidden")
        if self._soon is None:
            self._soon = self.set_timer(AGAIN, self._list_now, name="again")

    @on(Read)
    def listed(self, event: Read) -> None:
        """Show the tasks."""
        self._trouble = ""
        self.query_one("#trouble").add_class("hidden")
        self._infos = {one.id: one for one in event.tasks}
        self._rates = {id: one for id, one in self._rates.items() if id in self._infos}
        self._show_rows()
        self.query_one("#empty").set_class(bool(self._infos), "hidden")
        self._tick()
        if self._wanted:
            self.table.choose(self._wanted)
        running = sum(one.status == "running" for one in event.tasks)
        self.crumb(f"{len(event.tasks)} tasks, {running} running")
        self.details.update_task(self._infos.get(self.table.chosen or ""))

    def _show_rows(self) -> None:
        now = self.session.context.clock.now_ns()
        self.table.set_rows(task_rows(list(self._infos.values()), self._rates, now))

    def _tick(self) -> None:
        """Measure once a second while something runs and somebody looks."""
        if self.is_current and any(one.status == "running" for one in self._infos.values()):
            self._ticker.resume()
        else:
            self._ticker.pause()

    def _measure(self) -> None:
        first = self.table.scroll_offset.y
        seen = self.table.shown[first : first + self.table.size.height + 1]
        running = [id for id in seen if self._infos[id].status == "running"]
        self._read_stats(running)

    @background("measuring the tasks")
    def _read_stats(self, ids: list[str]) -> Message:
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
            info = self._infos.get(id)
            if info is None:
                continue
            self._rates[id] = rate(self._before.get(id), stats)
            uptime = now - info.started_ns if info.started_ns else None
            self.table.update_row(id, uptime=uptime, **self._rates[id])
        self._before = event.stats
        self.details.tick()

    # the person

    @property
    def table(self) -> ResourceTable:
        return self.query_one("#tasks", ResourceTable)

    @property
    def details(self) -> TaskDetails:
        return self.query_one(TaskDetails)

    @property
    def subject(self) -> tuple[str, str] | None:
        """What the command palette is about."""
        return ("task", self.table.chosen) if self.table.chosen else None

    def choose(self, id: str) -> None:
        """Put the cursor on a task, as soon as it is there."""
        self._wanted = id
        self.table.choose(id)
        self._list()

    @on(ResourceTable.Chosen, "#tasks")
    def chosen(self, event: ResourceTable.Chosen) -> None:
        """All about another one."""
        if event.key is not None:
            self._wanted = event.key
        self.details.show_task(self._infos.get(event.key or ""))

    @on(ResourceTable.RowSelected, "#tasks")
    def selected(self) -> None:
        """Enter."""
        self.action_details()

    @property
    def filter_text(self) -> str:
        return self.table.query_text

    def set_filter(self, text: str) -> None:
        self.table.filter(text)

    def action_details(self) -> None:
        """Into the details."""
        self.add_class("detailed")
        self.details.focus_content()

    def action_back(self) -> None:
        """Out of the details."""
        self.remove_class("detailed")
        self.table.focus()

    def action_tab(self, name: str) -> None:
        """Show a tab of the details."""
        self.details.query_one(TabbedContent).active = name
        self.action_details()

    def _perform(self, *words: str) -> None:
        self.session.perform(self.moby, words, self._list)

    def action_act(self, verb: str) -> None:
        """A verb on the marked tasks, or the one under the cursor."""
        if self.table.subjects:
            self._perform("task", verb, *self.table.subjects)

    def action_pause(self) -> None:
        """Freeze, or let run again."""
        info = self._infos.get(self.table.chosen or "")
        if info is not None:
            self.action_act("resume" if info.status == "paused" else "pause")

    def action_kill(self) -> None:
        """Choose a signal, and send it."""
        id = self.table.chosen
        if id is None:
            return

        def chosen(signal: str | None) -> None:
            if signal is not None:
                self._perform("task", "kill", id, signal)

        options = [(one, f"SIG{one}") for one in SIGNALS]
        self.app.push_screen(Choose(f"Send {id} which signal?", options), chosen)

    def action_delete(self) -> None:
        """Forget stopped tasks; kill those that run, after asking for their name."""
        subjects = self.table.subjects
        if subjects:
            alive = any(self._infos[one].status != "stopped" for one in subjects)
            self._perform("task", "delete", *(["--force"] if alive else []), *subjects)

    def action_shell(self) -> None:
        """A shell in the task, full screen; in a tab where the terminal cannot be handed over."""
        id = self.table.chosen
        if id is None:
            return
        if self.moby.can_suspend:
            line = self.session.command_line(["task", "exec", "-ti", id, "sh"])
            suspended(self.moby, line)
            self._list()
        else:
            self.action_exec_tab()

    def action_exec_tab(self) -> None:
        """A shell in the task, in the terminal tab."""
        if self.table.chosen is not None:
            self.action_tab("terminal")
            self.details.open_shell(self.table.chosen)

    def action_attach(self) -> None:
        """The task's own streams, in the terminal tab."""
        if self.table.chosen is not None:
            self.action_tab("terminal")
            self.details.open_attach(self.table.chosen)

    def action_menu(self) -> None:
        """Every verb for a task."""
        from mobyshell.commands.registry import verbs_of

        id = self.table.chosen
        if id is None:
            return
        fitting = [one for one in verbs_of("task").values()
                   if one.subject == "task" and one.verb not in ("exec", "top")]  # fmt: skip

        def chosen(verb: str | None) -> None:
            if verb is not None:
                self._perform("task", verb, id)

        options = [(one.verb, f"{one.verb:9} {one.summary}") for one in fitting]
        self.app.push_screen(Choose(id, options), chosen)

    def action_copy(self) -> None:
        """The id, to the clipboard."""
        if self.table.chosen is not None:
            self.app.copy_to_clipboard(self.table.chosen)
            self.notify(f"copied {self.table.chosen}")

"""All about one task, in tabs; each is read when it is looked at, in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, VerticalScroll
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static, TabbedContent, TabPane

from mobyshell.commands.output import record
from mobyshell.commands.results import Record
from mobyshell.commands.rows import task_row
from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import Event
from mobyshell.core.runtime import Host, Plan, make_plan
from mobyshell.core.tasks.service import Attachment, LogLine, TaskInfo, Tasks
from mobyshell.screens.task_rows import DIFFERENCES, PROCESSES, difference_rows, process_rows
from mobyshell.widgets.background import Failed, background, in_thread
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.log_view import LogView
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.terminal import TerminalView

PAUSE = 0.15
"""Seconds the cursor must rest on a task before its details are read."""

FIRST_LINES = 1000


@dataclass
class TabRead(Message):
    """A tab's content was read. `show` puts it on the screen."""

    task: str
    tab: str
    show: Callable[[], None]


class TaskDetails(Container):
    """Logs, processes, explain, diff, inspect, terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next_tab", "Next tab", show=False, id="details.next"),
        Binding("shift+tab", "next_tab(-1)", "Previous tab", show=False, id="details.previous"),
    ]

    def __init__(self, tasks: Tasks, host: Callable[[], Host | None], **more: Any) -> None:
        super().__init__(**more)
        self._tasks, self._host = tasks, host
        self._info: TaskInfo | None = None
        self._timer: Timer | None = None
        self._last_line = 0

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="logs"):
            with TabPane("Logs", id="logs"):
                yield LogView()
            with TabPane("Processes", id="processes"):
                yield Listing(PROCESSES, id="ps")
            with TabPane("Explain", id="explain"):
                yield PlanView()
            with TabPane("Diff", id="diff"):
                yield Listing(DIFFERENCES, id="differences")
            with TabPane("Inspect", id="inspect"), VerticalScroll():
                yield Static("", id="record", markup=False)
            with TabPane("Terminal", id="terminal"):
                yield TerminalView()

    @property
    def tab(self) -> str:
        return self.query_one(TabbedContent).active

    def show_task(self, info: TaskInfo | None) -> None:
        """Another task; read once the cursor rests."""
        same = info is not None and self._info is not None and info.id == self._info.id
        self._info = info
        if same:
            return
        self._last_line = 0
        self.query_one(LogView).clear()
        self.refresh_soon()

    def update_task(self, info: TaskInfo | None) -> None:
        """News of the same task."""
        changed = info is not None and self._info is not None and info.status != self._info.status
        self._info = info
        if changed:
            self.refresh_soon()

    def refresh_soon(self) -> None:
        """Read what is looked at, in a moment."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._refresh)

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
        if self._info is not None and self.tab != "terminal":
            self._read(self._info, self.tab, self._last_line)

    @background("reading about the task")
    def _read(self, info: TaskInfo, tab: str, last_line: int) -> Message:
        try:
            show = getattr(self, f"_read_{tab}")(info, last_line)
        except Exception as error:
            show = self._problem(tab, error)
        return TabRead(info.id, tab, show)

    @on(TabRead)
    def read(self, event: TabRead) -> None:
        """Show it, unless another task or tab is looked at by now."""
        event.stop()
        if self._info is not None and event.task == self._info.id and event.tab == self.tab:
            event.show()

    # in the thread: read, and return what shows it

    def _read_logs(self, info: TaskInfo, last_line: int) -> Callable[[], None]:
        tail = FIRST_LINES if not last_line else 10 * FIRST_LINES
        lines = list(self._tasks.logs(info.id, tail=tail, since_ns=last_line + 1))
        return lambda: self._add_lines(lines)

    def _add_lines(self, lines: list[LogLine]) -> None:
        view = self.query_one(LogView)
        view.say("" if lines or self._last_line else self._silence())
        new = [one for one in lines if one.time_ns > self._last_line]
        if new:
            self._last_line = new[-1].time_ns
            view.add(new)

    def _silence(self) -> str:
        """Why a task has no log."""
        if self._info is not None and self._info.terminal:
            return "No log: it has a terminal, whose output is live. Press a to attach."
        if self._info is not None and self._info.status == "created":
            return "Nothing yet: it is created, but not started. Press S to start it."
        return "It has written nothing."

    def _read_processes(self, info: TaskInfo, _: int) -> Callable[[], None]:
        rows = process_rows(self._tasks.ps(info.id))
        return lambda: self.query_one("#ps", Listing).set_rows(rows)

    def _read_explain(self, info: TaskInfo, _: int) -> Callable[[], None]:
        events = self._tasks.trace(info.id)
        plan = self._plan(info)
        return lambda: self._show_plan(plan, events)

    def _plan(self, info: TaskInfo) -> Plan | None:
        from mobyshell.core.oci import load_spec, with_process

        host = self._host()
        if host is None:
            return None
        directory = getattr(self._tasks, "directory", None)
        source = directory(info.id) if directory is not None else info.bundle
        spec = with_process(load_spec(source), args=info.args or None, terminal=info.terminal)
        return make_plan(spec, bundle=info.bundle, id=info.id, host=host)

    def _show_plan(self, plan: Plan | None, events: list[Event]) -> None:
        view = self.query_one(PlanView)
        if plan is None:
            view.say("no plan to show")
        else:
            view.show(plan, events)

    def _read_diff(self, info: TaskInfo, _: int) -> Callable[[], None]:
        rows = difference_rows(self._tasks.diff(info.id))
        return lambda: self.query_one("#differences", Listing).set_rows(rows)

    def _read_inspect(self, info: TaskInfo, _: int) -> Callable[[], None]:
        fields = task_row(info)
        for name in ("created", "started", "exited"):
            fields[name] = rfc3339(fields[name]) if fields[name] else None
        text = record(Record(fields))
        return lambda: self.query_one("#record", Static).update(text)

    def _problem(self, tab: str, error: Exception) -> Callable[[], None]:
        """What cannot be read is said in its own tab; a stopped task has no processes, say."""

        def show() -> None:
            words = self._why_not(tab, error)
            if tab == "logs":
                self.query_one(LogView).say(words)
            elif tab == "explain":
                self.query_one(PlanView).say(words)
            elif tab == "processes":
                self.query_one("#ps", Listing).say(words)
            elif tab == "diff":
                self.query_one("#differences", Listing).say(words)
            else:
                self.query_one("#record", Static).update(words)

        return show

    def _why_not(self, tab: str, error: Exception) -> str:
        """An error in the words of a pane; one of ours is written down as well."""
        if not isinstance(error, MobyshellError):
            self.post_message(Failed(f"reading the {tab}", error))
            return f"{type(error).__name__}: {error}"
        return f"{error.message}\n{error.hint}".strip()

    # the terminal

    def open_shell(self, id: str) -> None:
        """A shell in the task."""
        view = self.query_one(TerminalView)
        rows, columns = max(view.size.height, 2), max(view.size.width, 10)
        self._open(lambda: self._shell(id, rows, columns))

    def _shell(self, id: str, rows: int, columns: int) -> Attachment:
        env = ["TERM=xterm-256color"]
        made = self._tasks.exec(id, ["sh"], terminal=True, stdin=True, env=env, rows=rows,
                                columns=columns)  # fmt: skip
        return self._tasks.attach(id, exec_id=made.exec_id)

    def open_attach(self, id: str) -> None:
        """The task's own streams."""
        self._open(lambda: self._tasks.attach(id))

    def _open(self, connect: Callable[[], Attachment]) -> None:
        async def opening() -> None:
            try:
                attachment = await in_thread(connect)
            except Exception as error:
                self.post_message(Failed("opening the terminal", error))
            else:
                self._connect(attachment)

        self.run_worker(opening(), group="terminal", exit_on_error=False)

    def _connect(self, attachment: Attachment) -> None:
        view = self.query_one(TerminalView)
        view.connect(attachment)
        view.focus()

    @on(TerminalView.Ended)
    def ended(self, event: TerminalView.Ended) -> None:
        """Back to the list."""
        self.notify("detached; it runs on" if event.detached else "the process has ended")
        self.screen.query_one("#tasks").focus()

    @on(TerminalView.Released)
    def released(self) -> None:
        """The keyboard is the workbench's again."""
        self.screen.query_one("#tasks").focus()

    # moving about

    def focus_content(self) -> None:
        """Give the keyboard to what the tab shows."""
        pane = self.query_one(TabbedContent).active_pane
        if pane is not None:
            for one in pane.query("*"):
                if one.focusable:
                    one.focus()
                    return

    def action_next_tab(self, step: int = 1) -> None:
        """Round the tabs."""
        tabs = self.query_one(TabbedContent)
        names = [str(one.id) for one in tabs.query(TabPane)]
        tabs.active = names[(names.index(tabs.active) + step) % len(names)]
        self.focus_content()

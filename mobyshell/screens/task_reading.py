"""What the tabs of a task show: read in a thread, answered as something that puts it on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mobyshell.commands.output import record
from mobyshell.commands.results import Record
from mobyshell.commands.rows import task_row
from mobyshell.core.clock import rfc3339
from mobyshell.core.runtime import Host, Plan, make_plan
from mobyshell.core.tasks.service import LogLine, TaskInfo, Tasks
from mobyshell.screens.task_rows import difference_rows, process_rows
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.log_view import LogView
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.record_view import RecordView

FIRST_LINES = 1000
"""Lines of a log that are read at first; the log itself has them all."""

Show = Callable[[], None]


class Sayer(Protocol):
    """A pane that can show a sentence in the place of its content."""

    def say(self, sentence: str) -> None: ...


class LogReader:
    """Reads a log from where it was left."""

    def __init__(self, tasks: Tasks, view: LogView) -> None:
        self._tasks, self._view = tasks, view
        self._task, self._last_ns = "", 0

    def forget(self) -> None:
        """Another task's log is read from now on."""
        self._task, self._last_ns = "", 0
        self._view.clear()

    def __call__(self, info: TaskInfo) -> Show:
        """The lines since the last time."""
        last = self._last_ns
        tail = 10 * FIRST_LINES if last else FIRST_LINES
        lines = list(self._tasks.logs(info.id, tail=tail, since_ns=last + 1))
        return lambda: self._show(info, lines)

    def _show(self, info: TaskInfo, lines: list[LogLine]) -> None:
        new = [one for one in lines if one.time_ns > self._last_ns]
        self._view.say("" if new or self._last_ns else silence(info))
        if new:
            self._last_ns = new[-1].time_ns
            self._view.add(new)


def silence(info: TaskInfo) -> str:
    """Why a task has no log."""
    if info.terminal:
        return "No log: it has a terminal, whose output is live. Press a to attach to it."
    if info.status == "created":
        return "Nothing yet: it is created, but not started. Press S to start it."
    return "It has written nothing yet." if info.status == "running" else "It wrote nothing."


class Reader:
    """Reads everything else about a task."""

    def __init__(self, tasks: Tasks, host: Callable[[], Host | None]) -> None:
        self._tasks, self._host = tasks, host

    def processes(self, info: TaskInfo, view: Listing) -> Show:
        """Its processes. A task that has ended has none, and that is no failure."""
        if info.status in ("stopped", "restarting"):
            code = "" if info.exit_status is None else f", exit status {info.exit_status}"
            return lambda: view.say(f"No processes: it has ended{code}.")
        rows = process_rows(self._tasks.ps(info.id))
        return lambda: view.set_rows(rows)

    def explain(self, info: TaskInfo, view: PlanView) -> Show:
        """Its plan, and what became of each operation."""
        events = self._tasks.trace(info.id)
        plan = self._plan(info)
        if plan is None:
            return lambda: view.say("No plan: this machine cannot be looked at.")
        return lambda: view.show(plan, events)

    def _plan(self, info: TaskInfo) -> Plan | None:
        from mobyshell.core.oci import load_spec, with_process

        host = self._host()
        if host is None:
            return None
        directory = getattr(self._tasks, "directory", None)
        source = directory(info.id) if directory is not None else info.bundle
        spec = with_process(load_spec(source), args=info.args or None, terminal=info.terminal)
        return make_plan(spec, bundle=info.bundle, id=info.id, host=host)

    def diff(self, info: TaskInfo, view: Listing) -> Show:
        """The spec against the kernel."""
        if info.status in ("stopped", "restarting"):
            return lambda: view.say(
                "Nothing to compare: it has ended, and the kernel knows nothing of it any more."
            )
        rows = difference_rows(self._tasks.diff(info.id))
        return lambda: view.set_rows(rows)

    def inspect(self, info: TaskInfo, view: RecordView) -> Show:
        """All that is known."""
        fields = task_row(info)
        for name in ("created", "started", "exited"):
            fields[name] = rfc3339(fields[name]) if fields[name] else None
        text = record(Record(fields))
        return lambda: view.say(text)

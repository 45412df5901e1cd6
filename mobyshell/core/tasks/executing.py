"""A further process in a running task: streams first, then the runtime, beside it the record.

Owns the order, so that a death in the middle leaves nothing that looks finished: the files are put
together in `.making`, and appear in the task's directory once there is a process to be found by them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial

from mobyshell.core.oci import Process as SpecProcess
from mobyshell.core.oci import Spec
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.exec import ExecProcess, Repeat
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks.held import let_go
from mobyshell.core.tasks.making import owner_of
from mobyshell.core.tasks.paths import exec_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import Record, process_start, write_record
from mobyshell.core.tasks.runtimes import TaskRuntime
from mobyshell.core.tasks.streams import Ends
from mobyshell.core.tasks.tables import Tables, Task


class Coming:
    """A process on its way into a task, which counts it as beginning already; with its files in
    `directory`, and its streams."""

    def __init__(
        self, house: House, tables: Tables, task: Task, record: Record, directory: str, ends: Ends
    ) -> None:
        self._house, self._tables, self._task = house, tables, task
        self._record, self._directory, self._ends = record, directory, ends
        self._process: Process | None = None
        self.again: Repeat | None = None
        """How the same is executed again, where that is known."""

    def steps(
        self, execute: Callable[..., Steps[ExecProcess]], process: SpecProcess
    ) -> Steps[Process]:
        """In the tables, when its program runs. `execute`: a runtime's `exec`, which is told the rest."""
        try:
            made = yield from execute(
                self._record.id, process, stdio=Stdio(*self._ends.theirs),
                begun=self._begun,
            )  # fmt: skip
            if self._process is None:  # it was not there early enough
                self._begun(made)
        except BaseException:
            self._undo()
            raise
        finally:
            self._task.beginning -= 1
        self.again = made.again
        assert self._process is not None
        self._tables.add(self._process)
        self._process.watch()
        return self._process

    def _begun(self, made: ExecProcess) -> None:
        """All that can be done for a process whose program may not run yet. From now on a successor
        finds it."""
        house, record, ends = self._house, self._record, self._ends
        record.pid = made.pid
        record.pid_start = made.start or process_start(made.pid)
        record.created_ns = record.started_ns = house.clock.now_ns()
        write_record(self._directory, record, fresh=True)
        ends.close_theirs()
        final = exec_dir(house.state, record.namespace, record.id, record.exec_id)
        if made.master is not None:
            ends.ours["master"] = made.master
        self._process = Process(
            house, record.namespace, final, record, made.pidfd, ends.ours, self._tables.ended,
            fresh=True, kept=ends.kept, watched=False,
        )  # fmt: skip
        _put(self._directory, final)
        self._directory = final

    def _undo(self) -> None:
        """No process came of it, or none that lives."""
        if self._process is not None:
            self._process.came_to_nothing()
        else:
            self._ends.close()
        let_go(self._house.holder, self._record, self._ends.ours)
        shutil.rmtree(self._directory, ignore_errors=True)


def make_exec(
    house: House, tables: Tables, runtime: TaskRuntime, record: Record, process: SpecProcess,
    spec: Spec, *, rows: int = 0, columns: int = 0,
) -> Steps[tuple[Process, Repeat | None]]:  # fmt: skip
    """One more process in a running task, in the tables; and how the same is made again."""
    task = yield from tables.begin(record.namespace, record.id)
    try:
        directory, ends = house.stock.take(
            terminal=record.terminal, stdin=record.stdin, owner=owner_of(spec, process.user)
        )
    except BaseException:
        task.beginning -= 1
        raise
    coming = Coming(house, tables, task, record, directory, ends)
    made = yield from coming.steps(partial(runtime.exec, rows=rows, columns=columns), process)
    return made, coming.again


def _put(directory: str, final: str) -> None:
    """A process's files in their place; the first further one of a task makes the place, too."""
    try:
        os.rename(directory, final)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(final), 0o700, exist_ok=True)
        os.rename(directory, final)

"""Starting tasks again that have ended, as their policies want it.

Owns the timers between two runs. What is due is in the task's record, written together with how it
ended: a shim that dies at any moment leaves to its successor what to go on with. What a policy
wants is in `restarts`, how a task is made again in `making`.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mobyshell.core.errors import MobyshellError, WrongState
from mobyshell.core.events import TaskRestarting
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks.making import remake_task, start_task
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.restarts import LONGEST_MS
from mobyshell.core.tasks.runtimes import Runtimes, TaskRuntime
from mobyshell.core.tasks.tables import Tables

VERB = "restart"
"""What a task is busy with meanwhile."""


class Restarter:
    """Restarts the tasks of the tables. Tell it of each process that has ended, or was adopted."""

    def __init__(self, house: House, tables: Tables, runtimes: Runtimes) -> None:
        self._house, self._tables, self._runtimes = house, tables, runtimes

    def due(self, process: Process) -> None:
        """Start a task again when its record says so; nothing if it does not."""
        due = process.record.restart_ns
        if process.record.exec_id or not due:
            return
        # no later than any pause is long, whatever has happened to the clock
        left = min(max(0, due - self._house.clock.now_ns()) / 1e9, LONGEST_MS / 1000)
        self._house.loop.call_later(left, lambda: self._drive(process))

    def cancel(self, process: Process) -> bool:
        """Do not start a task again after all; False if it was not going to be."""
        record = process.record
        if not record.restart_ns or record.exit_status is None:
            return False
        record.restart_ns = 0
        process.save()
        return True

    def _drive(self, process: Process) -> None:
        if self._wanted(process):
            self._house.loop.drive(self.now(process), self._done)

    def _done(self, result: object, error: BaseException | None) -> None:
        self._tables.look()
        if error is not None and not isinstance(error, MobyshellError):
            raise error

    def now(self, process: Process) -> Steps[None]:
        """Start a task again at once. Its policy says what follows if that fails."""
        record = process.record
        yield from self._tables.alone(
            process.namespace, record.id, VERB, lambda: self._again(process)
        )

    def _wanted(self, process: Process) -> bool:
        """Whether it still is to be started again: it may be stopped or deleted by now."""
        record = process.record
        return bool(record.restart_ns) and self._tables.is_init(process)

    def _again(self, process: Process) -> Steps[None]:
        if not self._wanted(process):
            return
        runtime = self._runtimes.of(process.record)
        if process.record.exit_status is not None:
            try:
                process = yield from remake_task(self._house, self._tables, runtime, process)
            except (MobyshellError, OSError):  # which the runtime has told as an event
                self._failed(process)
                return
        try:
            yield from self._start(runtime, process)
        except WrongState:
            self._started_before(process)
        except MobyshellError:
            pass  # told as an event, too; and its end as every end

    def asked(self, process: Process) -> Steps[None]:
        """Run a task again because somebody wants it to be, and count from the beginning.

        WrongState while it lives; the errors of the runtime, with the task as it was.
        """
        record = process.record
        if process.alive:
            raise WrongState(f"{process.label} has not ended", hint="stop it first")
        runtime = self._runtimes.of(record)
        self.remember_root(process)
        record.restart_ns, record.stopped, record.pause_ms = self._house.clock.now_ns(), False, 0
        process.save()
        try:
            fresh = yield from remake_task(self._house, self._tables, runtime, process, restarts=0)
        except BaseException:
            record.restart_ns = 0
            process.save()
            raise
        yield from self._start(runtime, fresh)

    def _start(self, runtime: TaskRuntime, process: Process) -> Steps[None]:
        try:
            yield from start_task(self._house, runtime, process)
        except MobyshellError as error:
            if process.alive and not isinstance(error, WrongState):
                process.record.restart_ns = 0  # it stays created, for somebody to look at
                process.save()
            raise

    def remember_root(self, process: Process) -> None:
        """What a task's root is mounted from, for when it is made again."""
        record = process.record
        with suppress(MobyshellError):
            place = Path(self._house.state) / record.namespace
            record.rootfs = record.rootfs or list(states.read(place, record.id).root_mount)

    def _started_before(self, process: Process) -> None:
        """A shim has let its program go and died before it wrote that down; or it has ended, which
        is told elsewhere."""
        record = process.record
        if process.alive:
            record.started_ns, record.restart_ns = self._house.clock.now_ns(), 0
            process.save()

    def _failed(self, process: Process) -> None:
        """It could not be made: that counts as a run that failed."""
        record = process.record
        record.restarts += 1
        record.started_ns = 0
        record.next_run(self._house.clock.now_ns())
        process.save()
        if record.restart_ns:
            process.announce(TaskRestarting(record.restart, record.restarts + 1, record.pause_ms))
            self.due(process)

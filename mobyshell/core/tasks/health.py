"""Asking tasks whether they are well: their health checks, run by the shim.

Owns the timers and what is kept of the last checks (`health.json` beside the record). A check is one
more process in the task, which nobody is told of; how the task is stands in its record, written
before it is announced.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from mobyshell.core.errors import MobyshellError, WrongState
from mobyshell.core.events import TaskHealth
from mobyshell.core.oci import load_kept_spec
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks.executing import make_exec
from mobyshell.core.tasks.healthchecks import LOG, STARTING, Check, judged, read_log
from mobyshell.core.tasks.logs import LogReader, content
from mobyshell.core.tasks.paths import LOGS, container_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import PROBE, UNKNOWN_STATUS, Record, write_atomically
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.tables import Tables
from mobyshell.core.values import replace, variable

VERB = "health check"
"""What a task is busy with while one is made."""

_KEPT = 5
_OUTPUT = 4096
"""Characters of what one said."""


@variable
class _Probe:
    """One check that runs."""

    process: Process
    began_ns: int
    late: bool = False


class Health:
    """The checks of all tasks. Tell it of each that was started or adopted."""

    def __init__(self, house: House, tables: Tables, runtimes: Runtimes) -> None:
        self._house, self._tables, self._runtimes = house, tables, runtimes

    def begin(self, process: Process, check: Check) -> None:
        """Look after a task that runs."""
        record = process.record
        if not process.alive or not record.started_ns:
            return
        if not record.health:
            record.health, record.failing = STARTING, 0
            self._save(process)
        self._later(process, check)

    def forget(self, probe: Process) -> None:
        """A check of a shim that died: nobody waits for what it says."""
        self._kill(probe)
        self._when_ended(probe, lambda status: self._tables.drop(probe))

    def _later(self, process: Process, check: Check) -> None:
        pause = check.pause(process.record.health, self._age(process))
        self._house.loop.call_later(pause, lambda: self._ask(process, check))

    def _age(self, process: Process) -> float:
        return max(0, self._house.clock.now_ns() - process.record.started_ns) / 1e9

    def _here(self, process: Process) -> bool:
        return process.alive and self._tables.is_init(process)

    def _ask(self, process: Process, check: Check) -> None:
        if not self._here(process):
            return
        record, began = process.record, self._house.clock.now_ns()

        def made(probe: Process | None, error: BaseException | None) -> None:
            self._tables.look()
            if probe is not None:
                self._running(process, check, _Probe(probe, began))
            elif isinstance(error, (MobyshellError, OSError)):
                self._told(process, check, began, UNKNOWN_STATUS, str(error))
            elif error is not None:
                raise error
            else:
                self._later(process, check)

        # alone: who is frozen meanwhile would not come to be, and whoever waits for that would wait
        self._house.loop.drive(
            self._tables.alone(
                record.namespace, record.id, VERB, lambda: self._make(process, check)
            ),
            made,
        )

    def _make(self, init: Process, check: Check) -> Steps[Process | None]:
        """None if it is not to be asked now."""
        house, tables, record = self._house, self._tables, init.record
        if record.paused or not self._here(init):
            return None
        spec = load_kept_spec(container_dir(house.state, record.namespace, record.id))
        if spec.process is None:
            raise WrongState(f"task {record.id} has no process to take the environment from")
        asked = replace(spec.process, args=check.args, terminal=False)
        probe = Record(record.id, record.namespace, f"{PROBE}{house.clock.new_id()}",
                       args=list(check.args))  # fmt: skip
        tables.reserve(record.namespace, record.id, probe.exec_id)
        try:
            made, _ = yield from make_exec(
                house, tables, self._runtimes.of(record), probe, asked, spec
            )
            house.stock.fill()
            return made
        finally:
            tables.release(record.namespace, record.id, probe.exec_id)

    def _running(self, process: Process, check: Check, probe: _Probe) -> None:
        def too_long() -> None:
            probe.late = True
            self._kill(probe.process)

        timer = self._house.loop.call_later(check.timeout, too_long)

        def ended(status: int) -> None:
            timer.cancel()
            said = f"it took longer than {check.timeout:g} seconds" if probe.late else _said(
                probe.process
            )  # fmt: skip
            self._tables.drop(probe.process)
            status = UNKNOWN_STATUS if probe.late else status
            self._told(process, check, probe.began_ns, status, said)

        self._when_ended(probe.process, ended)

    def _when_ended(self, probe: Process, then: Callable[[int], None]) -> None:
        """Once its end is written down and all is closed."""
        status = probe.record.exit_status
        if status is not None:
            self._house.loop.call_soon(lambda: then(status))
        else:
            probe.waiters.append(lambda code: self._house.loop.call_soon(lambda: then(code)))

    def _kill(self, probe: Process) -> None:
        if probe.alive and probe.pidfd >= 0:
            with suppress(OSError):
                signal.pidfd_send_signal(probe.pidfd, signal.SIGKILL)

    def _told(self, process: Process, check: Check, began_ns: int, status: int, said: str) -> None:
        if not self._here(process):
            return
        record = process.record
        before = record.health
        record.health, record.failing = judged(
            check, before, record.failing, well=status == 0, age=self._age(process)
        )
        entry = {"start_ns": began_ns, "end_ns": self._house.clock.now_ns(), "exit_status": status,
                 "output": said[:_OUTPUT]}  # fmt: skip
        with suppress(OSError):  # being deleted, or no space: then not
            last = [*read_log(process.directory), entry][-_KEPT:]
            write_atomically(f"{process.directory}/{LOG}", json.dumps(last).encode())
        self._save(process)
        if record.health != before:
            process.announce(TaskHealth(record.health, record.failing, status))
        self._later(process, check)

    def _save(self, process: Process) -> None:
        with suppress(FileNotFoundError):  # being deleted
            process.save()


def _said(probe: Process) -> str:
    if not os.path.isdir(f"{probe.directory}/{LOGS}"):
        return ""
    reader = LogReader(f"{probe.directory}/{LOGS}")
    try:
        said = b"".join(content(line) for line in reader.read())
    finally:
        reader.close()
    return said[:_OUTPUT].decode("utf-8", "replace")

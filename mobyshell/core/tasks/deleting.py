"""delete: a task goes, with its container and all that is kept of it.

Owns the order, and what is done where records are lost: the shim's own (then the task is in no
table), or the runtime's. What the shim knows of the processes then, it tells the runtime.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mobyshell.core.errors import MobyshellError, NotFound, WrongState
from mobyshell.core.events import TaskDeleted
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.linux import procfs
from mobyshell.core.runtime import directories
from mobyshell.core.runtime.steps import Sleep, Steps
from mobyshell.core.tasks.paths import check_name, container_dir, task_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import UNKNOWN_STATUS, read_record
from mobyshell.core.tasks.restarting import Restarter
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.tables import Tables

_FORCE = "deleting it with --force ends what is left of it"


class Deleting:
    """Answers it for `verbs`."""

    def __init__(
        self, house: House, tables: Tables, runtimes: Runtimes, restarter: Restarter
    ) -> None:
        self._house, self._tables = house, tables
        self._runtimes, self._restarter = runtimes, restarter

    def delete(self, namespace: str, id: str, *, force: bool) -> Steps[Any]:
        """Delete a task; with `force` also one that runs, or whose records are damaged."""
        directory = task_dir(self._house.state, namespace, check_name(id))
        if self._tables.has(namespace, id) or not os.path.isdir(directory):
            return self._tables.alone(
                namespace, id, "delete", lambda: self._delete(namespace, id, force)
            )
        if not force:
            read_record(directory)  # it says what is wrong, if there is anything to be read
            raise MobyshellError(f"the record of task {id} is gone", hint=_FORCE)
        return self._delete_lost(namespace, id)

    def _delete(self, namespace: str, id: str, force: bool) -> Steps[Any]:
        process = self._tables.process(namespace, id)
        if force:
            self._restarter.cancel(process)
        elif process.record.restart_ns:
            raise WrongState(f"{process.label} is about to be started again",
                             hint="stop it first, or delete it with --force")  # fmt: skip
        task = self._tables.task(namespace, id)
        known = {
            one.record.pid: one.record.pid_start
            for one in (task.init, *task.execs.values())
            if one.alive
        }
        runtime = self._runtimes.of(process.record)
        try:
            yield from runtime.delete(id, force=force, known=known)
        except NotFound:
            if process.alive:
                raise MobyshellError(
                    f"the container of {process.label} has lost its record, and runs",
                    hint=_FORCE,
                ) from None
            # somebody else has deleted it, or it has lost its record: what is left of it can go
            yield from runtime.delete(id, force=True, known=known)
        status = yield from self._last_status(process)
        self._tables.remove(namespace, id)
        directory = container_dir(self._house.state, namespace, id)
        if os.path.lexists(directory):  # what we kept of one that could not be made again
            directories.forget(Path(directory))
        self._house.journal.emit(namespace, id, TaskDeleted(status))
        # once it is said, not before: whoever makes and deletes many is served first
        self._house.loop.call_later(0, lambda: self._runtimes.foresee(namespace))
        stopped = bool(process.record.restart) and force
        return {"exit_status": status, "store": process.record.store if stopped else ""}

    def _delete_lost(self, namespace: str, id: str) -> Steps[Any]:
        """A task whose record nobody could read, so that it is in no table."""
        known = {}
        for pid, pidfd in self._house.holder.processes(f"{namespace}/{id}/").items():
            try:
                start = procfs.start_time(pid)
                if not pidfds.has_ended(pidfd):
                    known[pid] = start
            except NotFound:
                pass  # it has just ended
            finally:
                os.close(pidfd)
        yield from self._runtimes.own(namespace).delete(id, force=True, known=known)
        shutil.rmtree(container_dir(self._house.state, namespace, id), ignore_errors=True)
        return {"exit_status": UNKNOWN_STATUS}

    def _last_status(self, process: Process) -> Steps[int]:
        """How a process that the runtime saw die has ended, as its zombie tells us in a moment."""
        for _ in range(200):
            if process.record.exit_status is not None:
                return process.record.exit_status
            yield Sleep(0.005)
        return UNKNOWN_STATUS

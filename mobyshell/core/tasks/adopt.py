"""Taking over what a dead shim left: tables out of records, streams out of held descriptors.

Owns the rebuilding. What is alive is adopted as if nothing had happened; what ended meanwhile is
finished with the status somebody remembers; what was half made is cleared away.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import TaskAdopted
from mobyshell.core.runtime.directories import clear_abandoned
from mobyshell.core.tasks import exits
from mobyshell.core.tasks.held import held_name
from mobyshell.core.tasks.paths import MAKING, container_dir, exec_dir, task_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import Record, read_record
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.streams import OUTPUTS, open_output
from mobyshell.core.tasks.tables import Tables


def adopt_all(house: House, tables: Tables, runtimes: Runtimes) -> list[str]:
    """Every task of the state root into the tables; `namespace/id/` of those whose record cannot be
    read."""
    lost = []
    clear_making(house, tables, runtimes)
    for namespace, id in _tasks(house.state):
        record = _readable(task_dir(house.state, namespace, id))
        if record is None:
            # a shim may have died in its making before it could write that down; a runtime that is a
            # program may still be at it: then `clear_making` waits for its end
            if tables.reserved(namespace, id):
                continue
            place = Path(container_dir(house.state, namespace, id))
            if not clear_abandoned(place) and os.path.isdir(task_dir(house.state, namespace, id)):
                lost.append(f"{namespace}/{id}/")
            continue
        tables.add(_adopt(house, tables, namespace, task_dir(house.state, namespace, id), record))
        if record.exit_status is None:
            house.journal.emit(namespace, id, TaskAdopted(record.pid))
        for exec_id in _names(f"{task_dir(house.state, namespace, id)}/execs"):
            directory = exec_dir(house.state, namespace, id, exec_id)
            found = _readable(directory)
            if found is not None:
                tables.add(_adopt(house, tables, namespace, directory, found))
    return lost


def clear_making(house: House, tables: Tables, runtimes: Runtimes) -> None:
    """Undo the creates a shim died in: their clients were told that it was lost."""
    making = f"{house.state}/{MAKING}"
    for name in _names(making):
        record = _readable(f"{making}/{name}")
        if record is not None and record.namespace and not record.exec_id:
            _undo(house, tables, runtimes, record)
        shutil.rmtree(f"{making}/{name}", ignore_errors=True)
    os.makedirs(making, 0o700, exist_ok=True)


def _undo(house: House, tables: Tables, runtimes: Runtimes, record: Record) -> None:
    """Delete the container of an unfinished create; not one that somebody else has made."""
    namespace, id = record.namespace, record.id
    directory = container_dir(house.state, namespace, id)
    try:
        made = os.stat(f"{directory}/state.json").st_mtime_ns
    except OSError:
        if not record.runtime_path or not os.path.isdir(directory):
            clear_abandoned(Path(directory))  # its cgroups would stay until the id is taken again
            return
        made = record.created_ns
    if made < record.created_ns or os.path.lexists(task_dir(house.state, namespace, id)):
        return
    steps = (
        runtimes.foreign(record).undo(id)
        if record.runtime_path
        else runtimes.own(namespace).delete(id, force=True)
    )
    tables.reserve(namespace, id)

    def done(result: object, error: BaseException | None) -> None:
        """Deleted, or not to be deleted: `task delete --force` will say why."""
        tables.release(namespace, id)

    house.loop.drive(steps, done)


def _adopt(house: House, tables: Tables, namespace: str, directory: str, record: Record) -> Process:
    """One process: with its pidfd and streams if it lives, just to be looked up if it has ended."""

    def held(kind: str) -> int:
        return house.holder.take(held_name(record, namespace, kind))

    pidfd = held("pidfd")
    ours: dict[str, int] = {}
    if record.exit_status is None:
        if pidfd < 0:
            pidfd = exits.open_process(record.pid, record.pid_start)
        for kind in ("master",) if record.terminal else ("stdin",):
            fd = held(kind)
            if fd >= 0:
                ours[kind] = fd
    elif pidfd >= 0:
        os.close(pidfd)
        pidfd = -1
    for name in () if record.terminal else OUTPUTS:
        fd = held(name)
        if fd < 0 and record.exit_status is None:
            fd = _reopen(f"{directory}/{name}")
        if fd >= 0:
            ours[name] = fd
    return Process(house, namespace, directory, record, pidfd, ours, tables.ended)


def _reopen(path: str) -> int:
    """The shim's end of an output FIFO that nobody held: what it holds, it has kept."""
    try:
        return open_output(path)
    except OSError:
        return -1


def _tasks(state: str) -> Iterator[tuple[str, str]]:
    for namespace in _names(state):
        for id in _names(f"{state}/{namespace}"):
            yield namespace, id


def _names(directory: str) -> list[str]:
    """Entries of a directory that are not hidden; none if it is no directory."""
    try:
        return sorted(name for name in os.listdir(directory) if not name.startswith("."))
    except OSError:
        return []


def _readable(directory: str) -> Record | None:
    """The record there; None also for a damaged one, which `task ls` shows to its owner."""
    try:
        return read_record(directory)
    except MobyshellError:
        return None

"""Tasks as they are on disk: what needs no shim, and imports little.

Owns the making of `TaskInfo` out of records and /proc. `task ls` runs through here.
"""

from __future__ import annotations

import os

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.paths import RESERVED, check_name, process_dir, task_dir
from mobyshell.core.tasks.records import (
    UNKNOWN_STATUS,
    Record,
    process_start,
    read_exit,
    read_record,
)
from mobyshell.core.tasks.service import TaskInfo


def read_live(directory: str) -> Record | None:
    """The record in `directory`, with what /proc says now: a process that is gone has stopped.

    A zombie still counts as alive: its shim has not yet written down how it ended.
    """
    record = read_record(directory)
    if record is None or record.exit_status is not None:
        return record
    if process_start(record.pid) == record.pid_start:
        return record
    record = read_record(directory)  # it may have ended between the two looks
    if record is not None and record.exit_status is None:
        record.exit_status, record.exited_ns = read_exit(directory) or (UNKNOWN_STATUS, 0)
    return record


def info_of(record: Record, namespace: str) -> TaskInfo:
    """A task's record as the faces see it."""
    status = record.status()
    return TaskInfo(
        id=record.id,
        namespace=namespace,
        status=status,
        pid=0 if status is Status.STOPPED else record.pid,
        bundle=record.bundle,
        created_ns=record.created_ns,
        started_ns=record.started_ns,
        exited_ns=record.exited_ns,
        exit_status=record.exit_status,
        terminal=record.terminal,
        args=tuple(record.args),
        runtime=record.runtime,
        annotations=record.annotations,
    )


def list_tasks(state: str, namespace: str) -> list[TaskInfo]:
    """Every task of a namespace, by id; one whose record is damaged is shown as stopped."""
    check_name(namespace, "namespace")
    try:
        names = os.listdir(f"{state}/{namespace}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for id in sorted(names):
        try:
            record = read_live(task_dir(state, namespace, id))
        except MobyshellError:
            record = Record(id, namespace, exit_status=UNKNOWN_STATUS)
        if record is not None:
            found.append(info_of(record, namespace))
    return found


def require(state: str, namespace: str, id: str, exec_id: str = "") -> Record:
    """The record of a task or of a further process. NotFound, with where else the id is."""
    check_name(namespace, "namespace")
    check_name(id)
    if exec_id:
        check_name(exec_id, "name of a process")
    record = read_live(process_dir(state, namespace, id, exec_id))
    if record is not None:
        return record
    if exec_id:
        raise NotFound(f"task {id} has no process {exec_id}")
    others = [
        one for one in namespaces(state)
        if one != namespace and os.path.isdir(task_dir(state, one, id))
    ]  # fmt: skip
    hint = (
        f"there is one in namespace {', '.join(others)}"
        if others
        else "`mobyshell task ls` lists those there are"
    )
    raise NotFound(f"no task {id} in namespace {namespace}", hint=hint)


def namespaces(state: str) -> list[str]:
    """The namespaces there are below a state root."""
    try:
        names = sorted(os.listdir(state))
    except OSError:
        return []
    return [one for one in names if one not in RESERVED and not one.startswith(".")]

"""Tasks as they are on disk: what needs no shim. Owns the making of `TaskInfo` of `listing`'s values."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mobyshell.core.errors import NotFound
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.listing import fields_of, list_fields, live_document
from mobyshell.core.tasks.paths import RESERVED, check_name, process_dir, task_dir
from mobyshell.core.tasks.records import Record, record_of
from mobyshell.core.tasks.service import TaskInfo

if TYPE_CHECKING:
    from typing import Any


def read_live(directory: str) -> Record | None:
    """See `listing.live_document`."""
    document = live_document(directory)
    return None if document is None else record_of(document, directory)


def info_of(record: Record, namespace: str) -> TaskInfo:
    """A task's record as the faces see it."""
    return _info(fields_of(record.to_json(), namespace))


def info_of_document(document: dict[str, Any], namespace: str) -> TaskInfo:
    """The same of a record's JSON."""
    return _info(fields_of(document, namespace))


def _info(fields: dict[str, Any]) -> TaskInfo:
    return TaskInfo(**{**fields, "status": Status(fields["status"])})


def list_tasks(state: str, namespace: str) -> list[TaskInfo]:
    """Every task of a namespace, by id; one whose record is damaged is shown as stopped."""
    return [_info(fields) for fields in list_fields(state, namespace)]


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

"""Things of the core as the values of rows, for the verbs and for the screens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobyshell.core.tasks.service import TaskInfo


def task_row(info: TaskInfo) -> dict[str, Any]:
    """A task as the values of a row."""
    return {
        "id": info.id, "status": str(info.status), "pid": info.pid or None,
        "bundle": info.bundle, "command": " ".join(info.args), "created": info.created_ns,
        "started": info.started_ns or None, "exited": info.exited_ns or None,
        "exit": info.exit_status, "terminal": info.terminal, "namespace": info.namespace,
        "runtime": info.runtime,
    }  # fmt: skip

"""Things of the core as the values of rows, for the verbs and for the screens."""

from __future__ import annotations

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from typing import Any

    from mobyshell.core.tasks.service import TaskInfo


def task_row(task: TaskInfo | dict[str, Any]) -> dict[str, Any]:
    """A task, or its fields, as the values of a row."""
    if isinstance(task, dict):
        get = task.__getitem__
    else:

        def get(name: str) -> Any:
            return getattr(task, name)

    return {
        "id": get("id"), "status": str(get("status")), "pid": get("pid") or None,
        "bundle": get("bundle"), "command": " ".join(get("args")), "created": get("created_ns"),
        "started": get("started_ns") or None, "exited": get("exited_ns") or None,
        "exit": get("exit_status"), "terminal": get("terminal"), "namespace": get("namespace"),
        "runtime": get("runtime"), "restart": get("restart") or None,
        "restarts": get("restarts") if get("restart") or get("restarts") else None,
        "restarting": get("restart_ns") or None, "health": get("health") or None,
    }  # fmt: skip

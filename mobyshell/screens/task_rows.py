"""Tasks, processes and differences as rows. Pure: values in, rows out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.tasks.service import Difference, ProcessInfo, Stats, TaskInfo
from mobyshell.core.values import as_dict
from mobyshell.widgets.resource import Column, ResourceSpec, Row


def task_health(row: Row) -> str:
    """good: runs; busy: on its way, or frozen; bad: failed, or not well; off: ended as it should."""
    status = row["status"]
    if status == "running":
        return {"unhealthy": "bad", "starting": "busy"}.get(row.get("health") or "", "good")
    if status in ("creating", "created", "paused", "restarting"):
        return "busy"
    return "off" if row["exit"] in (0, None) else "bad"


TASKS = ResourceSpec(
    noun="task",
    key="id",
    columns=(
        Column("id", "ID", 16, "id"), Column("status", "STATE", 8, "state"),
        Column("pid", "PID", 7, "number"), Column("cpu", "CPU%", 6, "percent"),
        Column("memory", "MEMORY", 8, "bytes"), Column("pids", "PROCS", 5, "number"),
        Column("uptime", "UPTIME", 8, "duration"), Column("exit", "EXIT", 4, "number"),
        Column("restarts", "RESTARTS", 8, "number", 150),
        Column("command", "COMMAND", 0, "text", 90), Column("bundle", "BUNDLE", 30, "text", 130),
    ),
    health=task_health,
    empty="No tasks yet: press F1 for the bundles, and r there to run one.",
)  # fmt: skip

PROCESSES = ResourceSpec(
    noun="process",
    key="pid",
    columns=(
        Column("pid", "PID", 8, "number"), Column("pid_inside", "INSIDE", 6, "number"),
        Column("ppid", "PPID", 8, "number", 70), Column("uid", "UID", 6, "number", 60),
        Column("state", "S", 1), Column("rss", "RSS", 8, "bytes"),
        Column("cpu_ns", "CPU", 8, "duration"), Column("command", "COMMAND", 0),
    ),
    health=lambda row: "bad" if row["state"] == "Z" else "good",
    empty="No processes.",
)  # fmt: skip

DIFFERENCES = ResourceSpec(
    noun="difference",
    key="n",
    columns=(
        Column("agrees", "", 1, "check"), Column("path", "PATH", 34, "text"),
        Column("wanted", "SPEC", 0, "text"), Column("found", "KERNEL", 0, "text"),
        Column("note", "NOTE", 30, "text", 140),
    ),
    health=lambda row: {True: "good", False: "bad", None: "off"}[row["agrees"]],
    empty="Nothing to compare.",
)  # fmt: skip


def task_rows(
    tasks: Sequence[TaskInfo], rates: Mapping[str, Mapping[str, Any]], now_ns: int
) -> list[dict[str, Any]]:
    """One row a task; `rates` are the latest figures of those that run."""
    rows = []
    for one in tasks:
        end = one.exited_ns or now_ns
        rows.append(
            {
                "id": one.id, "status": str(one.status), "pid": one.pid or None,
                "uptime": end - one.started_ns if one.started_ns else None,
                "exit": one.exit_status, "health": one.health or None,
                "restarts": one.restarts if one.restart else None,
                "command": " ".join(one.args), "bundle": one.bundle,
                "cpu": None, "memory": None, "pids": None, **rates.get(one.id, {}),
            }
        )  # fmt: skip
        if one.status in ("stopped", "restarting"):
            rows[-1].update(cpu=None, memory=None, pids=None)
    return rows


def rate(before: Stats | None, now: Stats) -> dict[str, Any]:
    """What two looks at the counters say: CPU in percent of one processor, memory in bytes."""
    cpu = None
    if before is not None and before.cpu_ns is not None and now.cpu_ns is not None:
        elapsed = now.time_ns - before.time_ns
        cpu = 100 * (now.cpu_ns - before.cpu_ns) / elapsed if elapsed > 0 else None
    return {"cpu": cpu, "memory": now.memory, "pids": now.pids}


def process_rows(processes: Sequence[ProcessInfo]) -> list[dict[str, Any]]:
    """One row a process."""
    return [as_dict(one) for one in processes]


def difference_rows(differences: Sequence[Difference]) -> list[dict[str, Any]]:
    """One row a line, what disagrees first."""
    order = {False: 0, None: 1, True: 2}
    found = sorted(differences, key=lambda one: order[one.agrees])
    return [
        {"n": f"{index:04}", "agrees": one.agrees, "path": one.path, "wanted": one.wanted,
         "found": one.found, "note": one.note}
        for index, one in enumerate(found)
    ]  # fmt: skip

"""Which process belongs to which task, as a survey of namespaces shows it. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobyshell.core.linux.namespaces.values import Process, Survey
    from mobyshell.core.tasks.service import TaskInfo


def owners(survey: Survey, tasks: Iterable[TaskInfo]) -> dict[int, TaskInfo]:
    """The task of each process that belongs to one: what is in the pid namespace that its init is
    the first of, or in its cgroup, or descends from it."""
    found: dict[int, TaskInfo] = {}
    spaces = {pid: one.inode for one in survey.namespaces if one.kind == "pid"
              for pid in one.members}  # fmt: skip
    containing = {one.inode: one.parent for one in survey.namespaces if one.kind == "pid"}
    for task in tasks:
        init = survey.processes.get(task.pid)
        if init is None:
            continue
        own = spaces.get(task.pid, 0) if init.inner == 1 else 0
        group = _own_group(survey, init)
        for pid, process in survey.processes.items():
            if (
                (own and _within(spaces.get(pid, 0), own, containing))
                or (group and (process.cgroup == group or process.cgroup.startswith(f"{group}/")))
                or _descends(survey.processes, process, task.pid)
            ):
                found.setdefault(pid, task)
    return found


def _own_group(survey: Survey, init: Process) -> str:
    """The cgroup of a task, "" if we are in it ourselves: then it is not its own."""
    ours = survey.processes.get(os.getpid())
    group = init.cgroup.rstrip("/")
    if not group or ours is None or f"{ours.cgroup}/".startswith(f"{group}/"):
        return ""
    return group


def _within(space: int, own: int, containing: Mapping[int, int]) -> bool:
    for _ in range(33):  # pid namespaces nest 32 deep (pid_namespaces(7))
        if space == own:
            return True
        space = containing.get(space, 0)
    return False


def _descends(processes: Mapping[int, Process], process: Process, init: int) -> bool:
    seen: set[int] = set()  # numbers used again while we looked could lead in a circle
    pid = process.pid
    while pid in processes and pid not in seen:
        if pid == init:
            return True
        seen.add(pid)
        pid = processes[pid].ppid
    return False

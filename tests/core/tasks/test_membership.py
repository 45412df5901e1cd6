"""Which process is of which task, of values only."""

from __future__ import annotations

import os

from mobyshell.core.linux.namespaces.values import Namespace, Process, Survey
from mobyshell.core.tasks.membership import owners
from mobyshell.core.tasks.service import Status, TaskInfo

US = os.getpid()


def task(id: str, pid: int) -> TaskInfo:
    return TaskInfo(id, "default", Status.RUNNING, pid, "/b", 1)


def survey(*processes: Process, spaces: dict[int, tuple[int, tuple[int, ...]]]) -> Survey:
    ours = Process(US, ppid=1, cgroup="/us", inner=US)
    found = tuple(Namespace("pid", inode, parent=parent, members=members)
                  for inode, (parent, members) in spaces.items())  # fmt: skip
    return Survey(found, {one.pid: one for one in (ours, *processes)})


def ids(found: Survey, *tasks: TaskInfo) -> dict[int, str]:
    return {pid: one.id for pid, one in owners(found, tasks).items()}


def test_by_pid_namespace_and_those_within_it() -> None:
    """An exec is no descendant of the init; a container within has a namespace of its own."""
    found = survey(
        Process(900001, ppid=7, inner=1), Process(900002, ppid=8, inner=5),
        Process(900003, ppid=8, inner=1), Process(900004, ppid=8, inner=900004),
        spaces={1: (0, (900004,)), 2: (1, (900001, 900002)), 3: (2, (900003,))},
    )  # fmt: skip
    assert ids(found, task("a", 900001)) == {900001: "a", 900002: "a", 900003: "a"}


def test_by_cgroup_unless_it_is_ours_too() -> None:
    def found(group: str) -> Survey:
        return survey(
            Process(900001, cgroup=group, inner=900001), Process(900002, cgroup=f"{group}/sub"),
            Process(900003, cgroup=f"{group}x"), spaces={},
        )  # fmt: skip

    assert ids(found("/box"), task("a", 900001)) == {900001: "a", 900002: "a"}
    for group in ("/us", "/", ""):
        assert ids(found(group), task("a", 900001)) == {900001: "a"}


def test_by_descent_and_a_circle_of_numbers_ends() -> None:
    found = survey(
        Process(900001, ppid=1), Process(900002, ppid=900001), Process(900003, ppid=900002),
        Process(900004, ppid=900005), Process(900005, ppid=900004), spaces={},
    )  # fmt: skip
    assert ids(found, task("a", 900001)) == {900001: "a", 900002: "a", 900003: "a"}


def test_a_task_that_has_no_process_has_none() -> None:
    assert ids(survey(spaces={}), task("a", 0), task("b", 900009)) == {}

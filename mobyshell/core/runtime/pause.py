"""pause and resume: freeze every process of a container, and let it run again."""

from __future__ import annotations

import time
from pathlib import Path

from mobyshell.core.errors import NotFound, TimedOut, Unsupported, WrongState
from mobyshell.core.events import EventSink, TaskPaused, TaskResumed
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import members, thaw
from mobyshell.core.runtime.steps import Sleep, Steps
from mobyshell.core.runtime.values import Status

PATIENCE = 10.0
"""Seconds for every process to reach a point where it can be frozen."""


def pause(root: Path, id: str, *, sink: EventSink) -> Steps[None]:
    """Freeze the container. WrongState ("container not running") unless it runs or is created.

    TimedOut, naming the processes that do not freeze; the container then runs on.
    """
    state = states.read(root, id)
    if states.status(root, state) not in (Status.RUNNING, Status.CREATED):
        raise WrongState(f"container not running: {id}")
    directory, file, freeze, _ = _freezer(state)
    cgroups.write(directory, file, freeze)
    deadline = time.monotonic() + PATIENCE
    pause = 0.0005
    while not cgroups.frozen(state.cgroups):
        if time.monotonic() > deadline:
            stubborn = ", ".join(_describe(pid) for pid in members(state)[:5])
            thaw(state.cgroups)
            raise TimedOut(
                f"container {id} does not freeze",
                hint=f"waiting in the kernel, perhaps on a dead disk or network share: {stubborn}",
            )
        if file == "freezer.state":
            # v1 can stay at FREEZING when a task was being moved: writing again starts it over
            cgroups.write(directory, file, freeze)
        yield Sleep(pause)
        pause = min(pause * 2, 0.02)
    sink(id, TaskPaused())


def resume(root: Path, id: str, *, sink: EventSink) -> Steps[None]:
    """Thaw the container. WrongState ("container not paused") unless it is frozen."""
    state = states.read(root, id)
    if states.status(root, state) is not Status.PAUSED and not (
        state.cgroups and cgroups.frozen(state.cgroups)
    ):
        raise WrongState(f"container not paused: {id}")
    _freezer(state)
    thaw(state.cgroups)
    sink(id, TaskResumed())
    return
    yield


def _freezer(state: states.State) -> tuple[str, str, str, str]:
    found = cgroups.freezer(state.cgroups)
    if found is None:
        raise Unsupported(
            f"container {state.id} cannot be frozen: it has no freezer cgroup",
            hint="run as root, or have a cgroup delegated to this user",
        )
    return found


def _describe(pid: int) -> str:
    try:
        stat = procfs.stat(pid)
    except NotFound:
        return f"{pid} (gone)"
    return f"{pid} {stat.command} ({stat.state})"

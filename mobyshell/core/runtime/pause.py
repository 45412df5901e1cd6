"""pause and resume: freeze every process of a container, and let it run again."""

from __future__ import annotations

import time
from pathlib import Path

from mobyshell.core.errors import NotFound, SyscallFailed, TimedOut, Unsupported, WrongState
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
    found = _freezer(state)
    running = states.status(root, state) in (Status.RUNNING, Status.CREATED)
    if not running or cgroups.frozen(state.cgroups):
        raise WrongState(f"container not running: {id}")
    try:
        yield from _freeze(state, *found[:3])
    except SyscallFailed:
        if procfs.alive(state.pid, state.pid_start):
            raise
        raise WrongState(f"container not running: {id}") from None  # its cgroup went with it
    sink(id, TaskPaused())


def _freeze(state: states.State, directory: str, file: str, value: str) -> Steps[None]:
    deadline = time.monotonic() + PATIENCE
    delay = 0.0005
    cgroups.write(directory, file, value)
    try:
        while not cgroups.frozen(state.cgroups):
            if not procfs.alive(state.pid, state.pid_start):
                raise WrongState(f"container not running: {state.id}")
            if time.monotonic() > deadline:
                raise TimedOut(f"container {state.id} does not freeze", hint=_diagnosis(state))
            if file == "freezer.state":
                # v1 can stay at FREEZING when a task was being moved: writing again starts it over
                cgroups.write(directory, file, value)
            yield Sleep(delay)
            delay = min(delay * 2, 0.02)
    except BaseException:  # also GeneratorExit: nobody waits any more
        thaw(state.cgroups)
        raise


def _diagnosis(state: states.State) -> str:
    """Who does not freeze: what sleeps in the kernel where no signal reaches it."""
    stubborn: list[str] = []
    others: list[str] = []
    for pid in members(state):
        try:
            stat = procfs.stat(pid)
            channel = procfs.read_file(pid, "wchan").decode(errors="replace").strip("\0\n0")
        except (NotFound, OSError):
            continue
        place = f" in {channel}" if channel else ""
        line = f"{pid} {stat.command} ({stat.state}{place})"
        (stubborn if stat.state == "D" and "refrigerator" not in channel else others).append(line)
    names = ", ".join((stubborn or others)[:5])
    return f"waiting in the kernel, perhaps on a dead disk or network share: {names}"


def resume(root: Path, id: str, *, sink: EventSink) -> Steps[None]:
    """Thaw the container. WrongState ("container not paused") unless it is frozen."""
    state = states.read(root, id)
    _freezer(state)
    if not procfs.alive(state.pid, state.pid_start) or not cgroups.frozen(state.cgroups):
        raise WrongState(f"container not paused: {id}")
    thaw(state.cgroups)
    sink(id, TaskResumed())
    yield from ()  # in steps, as all verbs: this one never waits


def _freezer(state: states.State) -> tuple[str, str, str, str]:
    found = cgroups.freezer(state.cgroups)
    if found is None:
        raise Unsupported(
            f"container {state.id} cannot be frozen: it has no freezer cgroup",
            hint="run as root, or have a cgroup delegated to this user",
        )
    return found

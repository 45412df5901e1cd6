"""kill: a signal to a container's init, or to every process in it (runtime.md#kill)."""

from __future__ import annotations

import os
import signal as signals
from pathlib import Path

from mobyshell.core.errors import NotFound, WrongState
from mobyshell.core.events import EventSink, TaskSignalled
from mobyshell.core.linux import cgroups
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.runtime.values import Status


def name_of(number: int) -> str:
    """SIGTERM for 15; the number itself for a real-time signal without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"SIG{number}"


def kill(
    root: Path, id: str, number: int, *, all_processes: bool = False, sink: EventSink
) -> Steps[None]:
    """Send signal `number`. WrongState ("container not running") if the container has stopped.

    With `all_processes` a stopped container is no error: what it left behind is signalled.
    """
    state = states.read(root, id)
    stopped = states.status(root, state) is Status.STOPPED
    if all_processes:
        _signal_all(state, number)
    else:
        if stopped:
            raise WrongState(f"container not running: {id}")
        signal_process(state.pid, state.pid_start, number)
        if number == signals.SIGKILL:
            # a frozen process takes even SIGKILL only when it is thawed
            thaw(state.cgroups)
    sink(id, TaskSignalled(signal=name_of(number), all=all_processes))
    return
    yield


def signal_process(pid: int, start: int, number: int) -> bool:
    """Signal the process that started at `start`; False if it has ended."""
    try:
        fd = pidfds.open_verified(pid, start)
    except NotFound:
        return False
    try:
        return pidfds.send(fd, number)
    finally:
        os.close(fd)


def _signal_all(state: states.State, number: int) -> None:
    if number == signals.SIGKILL and cgroups.kill_all(state.cgroups):
        thaw(state.cgroups)
        return
    # frozen, they cannot fork away from under the list
    freezer = cgroups.freezer(state.cgroups)
    if freezer is not None:
        cgroups.write(freezer[0], freezer[1], freezer[2])
    try:
        for pid in members(state):
            try:
                fd = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            try:
                pidfds.send(fd, number)
            finally:
                os.close(fd)
    finally:
        thaw(state.cgroups)


def members(state: states.State) -> list[int]:
    """The pids of a container, as the host numbers them; without cgroups, its init alone."""
    for controller in ("", "pids", "freezer", "devices", "memory"):
        path = state.cgroups.get(controller)
        if path is not None:
            return sorted(set(cgroups.processes(path)))
    return [state.pid]


def thaw(paths: dict[str, str]) -> None:
    """Let the group run, if it has a freezer."""
    freezer = cgroups.freezer(paths)
    if freezer is not None and os.path.isdir(freezer[0]):
        cgroups.write(freezer[0], freezer[1], freezer[3])

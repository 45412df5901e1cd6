"""kill: a signal to a container's init, or to every process in it (runtime.md#kill)."""

from __future__ import annotations

import os
import signal as signals
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mobyshell.core.errors import NotFound, SyscallFailed, WrongState
from mobyshell.core.events import EventSink, TaskSignalled
from mobyshell.core.linux import cgroups, procfs
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

    With `all_processes` a stopped container is no error: what it left behind is signalled. A created
    container has no program yet that could handle a signal, and its process may be one that ignores
    what it does not handle (pid_namespaces(7)): what would end it ends it, as SIGKILL does.
    """
    state = states.read(root, id)
    now = states.status(root, state)
    unstarted = now is Status.CREATED or (
        now is Status.PAUSED and states.waits(states.directory(root, id))
    )
    sent = signals.SIGKILL if unstarted and _ends(number) else number
    if all_processes:
        _signal_all(state, sent)
    else:
        alive = now is not Status.STOPPED and signal_process(state.pid, state.pid_start, sent)
        if not alive:
            raise WrongState(f"container not running: {id}")
        if sent == signals.SIGKILL:
            # a frozen process takes even SIGKILL only when it is thawed
            let_die(state.cgroups)
    sink(id, TaskSignalled(signal=name_of(number), all=all_processes))
    yield from ()  # in steps, as all verbs: this one never waits


_HARMLESS = frozenset({
    0, signals.SIGCHLD, signals.SIGCONT, signals.SIGURG, signals.SIGWINCH, signals.SIGSTOP,
    signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU,
})  # fmt: skip


def _ends(number: int) -> bool:
    """Whether a signal ends who does not handle it (signal(7))."""
    return number not in _HARMLESS


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
        let_die(state.cgroups)
        return
    with _held_still(state):
        opened = _open_members(state)
        try:
            # those still members are those meant: a descriptor cannot change its process, but
            # between list and descriptor a number could have
            still = set(members(state))
            for pid, fd in opened.items():
                if pid in still:
                    pidfds.send(fd, number)
        finally:
            for fd in opened.values():
                os.close(fd)
    if number == signals.SIGKILL:
        let_die(state.cgroups)


def _open_members(state: states.State) -> dict[int, int]:
    opened = {}
    for pid in members(state):
        try:
            opened[pid] = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
    return opened


@contextmanager
def _held_still(state: states.State) -> Iterator[None]:
    """Frozen, so that nobody forks away from under a list; paused ones stay so afterwards."""
    freezer = cgroups.freezer(state.cgroups)
    if freezer is None or not os.path.isdir(freezer[0]) or cgroups.frozen(state.cgroups):
        yield
        return
    cgroups.write(freezer[0], freezer[1], freezer[2])
    try:
        yield
    finally:
        thaw(state.cgroups)


def members(state: states.State) -> list[int]:
    """The pids of a container, as the host numbers them, in order.

    Those in its cgroups; without cgroups those in its pid namespace, or else its init alone.
    """
    for controller in ("", "pids", "freezer", "devices", "memory"):
        path = state.cgroups.get(controller)
        if path is not None:
            return sorted(set(cgroups.processes(path)))
    if not procfs.alive(state.pid, state.pid_start):
        return []
    return _pid_namespace(state.pid)


def _pid_namespace(init: int) -> list[int]:
    """Everybody in the pid namespace whose process 1 is `init`; it alone if it is not process 1."""
    try:
        levels = procfs.status_fields(init).get("NSpid", "").split()
        if len(levels) < 2 or levels[-1] != "1":
            return [init]
        found = [init]
        for name in os.listdir("/proc"):
            if name.isdecimal() and int(name) != init and _inside(int(name), levels, init):
                found.append(int(name))
    except NotFound:
        return []
    return sorted(found)


def _inside(pid: int, levels: list[str], init: int) -> bool:
    try:
        theirs = procfs.status_fields(pid).get("NSpid", "").split()
        if len(theirs) < len(levels):
            return False
        depth = len(theirs) - len(levels)
        # deeper than the container: a namespace inside of it, if an ancestor is in it
        while depth:
            pid = procfs.stat(pid).ppid
            theirs = procfs.status_fields(pid).get("NSpid", "").split()
            if len(theirs) < len(levels):
                return False
            depth = len(theirs) - len(levels)
        return _namespace(pid) == _namespace(init)
    except (NotFound, OSError):
        return False  # gone, or not ours to look at


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/pid")


def thaw(paths: dict[str, str]) -> None:
    """Let the group run, if it has a freezer."""
    freezer = cgroups.freezer(paths)
    if freezer is None:
        return
    try:
        cgroups.write(freezer[0], freezer[1], freezer[3])
    except SyscallFailed:
        if os.path.isdir(freezer[0]):
            raise


def let_die(paths: dict[str, str]) -> None:
    """Let those that were killed go: thaw the group, and what was frozen inside of it."""
    thaw(paths)
    cgroups.release(paths)

"""delete: what `create` made is taken back (runtime.md#delete)."""

from __future__ import annotations

import errno
import os
import signal as signals
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed, TimedOut, WrongState
from mobyshell.core.events import EventSink, Failed
from mobyshell.core.linux import cgroups, procfs, resctrl
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.oci import Hooks, load_spec
from mobyshell.core.runtime import directories, hooks
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.host_root import release
from mobyshell.core.runtime.kill import let_die, members, signal_process
from mobyshell.core.runtime.steps import Readable, Sleep, Steps
from mobyshell.core.runtime.values import Status

PATIENCE = 30.0  # a process 1 waits for those around it to be reaped by whoever has them now
"""Seconds for killed processes to be gone, and again for their cgroups to be free."""
NOBODY: Mapping[int, int] = MappingProxyType({})


def delete(
    root: Path,
    id: str,
    *,
    force: bool = False,
    sink: EventSink,
    sweep: directories.Sweep | None = None,
    keep: Sequence[str] = (),
    known: Mapping[int, int] = NOBODY,
) -> Steps[None]:
    """Remove a stopped container; a created one is killed first; `force` kills any.

    WrongState if it runs; NotFound if there is none (unless `force`); TimedOut or SyscallFailed,
    naming it, for what does not go away. With `force` a lost or damaged state.json is no obstacle
    (`remains`; `known` are processes that the caller knows, pid → start time, the init first). A
    delete that was interrupted, or failed, can be repeated. Poststop hooks run at the end; that one
    fails is reported as an event and does not bring the container back. `sweep`, `keep`: see
    `directories.forget`.
    """
    state, lost = _state(root, id, force, known)
    if state is None:
        return
    now = states.status(root, state)
    if now not in (Status.STOPPED, Status.CREATED) and not force:
        raise WrongState(
            f"cannot delete container {id} that is not stopped: {now}",
            hint="kill it first, or use --force",
        )
    path = states.directory(root, id)
    given = _hooks(path)
    for pid, start in known.items() if lost else ():
        signal_process(pid, start, signals.SIGKILL)  # those that are in no cgroup of its own
    try:
        empty = now is Status.STOPPED and not state.unit and _emptied(state)
        if not empty:
            yield from _end(state)
        if state.unit:
            from mobyshell.core.runtime import systemd

            systemd.stop(state.unit, owner=state.owner)
        if "mount" not in state.namespaces:
            release(path, state.rootfs)
        if not empty:
            yield from _remove(state)
        cgroups.remove_empty(state.cgroup_levels)
        resctrl.remove(state.resctrl)
    except MobyshellError as error:
        sink(id, Failed(verb="delete", error=error.to_wire()))
        raise
    same = None if lost else state
    if directories.forget(path, same, sweep, keep) and given is not None and given.poststop:
        yield from hooks.run_poststop(
            given.poststop, states.oci_state(state, Status.STOPPED), sink=sink
        )


def _state(
    root: Path, id: str, force: bool, known: Mapping[int, int]
) -> tuple[states.State | None, bool]:
    """What to delete by, if there is anything, and whether that is not what was written down."""
    try:
        return states.read(root, id), False
    except MobyshellError:
        if not force:
            raise
    from mobyshell.core.runtime import remains

    return remains.found(root, id, known), True


def _emptied(state: states.State) -> bool:
    """Whether its cgroups are gone: those can be removed at once that have nobody in them and no
    group below, as the kernel says by doing it."""
    if not state.cgroups:
        return False
    try:
        for path in state.cgroups.values():
            try:
                os.rmdir(path)
            except FileNotFoundError:
                continue
    except OSError:
        return False
    return True


def _hooks(path: Path) -> Hooks | None:
    try:
        if b'"poststop"' not in states.read_small(path, states.CONFIG):
            return None
        return load_spec(path).hooks
    except (MobyshellError, OSError):
        return None  # its config is damaged or gone: no reason to keep the container


def _end(state: states.State) -> Steps[None]:
    """Kill what is left of the container and wait until it is gone."""
    try:
        init = pidfds.open_verified(state.pid, state.pid_start) if state.pid else -1
    except NotFound:
        init = -1
    if init >= 0:
        try:
            pidfds.send(init, signals.SIGKILL)
            let_die(state.cgroups)
            if not pidfds.has_ended(init) and not (yield Readable((init,), PATIENCE)):
                raise _endless(f"process {state.pid} does", state.pid)
        finally:
            os.close(init)
    # without a pid namespace of its own, the death of the init takes nobody along
    deadline = time.monotonic() + PATIENCE
    while left := _living(state):
        if not cgroups.kill_all(state.cgroups):
            for pid in left:
                try:
                    signal_process(pid, procfs.start_time(pid), signals.SIGKILL)
                except NotFound:
                    continue
        let_die(state.cgroups)
        if time.monotonic() > deadline:
            raise _endless(f"processes {left[:5]} of {state.id} do", left[0])
        yield Sleep(0.002)


def _endless(who: str, pid: int) -> TimedOut:
    """Somebody may have moved it into a frozen group of their own, which is theirs to thaw."""
    said = f"{who} not end after SIGKILL"
    try:
        groups = cgroups.detect(cgroup=f"/proc/{pid}/cgroup").own
    except OSError:
        groups = {}
    freezer = cgroups.freezer(groups)
    if freezer is None or not cgroups.frozen(groups):
        return TimedOut(said, hint=f"see /proc/{pid}/stack")
    directory, file, _, thaw = freezer
    return TimedOut(
        f"{said}: it is frozen in {directory}", hint=f"echo {thaw} > {directory}/{file}"
    )


def _living(state: states.State) -> list[int]:
    if not state.cgroups:
        return []
    found = []
    for pid in members(state):
        try:
            if procfs.stat(pid).state not in "ZX":
                found.append(pid)
        except NotFound:
            continue
    return found


def _remove(state: states.State) -> Steps[None]:
    """Remove the cgroups, and those the container made below them.

    They are busy until the kernel is through with the last process, its zombie included.
    """
    deadline = time.monotonic() + PATIENCE
    pause = 0.0005
    while True:
        try:
            cgroups.remove(state.cgroups.values(), timeout=0)
            return
        except SyscallFailed as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        yield Sleep(pause)
        pause = min(pause * 2, 0.05)

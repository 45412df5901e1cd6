"""wait: until a container's program has ended, and how."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.errors import NotFound, SyscallFailed, TimedOut
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.linux import procfs
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.steps import Readable, Sleep, Steps

UNKNOWN = -1
"""Nobody can learn how it ended: its parent has reaped it, and this kernel keeps no record."""

_REAPING = 1.0


def wait(
    root: Path, id: str, *, timeout: float | None = None, clock: Clock | None = None
) -> Steps[int]:
    """The exit status of the init: its code, 128+n for signal n, -1 if nobody can learn it.

    Reaps it if it is our child, and remembers the answer for those who ask later. TimedOut if it
    has not ended after `timeout` seconds.
    """
    state = states.read(root, id)
    try:
        fd = pidfds.open_verified(state.pid, state.pid_start)
    except NotFound:
        return UNKNOWN if state.exit_status is None else state.exit_status
    try:
        if not pidfds.has_ended(fd) and not (yield Readable((fd,), timeout)):
            raise TimedOut(f"{id} has not ended in {timeout:g} s")
        try:
            status = pidfds.reap(fd)
        except SyscallFailed as error:
            if error.errno != errno.ECHILD:
                raise
            status = yield from _of_another(fd, state)
    finally:
        os.close(fd)
    if status is None:
        return UNKNOWN
    states.record_exit(root, state, status, (clock or SystemClock()).now_ns())
    return status


def _of_another(fd: int, state: states.State) -> Steps[int | None]:
    """How somebody else's child ended: the kernel tells once that one has reaped it."""
    pause = 0.0005
    waited = 0.0
    while waited < _REAPING:
        status = pidfds.exit_status(fd)
        if status is None:
            status = _of_zombie(state)
        if status is not None:
            return status
        yield Sleep(pause)
        waited += pause
        pause = min(pause * 2, 0.02)
    return None


def _of_zombie(state: states.State) -> int | None:
    """By field 52 of /proc/PID/stat: its parent lives, and does not reap it (proc_pid_stat(5))."""
    if os.geteuid() != 0:
        return None  # the kernel shows 0 to those who may not trace it
    try:
        text = procfs.read_file(state.pid, "stat").decode(errors="replace")
    except (NotFound, OSError):
        return None
    words = text.rpartition(")")[2].split()
    if len(words) < 50 or words[0] != "Z" or int(words[19]) != state.pid_start:
        return None
    code = os.waitstatus_to_exitcode(int(words[49]))
    return code if code >= 0 else 128 - code

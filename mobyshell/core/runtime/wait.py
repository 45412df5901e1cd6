"""wait: until a container's program has ended, and how."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from mobyshell.core.errors import NotFound, SyscallFailed, TimedOut
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.steps import Readable, Sleep, Steps

UNKNOWN = -1


def wait(root: Path, id: str, *, timeout: float | None = None) -> Steps[int]:
    """The exit status of the init: its code, 128+n for signal n, -1 if nobody can learn it.

    Reaps it if it is our child. TimedOut if it has not ended after `timeout` seconds.
    """
    state = states.read(root, id)
    try:
        fd = pidfds.open_verified(state.pid, state.pid_start)
    except NotFound:
        return UNKNOWN
    try:
        if not pidfds.has_ended(fd) and not (yield Readable((fd,), timeout)):
            raise TimedOut(f"{id} has not ended in {timeout:g} s")
        try:
            status = pidfds.reap(fd)
        except SyscallFailed as error:
            if error.errno != errno.ECHILD:
                raise
            # somebody else's child: the kernel tells once that one has reaped it
            for _ in range(100):
                status = pidfds.exit_status(fd)
                if status is not None:
                    break
                yield Sleep(0.01)
    finally:
        os.close(fd)
    return UNKNOWN if status is None else status

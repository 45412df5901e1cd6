"""How a process ended: asked of whoever knows, the surest first.

Owns the order of sources. Never reaps before the answer could be written down: a zombie is the
only record there is until then.
"""

from __future__ import annotations

import contextlib
import os

from mobyshell.core.errors import NotFound
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.tasks.records import (
    read_exit,
    zombie_status,
)


def of_child(pidfd: int) -> int | None:
    """The exit status of our child, which stays a zombie; None while it runs.

    ChildProcessError if it is not our child.
    """
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else 128 + found.si_status


def reap(pidfd: int) -> None:
    """Let a child that has ended go; nothing if it is not ours."""
    with contextlib.suppress(ChildProcessError):
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)


def of_stranger(pidfd: int, directory: str, pid: int, start: int) -> tuple[int, int] | None:
    """`(status, time_ns)` of an ended process that is somebody else's child; None: not known (yet).

    Asked are the keeper, which inherits the children of a dead shim and writes down how they end;
    then the kernel, which tells whoever holds a pidfd once the process is reaped (Linux 6.15);
    then the zombie itself. A time of 0 is not known.
    """
    written = read_exit(directory)
    if written is not None:
        return written
    status = pidfds.exit_status(pidfd) if pidfd >= 0 else None
    if status is None:
        status = zombie_status(pid, start)
    return None if status is None else (status, 0)


def open_process(pid: int, start: int) -> int:
    """A pidfd of the process that had `pid` since `start`; -1 if it is gone (or never was)."""
    if pid <= 0:
        return -1
    try:
        return pidfds.open_verified(pid, start)
    except NotFound:
        return -1

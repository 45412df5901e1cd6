"""diff: the spec of a container against what the kernel says of it now.

Everything is read from outside, by the pid of the container's init: /proc, its mountinfo, its
cgroup files, and files below its root, opened so that nothing in it can lead us elsewhere. Nobody
enters a namespace to look: what the kernel tells only inside is a line that neither agrees nor not.
"""

from __future__ import annotations

import os
from pathlib import Path

from mobyshell.core.errors import NotFound, SyscallFailed, WrongState
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.oci import load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.diff.classes import class_lines
from mobyshell.core.runtime.diff.labels import label_lines
from mobyshell.core.runtime.diff.limits import limit_lines
from mobyshell.core.runtime.diff.mounts import mount_lines
from mobyshell.core.runtime.diff.namespaces import namespace_lines
from mobyshell.core.runtime.diff.process import process_lines
from mobyshell.core.runtime.values import Difference, Status

__all__ = ["diff"]


def diff(root: Path, id: str) -> list[Difference]:
    """What the spec asks for and what is, line by line, in the spec's order.

    A program that changed its own identity since its start shows as a difference. WrongState if
    the container has stopped.
    """
    state = states.read(root, id)
    now = states.status(root, state)
    if now is Status.STOPPED:
        raise WrongState(
            f"container not running: {id}", hint="the kernel forgets a process when it ends"
        )
    spec = load_spec(states.directory(root, id))
    started = now in (Status.RUNNING, Status.PAUSED)
    try:
        # held while we look: its number can then not be given to another
        init = pidfds.open_verified(state.pid, state.pid_start)
        try:
            lines = [
                *process_lines(spec, state, started=started),
                *label_lines(spec, state, started=started),
                *mount_lines(spec, state),
                *namespace_lines(spec, state),
                *limit_lines(spec, state),
                *class_lines(spec, state),
            ]
            if pidfds.has_ended(init):
                raise NotFound(f"process {state.pid} has ended")
        finally:
            os.close(init)
    except (NotFound, FileNotFoundError, ProcessLookupError, SyscallFailed):
        if states.status(root, state) is not Status.STOPPED:
            raise
        raise WrongState(f"container not running: {id}") from None
    return lines

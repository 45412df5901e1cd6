"""ps: the processes of a container, as the host sees them."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import members
from mobyshell.core.runtime.values import ProcessInfo, Status


def ps(root: Path, id: str) -> list[ProcessInfo]:
    """Every process of the container, by pid; none if it has stopped."""
    state = states.read(root, id)
    if states.status(root, state) is Status.STOPPED:
        return []
    found = []
    for pid in members(state):
        try:
            found.append(_describe(pid))
        except NotFound:
            continue  # ended between the list and the look
    return found


def _describe(pid: int) -> ProcessInfo:
    stat = procfs.stat(pid)
    fields = procfs.status_fields(pid)
    words = procfs.command_line(pid)
    return ProcessInfo(
        pid=pid,
        ppid=stat.ppid,
        # one number for each pid namespace from the reader's to the innermost
        pid_inside=int(fields.get("NSpid", str(pid)).split()[-1]),
        uid=int(fields.get("Uid", "0").split()[0]),
        state=stat.state,
        rss=stat.rss,
        cpu_ns=stat.cpu_ns,
        command=" ".join(words) if words else f"[{stat.command}]",
    )

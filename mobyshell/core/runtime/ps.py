"""ps: the processes of a container, as the host sees them."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import members
from mobyshell.core.runtime.values import ProcessInfo


def ps(root: Path, id: str) -> list[ProcessInfo]:
    """Every process of the container, by pid; of a stopped one, what it may have left behind."""
    state = states.read(root, id)
    depth = _depth(state.pid) if procfs.alive(state.pid, state.pid_start) else 0
    found = []
    for pid in members(state):
        try:
            found.append(_describe(pid, depth))
        except NotFound:
            continue  # ended between the list and the look
    return found


def _depth(init: int) -> int:
    """How many pid namespaces lie between the reader's and the container's."""
    try:
        return len(procfs.status_fields(init).get("NSpid", "").split()) - 1
    except NotFound:
        return 0


def _describe(pid: int, depth: int) -> ProcessInfo:
    stat = procfs.stat(pid)
    fields = procfs.status_fields(pid)
    words = procfs.command_line(pid)
    # one number for each pid namespace, from the reader's to the process's own; that one may be
    # deeper than the container's, in a container within it
    numbers = fields.get("NSpid", str(pid)).split()
    return ProcessInfo(
        pid=pid,
        ppid=stat.ppid,
        pid_inside=int(numbers[min(max(depth, 0), len(numbers) - 1)]),
        uid=int(fields.get("Uid", "0").split()[0]),
        state=stat.state,
        rss=stat.rss,
        cpu_ns=stat.cpu_ns,
        command=" ".join(words) if words else f"[{stat.command}]",
    )

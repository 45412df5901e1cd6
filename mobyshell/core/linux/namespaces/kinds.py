"""The kinds of namespaces, and which one of a kind a process is in."""

from __future__ import annotations

import os

from mobyshell.core.linux import constants as c

KINDS: dict[str, int] = {
    "cgroup": c.CLONE_NEWCGROUP, "ipc": c.CLONE_NEWIPC, "mnt": c.CLONE_NEWNS,
    "net": c.CLONE_NEWNET, "pid": c.CLONE_NEWPID, "time": c.CLONE_NEWTIME,
    "user": c.CLONE_NEWUSER, "uts": c.CLONE_NEWUTS,
}  # fmt: skip
"""The eight kinds, by their names in /proc/PID/ns, with their CLONE flags (namespaces(7))."""

BY_FLAG = {flag: kind for kind, flag in KINDS.items()}

FOR_CHILDREN = {"pid_for_children": "pid", "time_for_children": "time"}
"""Names in /proc/PID/ns of where children will be, which may be another one than the process's."""


def inode(pid: int, kind: str) -> int:
    """The inode of the namespace of `kind` that `pid` is in. OSError if it cannot be read."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino

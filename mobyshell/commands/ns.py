"""`ns`: the kernel's namespaces, and who is in them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.output import clean
from mobyshell.commands.registry import (
    NAMESPACE_KIND,
    NUMBER,
    READ,
    WRITE,
    Parameter,
    argument,
    option,
    verb,
)  # fmt: skip
from mobyshell.commands.results import Done, Record, Rows, Text
from mobyshell.core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.linux.namespaces import NamespaceInfo

_KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_KIND = option("-t --type", "only this kind", NAMESPACE_KIND, choices=_KINDS, name="kind")


def _row(one: NamespaceInfo, tasks: dict[int, str]) -> dict[str, Any]:
    first = min(one.pids) if one.pids else None
    return {
        "kind": one.kind, "inode": one.inode, "processes": len(one.pids), "pid": first,
        "owner": one.owner_uid, "user_namespace": one.user_namespace, "parent": one.parent,
        "command": one.command, "task": tasks.get(first or 0, ""), "pids": list(one.pids),
    }  # fmt: skip


def _tasks(ctx: Context) -> dict[int, str]:
    return {one.pid: one.id for one in ctx.tasks.ls() if one.pid}


@verb("ns", "ls", _KIND, effect=READ, example="ns ls -t net")
def ls(ctx: Context, *, kind: str | None) -> Rows:
    """List the namespaces that this process can see, with how many processes are in each."""
    from mobyshell.core.linux.namespaces import snapshot

    tasks = _tasks(ctx)
    rows = [_row(one, tasks) for one in snapshot().namespaces if kind in (None, one.kind)]
    columns = (("kind", "KIND", "text"), ("inode", "INODE", "id"),
               ("processes", "PROCS", "number"), ("pid", "PID", "number"),
               ("task", "TASK", "text"), ("command", "COMMAND", "text"))  # fmt: skip
    return Rows(columns, rows, "inode")


@verb("ns", "tree", effect=READ, example="ns tree")
def tree(ctx: Context) -> Text:
    """Show user namespaces as a tree, each with the namespaces that it owns."""
    from mobyshell.core.linux.namespaces import snapshot

    found = snapshot()
    tasks = _tasks(ctx)
    users = {one.inode: one for one in found.namespaces if one.kind == "user"}
    lines: list[str] = []

    def line(one: NamespaceInfo, depth: int) -> str:
        row = _row(one, tasks)
        where = f" task {row['task']}" if row["task"] else ""
        return (f"{'  ' * depth}{one.kind} {one.inode}: {len(one.pids)} processes{where} "
                f"{clean(one.command)}")  # fmt: skip

    def show(one: NamespaceInfo, depth: int) -> None:
        lines.append(line(one, depth))
        for other in found.namespaces:
            if other.kind != "user" and other.user_namespace == one.inode:
                lines.append(line(other, depth + 1))
        for other in users.values():
            if other.parent == one.inode:
                show(other, depth + 1)

    for one in users.values():
        if one.parent not in users:
            show(one, 0)
    loose = [
        one for one in found.namespaces if one.kind != "user" and one.user_namespace not in users
    ]
    if loose:
        lines.append("owned by user namespaces that cannot be seen from here:")
        lines += [line(one, 1) for one in loose]
    if found.unreadable:
        ctx.say(f"note: {found.unreadable} processes do not let their namespaces be read")
    return Text("\n".join(lines) + "\n")


@verb("ns", "inspect", argument("inode", NUMBER, "the inode, or a pid"), effect=READ,
      example="ns inspect 1")  # fmt: skip
def inspect(ctx: Context, *, inode: int) -> Record:
    """Show one namespace by its inode; or, given a pid, all of that process's."""
    from mobyshell.core.linux.namespaces import snapshot

    tasks = _tasks(ctx)
    found = snapshot()
    for one in found.namespaces:
        if one.inode == inode:
            return Record(_row(one, tasks), "inode")
    if os.path.isdir(f"/proc/{inode}"):
        theirs = {one.kind: one.inode for one in found.namespaces if inode in one.pids}
        return Record({"pid": inode, "task": tasks.get(inode, ""), "namespaces": theirs}, "pid")
    raise NotFound(f"no namespace and no process {inode}", hint="`mobyshell ns ls` lists them")


@verb(
    "ns", "enter",
    argument("target", "task", "a task, or a pid"),
    option("-t --type", "only this kind (default: all)", NAMESPACE_KIND, choices=_KINDS,
           many=True, name="kinds"),
    Parameter("command", "text", "the command (default: a shell)", rest=True),
    effect=WRITE, example="ns enter up hostname", greedy=True,
)  # fmt: skip
def enter(ctx: Context, *, target: str, kinds: tuple[str, ...], command: tuple[str, ...]) -> Done:
    """Run a command inside the namespaces of a task or process, in a helper of its own."""
    import subprocess
    import sys

    pid = int(target) if target.isdecimal() else ctx.tasks.get(target).pid
    if pid <= 0:
        raise UsageError(f"{target} has no process now", hint="start it first")
    if not os.path.isdir(f"/proc/{pid}"):
        raise NotFound(f"no process {pid}")
    words = [sys.executable, "-m", "mobyshell.core.linux.enter", str(pid),
             ",".join(kinds or _KINDS), *(command or ("sh",))]  # fmt: skip
    code = subprocess.run(words, check=False).returncode
    return Done(code=code if code >= 0 else 128 - code)

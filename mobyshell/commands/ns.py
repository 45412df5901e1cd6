"""`ns`: the kernel's namespaces, who is in them, and going in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from mobyshell.commands.registry import (
    NAMESPACE_KIND,
    READ,
    TEXT,
    WHERE,
    WRITE,
    Parameter,
    argument,
    option,
    verb,
)
from mobyshell.commands.results import Done, Record, Rows
from mobyshell.core.errors import NotFound, UsageError

if TYPE_CHECKING:
    from mobyshell.commands.context import Context
    from mobyshell.core.linux.namespaces.entry import Entry
    from mobyshell.core.linux.namespaces.values import Namespace, Process
    from mobyshell.moby.kernel import Look

_KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_KIND = option("-t --type", "only this kind", NAMESPACE_KIND, choices=_KINDS, name="kind")


def _look(ctx: Context) -> Look:
    from mobyshell.moby.kernel import LiveKernel

    return LiveKernel(ctx.every_task).look()


def _listed(ctx: Context) -> Look:
    """A look of which what is not in it is said."""
    look = _look(ctx)
    if look.untold:
        ctx.say(f"note: tasks are not known: {look.untold}")
    if look.survey.unreadable:
        count = len(look.survey.unreadable)
        ctx.say(f"note: {count} process{'es'[: 2 * (count != 1)]} may not be looked at")
    return look


def _row(look: Look, one: Namespace) -> dict[str, Any]:
    from mobyshell.moby.kernel import kept_by, owner_name

    tasks = look.tasks_in(one)
    return {
        "kind": one.kind, "inode": one.inode, "processes": len(one.members),
        "pid": one.members[0] if one.members else None, "owner": owner_name(look, one),
        "user_namespace": one.owner, "parent": one.parent, "owner_uid": one.owner_uid,
        "task": " ".join(task.id for task in tasks),
        "tenant": " ".join(dict.fromkeys(task.namespace for task in tasks)),
        "command": kept_by(look, one), "pids": list(one.members),
        "holds": [str(hold) for hold in one.holds],
    }  # fmt: skip


_COLUMNS = (
    ("inode", "INODE", "id"), ("processes", "PROCS", "number"), ("pid", "PID", "number"),
    ("owner", "OWNER", "text"), ("task", "TASK", "text"), ("command", "COMMAND", "text"),
)  # fmt: skip


@verb("ns", "ls", _KIND, effect=READ, example="ns ls -t net")
def ls(ctx: Context, *, kind: str | None) -> Rows:
    """List the namespaces that can be seen: through processes, threads, descriptors and mounts."""
    look = _listed(ctx)
    found = [one for one in look.survey.namespaces if kind in (None, one.kind)]
    return Rows((("kind", "KIND", "text"), *_COLUMNS), [_row(look, one) for one in found], "inode")


@verb(
    "ns", "tree", _KIND,
    option("--by", "owner: below the user namespace that owns it; parent: each kind by itself",
           TEXT, choices=("owner", "parent"), default="owner"),
    effect=READ, example="ns tree",
)  # fmt: skip
def tree(ctx: Context, *, kind: str | None, by: str) -> Rows:
    """Show namespaces as a tree: of user namespaces with what they own, or of each kind."""
    from mobyshell.core.linux.namespaces.tree import branches

    look = _listed(ctx)
    found = [one for one in look.survey.namespaces if kind in (None, one.kind)]
    rows = [
        {**_row(look, branch.namespace), "depth": branch.depth,
         "tree": f"{branch.stem}{branch.namespace.kind}"}
        for branch in branches(found, by)
    ]  # fmt: skip
    return Rows((("tree", "NAMESPACE", "text"), *_COLUMNS), rows, "inode")


@verb("ns", "inspect", argument("target", WHERE, "an inode, a pid, or a task"), effect=READ,
      example="ns inspect 1", key="i")  # fmt: skip
def inspect(ctx: Context, *, target: str) -> Record:
    """Show one namespace with what is inside; or the namespaces of a process, or of a task's."""
    from mobyshell.core.linux.namespaces.details import details
    from mobyshell.core.linux.namespaces.explain import EXPLANATIONS

    look = _look(ctx)
    number = int(target) if target.isdecimal() else _pid_of(ctx, target)
    one = look.survey.find(number)
    if one is None:
        return _process(look, number)
    told = EXPLANATIONS[one.kind]
    inside: dict[str, Any] = {}
    for fact in details(look.survey, one):
        inside.setdefault(fact.name, []).append(fact.value)
    row = _row(look, one)
    members = [_member(look, look.survey.processes[pid]) for pid in row.pop("pids")]
    return Record(
        {
            **row, "isolates": told.isolates, "man": told.man,
            "inside": {name: found[0] if len(found) == 1 else found
                       for name, found in inside.items()},
            "members": members,
        },
        "inode",
    )  # fmt: skip


def _member(look: Look, process: Process) -> dict[str, Any]:
    task = look.tasks.get(process.pid)
    return {
        "pid": process.pid, "inner": process.inner, "uid": process.uid, "comm": process.comm,
        "command": process.command, "cgroup": process.cgroup,
        "task": task.id if task is not None else "",
        "tenant": task.namespace if task is not None else "",
    }  # fmt: skip


def _process(look: Look, pid: int) -> Record:
    if pid in look.survey.processes:
        theirs = {kind: one.inode for kind, one in look.survey.of(pid).items()}
        return Record({**_member(look, look.survey.processes[pid]), "namespaces": theirs}, "pid")
    if pid in look.survey.unreadable:
        why = "they may not be read: that takes ptrace access, of its user or of root"
        return Record({"pid": pid, "namespaces": {}, "untold": why}, "pid")
    raise NotFound(f"no namespace and no process {pid}", hint="`mobyshell ns ls` lists them")


def _pid_of(ctx: Context, task: str) -> int:
    pid = ctx.tasks.get(task).pid
    if pid <= 0:
        raise UsageError(f"{task} has no process now", hint="start it first")
    return pid


def entry_of(ctx: Context, target: str, kinds: tuple[str, ...]) -> Entry:
    """The way to what `target` names: a task, a pid, or inodes with commas between them."""
    from mobyshell.core.linux.namespaces.entry import enter_namespaces, enter_process
    from mobyshell.core.linux.namespaces.survey import survey

    words = target.split(",")
    found = survey()
    if all(word.isdecimal() for word in words):
        if len(words) > 1 or found.find(int(words[0])) is not None:
            if kinds:
                raise UsageError("an inode says its kind itself", hint="--type is for a process")
            return enter_namespaces(found, [int(word) for word in words])
        pid = int(words[0])
        if not os.path.isdir(f"/proc/{pid}"):
            raise NotFound(f"no namespace and no process {pid}",
                           hint="`mobyshell ns ls` lists them")  # fmt: skip
    else:
        pid = _pid_of(ctx, target)
    return enter_process(found, pid, kinds)


def _plan(ctx: Context, *, target: str, kinds: tuple[str, ...], command: tuple[str, ...]) -> Rows:
    """What `ns enter` would do, call by call."""
    import shlex

    from mobyshell.core.linux.namespaces.entry import nsenter, steps

    entry = entry_of(ctx, target, kinds)
    rows = [
        {"n": number, "call": step.call, "why": step.why, "man": step.man}
        for number, step in enumerate(steps(entry, command or ("sh",)), 1)
    ]
    columns = (("n", "", "number"), ("call", "CALL", "text"), ("why", "WHY", "prose"),
               ("man", "MAN", "text"))  # fmt: skip
    said = f"with util-linux: {shlex.join(nsenter(entry, command or ('sh',)))}"
    return Rows(columns, rows, "n", said=said)


@verb(
    "ns", "enter",
    argument("target", WHERE, "a task, a pid, or inodes: 4026532201,4026532204"),
    option("-t --type", "only this kind of the process's (default: all)", NAMESPACE_KIND,
           choices=_KINDS, many=True, name="kinds"),
    Parameter("command", "text", "the command (default: a shell)", rest=True),
    effect=WRITE, example="ns enter up hostname", key="s", greedy=True, plan=_plan,
)  # fmt: skip
def enter(ctx: Context, *, target: str, kinds: tuple[str, ...], command: tuple[str, ...]) -> Done:
    """Run a command inside the namespaces of a process, or in those of some inodes.

    In a helper of its own: the user namespace before what it owns, as root of it where it has one.
    The command is in the namespaces, not in the cgroup: no limit of a task is on it; for that there
    is `task exec`. In a mount or user namespace it gets nothing of our environment.
    """
    import subprocess

    from mobyshell.core.linux.namespaces.entry import program

    entry = entry_of(ctx, target, kinds)
    for inode in entry.added:
        ctx.say(f"note: its user namespace {inode} is entered, too: without it that is refused")
    code = subprocess.run(program(entry, command or ("sh",)), check=False).returncode
    return Done(code=code if code >= 0 else 128 - code)

"""The kernel's namespaces as rows and lines. Pure: values in, rows and text out."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mobyshell.commands.output import clean
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.namespaces.details import Fact
from mobyshell.core.linux.namespaces.entry import FLAGS, enter_namespaces, nsenter, steps
from mobyshell.core.linux.namespaces.explain import EXPLANATIONS
from mobyshell.core.linux.namespaces.tree import above
from mobyshell.core.linux.namespaces.values import Namespace
from mobyshell.moby.kernel import Look, kept_by, owner_name
from mobyshell.widgets.resource import Column, ResourceSpec, Row

WIDTH = 76
"""Columns that an explanation takes."""

_NAME = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """A namespace, with the look that it was seen in; `within` is the inode of the one that it stands
    below in the tree, 0 at a root."""

    namespace: Namespace
    within: int
    look: Look


def names_of(look: Look, inodes: Iterable[int]) -> str:
    """Namespaces by kind and inode, as a person calls them."""
    kinds = {one.inode: one.kind for one in look.survey.namespaces}
    return ", ".join(f"{kinds.get(inode, '')} {inode}".strip() for inode in inodes)


def kernel_health(row: Row) -> str:
    """good: a task's own; off: without processes; busy: anything else."""
    return "off" if not row["processes"] else "good" if row["task"] else "busy"


KERNEL = ResourceSpec(
    noun="namespace",
    key="inode",
    columns=(
        Column("kind", "NAMESPACE", 12), Column("inode", "INODE", 10, "id"),
        Column("processes", "PROCS", 5, "number"), Column("owner", "OWNER", 8, "text"),
        Column("task", "TASK", 10, "state"), Column("pid", "PID", 7, "number", 90),
        Column("command", "COMMAND", 0),
    ),
    health=kernel_health,
    empty="No namespaces: /proc cannot be read from here.",
    sort="kind",
    parent="within",
)  # fmt: skip

MEMBERS = ResourceSpec(
    noun="process",
    key="pid",
    columns=(
        Column("pid", "PID", 7, "number"), Column("inner", "INSIDE", 7, "number"),
        Column("uid", "UID", 6, "number"), Column("task", "TASK", 12, "state"),
        Column("tenant", "TENANT", 10, "text", 90), Column("cgroup", "CGROUP", 24, "text", 100),
        Column("command", "COMMAND", 0),
    ),
    health=lambda row: "good" if row["task"] else "busy",
    empty="No process is in it.",
)  # fmt: skip


def seen(look: Look, order: str) -> list[Seen]:
    """All of a look, in a tree by this relation."""
    found = look.survey.namespaces
    within = above(found, order)
    return [Seen(one, within(one), look) for one in found]


def kernel_rows(found: Sequence[Seen]) -> list[dict[str, Any]]:
    """One row a namespace."""
    return [
        {
            "inode": str(one.namespace.inode), "within": str(one.within),
            "kind": one.namespace.kind,
            "processes": len(one.namespace.members), "owner": owner_name(one.look, one.namespace),
            "task": " ".join(task.id for task in one.look.tasks_in(one.namespace)),
            "pid": one.namespace.members[0] if one.namespace.members else None,
            "command": kept_by(one.look, one.namespace),
        }
        for one in found
    ]  # fmt: skip


def member_rows(one: Seen) -> list[dict[str, Any]]:
    """One row a process in it."""
    rows = []
    for pid in one.namespace.members:
        process, task = one.look.survey.processes.get(pid), one.look.tasks.get(pid)
        if process is not None:
            rows.append({
                "pid": pid, "inner": process.inner, "uid": process.uid, "cgroup": process.cgroup,
                "command": process.command, "comm": process.comm,
                "task": task.id if task is not None else "",
                "tenant": task.namespace if task is not None else "",
            })  # fmt: skip
    return rows


def inside_text(one: Seen, facts: Sequence[Fact]) -> str:
    """All that is known of one."""
    space, look = one.namespace, one.look
    lines = [f"{space.kind} namespace {space.inode}", ""]
    lines += _line("isolates", EXPLANATIONS[space.kind].isolates)
    lines += _line("owner", _relative(look, space.owner, owner_name(look, space)))
    if space.kind in ("pid", "user"):
        lines += _line("parent", _relative(look, space.parent, ""))
    first = look.survey.first(space)
    count = f"{len(space.members)}"
    lines += _line("processes", f"{count}, first {first.pid} {first.command}" if first else count)
    for task in look.tasks_in(space):
        lines += _line("task", f"{task.id} in namespace {task.namespace}")
    for hold in space.holds[:8]:
        lines += _line("kept by", str(hold))
    if len(space.holds) > 8:
        lines += _line("", f"and {len(space.holds) - 8} more")
    lines.append("")
    for fact in facts:
        lines += _line(fact.name, fact.value)
    return "\n".join(lines)


def _relative(look: Look, inode: int, who: str) -> str:
    if not inode:
        return "none that we may see"
    there = "" if look.survey.find(inode) is not None else ", which is not seen"
    return f"{inode}{f' of {who}' if who else ''}{there}"


def _line(name: str, value: str) -> list[str]:
    wrapped = textwrap.wrap(clean(value), WIDTH - _NAME) or [""]
    return [f"{name if not at else '':{_NAME}}{text}" for at, text in enumerate(wrapped)]


def commands(one: Seen) -> dict[str, str]:
    """What does the same in a shell, by what it does."""
    space = one.namespace
    more = {"pid": " --fork --mount-proc", "user": " --map-root-user"}.get(space.kind, "")
    found = {
        "list": f"lsns {space.inode}" if space.members else f"lsns --type {space.kind}",
        "make": f"unshare {FLAGS[space.kind]}{more} sh",
    }
    try:
        entry = enter_namespaces(one.look.survey, [space.inode])
        return {"enter": shlex.join(nsenter(entry, ["sh"])), **found}
    except MobyshellError:
        return found


def explain_text(one: Seen) -> str:
    """What its kind is for, what entering it does, and the same in a shell."""
    told = EXPLANATIONS[one.namespace.kind]
    lines = [f"{told.kind}: {told.isolates}", "", *textwrap.wrap(told.text, WIDTH), ""]
    lines += [f"{'made by':{_NAME}}{told.flag} of clone(2) and unshare(2)",
              f"{'in full':{_NAME}}man 7 {told.man.removesuffix('(7)')}", "", "Try it:", "",
              *(f"  {line}" for line in textwrap.wrap(told.try_it, WIDTH - 2)), ""]  # fmt: skip
    try:
        entry = enter_namespaces(one.look.survey, [one.namespace.inode])
    except MobyshellError as error:
        return "\n".join([*lines, f"It cannot be entered: {error.message}"])
    lines += ["What s does here:", ""]
    for step in steps(entry, ["sh"]):
        lines.append(f"  {step.call}")
        lines += [f"      {line}" for line in textwrap.wrap(step.why, WIDTH - 6)]
    lines += ["", "The same in a shell (C copies one):", ""]
    for what, command in commands(one).items():
        lines += textwrap.wrap(f"{what:8}{command}", WIDTH - 2, initial_indent="  ",
                               subsequent_indent=" " * 10, break_long_words=False,
                               break_on_hyphens=False)  # fmt: skip
    return "\n".join(lines)

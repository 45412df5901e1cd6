"""A plan: the ordered kernel operations that turn a bundle into a container. Pure data.

Owns the types. A plan is made by `planner.make_plan` without touching the kernel, printed by
`bundle plan`, turned into a shell script by `script`, and executed by an executor that takes no
decisions: it walks `Operation.calls` in order. What would be a decision (a path that may not
exist, a filesystem that may lack a feature) is in the call as data: errnos to tolerate, calls to
skip.

    Plan ── operations: Operation ── calls: Call ── args: Arg
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeAlias

from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.values import field, named_value, replace, value

HOME = "\0home\0"
"""Stands in texts for the home of the program's user, which is known when all is mounted."""

PID, INIT = "\0pid\0", "\0init\0"
"""Stand in texts for the process that a program makes, and for the container's first one."""

INNER = "\0inner\0"
"""Stands in texts for the number that the process has in its own pid namespace."""

SNAPSHOT = "\0snapshot\0"
"""Stands in texts for the directory of the container's own snapshot, so that all containers of one
image share a plan."""


class Actor(StrEnum):
    """Who executes an operation."""

    PARENT = "parent"
    """The runtime (the shim, or `mobyshell-runc`), in the host's namespaces."""
    CHILD = "child"
    """The process that becomes the container's init."""


class Phase(StrEnum):
    """When. Operations of one actor run in this order; gates keep the two actors in step."""

    PREPARE = "prepare"
    """Parent: state directory, exec fifo, the cgroup that the child is born in. Before it exists."""
    CLONE = "clone"
    """Parent: the child is made, in new namespaces."""
    BESIDE = "beside"
    """Parent, while the child sets itself up: cgroups that it enters later. May be done before, too:
    a child that finds them made does not wait."""
    JOIN = "join"
    """Child: existing namespaces entered; those that clone could not make, unshared."""
    ATTACH = "attach"
    """Parent: the child into its cgroups, id maps written. Then gate 1 opens."""
    SETUP = "setup"
    """Child, behind gate 1: mounts placed below the new root, devices, sysctls, hostname."""
    HOOKS = "hooks"
    """Parent, while the child waits at gate 2: prestart, createRuntime, createContainer."""
    PIVOT = "pivot"
    """Child: the new root, then masked and read-only paths; the terminal. Then ready."""
    WAIT = "wait"
    """Child: blocks on the exec fifo. The container is `created`."""
    START = "start"
    """Parent, on `start`: startContainer hooks, then the fifo is opened; then poststart hooks."""
    EXEC = "exec"
    """Child: identity, capabilities, rlimits, seccomp, execve. The container is `running`."""


@value
class Cell:
    """The result of an earlier call in the same program (a descriptor, mostly), by name.

    Names that the executor fills before the program runs: `root.dir` never; `sync` (the child's
    end of the gate socket), `stdin` `stdout` `stderr`, `fifo` (O_PATH descriptor of the exec fifo),
    `console` (socket that takes the terminal's master), `pid` (the child, parent programs only).
    """

    name: str


@value
class Text:
    """A C string. `{pid}` in `value` becomes the child's pid (parent programs only) if `template`."""

    value: str
    template: bool = False


@value
class Data:
    """A struct or buffer in the program's arena.

    `cells`: (offset, width in bytes, cell) to be stored into it before the call;
    `pointers`: (offset, thing) whose address is stored into it;
    `shown`: how a person reads it (`{"size": 24, "flags": "O_PATH"}` as one short text).
    Mutable to the kernel, never to us.
    """

    value: bytes
    shown: str = ""
    cells: tuple[tuple[int, int, Cell], ...] = ()
    pointers: tuple[tuple[int, Text | Data], ...] = ()


@value
class Scratch:
    """Memory that calls of one program share by its name: one fills it, another reads it.

    `size` in bytes (the same wherever the name is used), `offset` where in it the argument points.
    All zero when the program starts.
    """

    name: str
    size: int
    offset: int = 0


@value
class Vector:
    """A NULL-terminated array of C strings (argv, envp)."""

    values: tuple[str, ...]


@value
class Flags:
    """A number with names: `shown` is what a person reads, as in the man page (`MS_BIND|MS_REC`)."""

    value: int
    shown: str


Arg: TypeAlias = int | Cell | Text | Data | Scratch | Vector | Flags


@value
class Call:
    """One raw system call, or a pseudo call that only the parent's executor knows.

    `name` is the system call's, or one of the pseudo calls `@hook`, `@spawn`, `@net_device`.
    `result`: the cell that takes what it returns.
    `tolerate`: errnos after which the program goes on. Any other failure aborts the program.
    `skip_on_error`, `skip_on_success`: how many following calls (of the same operation) are then
    passed over. `expect`: abort unless exactly this is returned. `otherwise`: what it means when the
    program ends here, for people.
    """

    name: str
    args: tuple[Arg, ...] = ()
    result: Cell | None = None
    tolerate: tuple[int, ...] = ()
    skip_on_error: int = 0
    skip_on_success: int = 0
    expect: int | None = None
    otherwise: str = ""


@named_value
class Operation:
    """What a person sees as one step: what is done, because of what, by which calls.

    `why` is a sentence; `source` the JSON path in config.json that asked for it ("" where the
    runtime does it on its own account); `spec` the section (`config-linux.md#namespaces`); `man`
    the page (`pivot_root(2)`); `shell` the same with util-linux, POSIX sh, one command an entry;
    `hints` what to do about an errno, where this operation knows better than the call in general.
    """

    actor: Actor
    phase: Phase
    title: str
    why: str
    source: str = ""
    spec: str = ""
    man: str = ""
    calls: tuple[Call, ...] = ()
    shell: tuple[str, ...] = ()
    hints: tuple[tuple[int, str], ...] = ()


@named_value
class Plan:
    """Everything between a bundle and a running container, in order.

    `clone_flags`: CLONE_NEW* for the child; `cgroups`: controller → absolute directory (v2: key "");
    `agent`: the socket of whoever is asked about the system calls of its filter, or empty;
    `attended`: the child waits at its first gate for the parent's operations of ATTACH;
    `unit`: the unit of systemd whose cgroups these are, "" if we make them ourselves;
    `resctrl`: where classes of service are made, if the container is to have one;
    `notices`: what the spec asks for and this plan leaves out or weakens, each one line, never silent.
    `handed`: the cells of the runtime's own program whose descriptors the child gets as well.
    """

    id: str
    bundle: str
    rootfs: str
    operations: tuple[Operation, ...]
    clone_flags: int = 0
    cgroups: dict[str, str] = field(default_factory=dict)
    terminal: bool = False
    attended: bool = False
    unit: str = ""
    agent: str = ""
    resctrl: Resctrl | None = None
    notices: tuple[str, ...] = ()
    handed: tuple[str, ...] = ()

    def of(self, actor: Actor, *phases: Phase) -> tuple[tuple[int, Operation], ...]:
        """The operations of `actor` (in `phases`, if any are given) with their indices, in order."""
        return tuple(
            (index, operation)
            for index, operation in enumerate(self.operations)
            if operation.actor is actor and (not phases or operation.phase in phases)
        )


def show_arg(arg: Arg) -> str:
    """An argument as a person reads it: strings quoted, flags by name, cells as `<name>`."""
    match arg:
        case int():
            return str(arg)
        case Cell(name):
            return f"<{name}>"
        case Text(value):
            value = (
                value.replace(PID, "<pid>").replace(INIT, "<init>").replace(INNER, "<pid inside>")
            )
            return '"' + value.replace("{pid:<10}", "{pid}") + '"'
        case Flags(_, shown):
            return shown
        case Scratch(name, _, offset):
            return f"<{name}>+{offset}" if offset else f"<{name}>"
        case Data(value, shown):
            return shown or f"{{{len(value)} bytes}}"
        case Vector(values):
            words = (value.replace(HOME, "<as /etc/passwd says>") for value in values)
            return "[" + ", ".join(f'"{word}"' for word in words) + "]"


def show_call(call: Call) -> str:
    """A call in the notation of strace: `name(args) -> <cell>`."""
    text = f"{call.name}({', '.join(show_arg(arg) for arg in call.args)})"
    return f"{text} -> <{call.result.name}>" if call.result else text


def operation_json(operation: Operation) -> dict[str, Any]:
    """An operation as JSON values, its calls as text."""
    return {
        "actor": str(operation.actor),
        "phase": str(operation.phase),
        "title": operation.title,
        "why": operation.why,
        "source": operation.source,
        "spec": operation.spec,
        "man": operation.man,
        "calls": [show_call(call) for call in operation.calls],
    }


def named(plan: Plan, placeholder: str, name: str) -> Plan:
    """`plan` with `name` in the place of a placeholder, wherever a text has it."""

    def put(text: str) -> str:
        return text.replace(placeholder, name)

    def arg(one: Arg) -> Arg:
        if isinstance(one, Scratch):
            return replace(one, name=put(one.name))
        return Text(put(one.value), one.template) if isinstance(one, Text) else one

    def operation(one: Operation) -> Operation:
        return replace(
            one,
            title=put(one.title),
            calls=tuple(replace(c, args=tuple(arg(a) for a in c.args)) for c in one.calls),
            shell=tuple(put(line) for line in one.shell),
        )

    return replace(
        plan,
        bundle=put(plan.bundle),
        rootfs=put(plan.rootfs),
        operations=tuple(
            operation(one) if _mentions(one, placeholder) else one for one in plan.operations
        ),
        cgroups={name: put(path) for name, path in plan.cgroups.items()},
        unit=put(plan.unit),
    )


def _mentions(operation: Operation, placeholder: str) -> bool:
    return placeholder in operation.title or any(
        isinstance(arg, Text) and placeholder in arg.value
        for call in operation.calls
        for arg in call.args
    )

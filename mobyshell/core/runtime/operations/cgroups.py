"""Operations that make the container's cgroups, limit them, and bring processes into them."""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.cgroups import Write, refused
from mobyshell.core.runtime.operations.calls import (
    CWD,
    SYNC,
    close,
    flags,
    permissions,
    quote,
    write_file,
)  # fmt: skip
from mobyshell.core.runtime.operations.taken_groups import made, taken_over
from mobyshell.core.runtime.operations.verify import equal
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Operation, Phase, Scratch, Text
from mobyshell.core.values import replace


def make(
    controller: str,
    path: str,
    base: str,
    inherit: Sequence[tuple[str, str]],
    *,
    shared: bool = False,
) -> Operation:
    """Make the directory `path` of one hierarchy, below `base` which exists.

    `inherit`: (file, value) to write first in every directory on the way: a new v1 cpuset is
    empty and takes no process before it has CPUs and memory nodes. `shared`: the last directory
    may be there already, from systemd.
    """
    calls: list[Call] = []
    shell: list[str] = []
    steps = path.removeprefix(base).strip("/").split("/")
    current = base
    for depth, step in enumerate(steps):
        current = f"{current}/{step}"
        last = depth == len(steps) - 1 and not shared
        calls += taken_over(controller, current) if last else [made(current)]
        shell.append(f"{'' if last else f'[ -d {quote(current)} ] || '}mkdir {quote(current)}")
        for name, value in inherit:
            # refused where a sibling's children already use more: then it is set already
            calls += write_file(f"{current}/{name}", value, tolerate=(errno.EBUSY, errno.EACCES))
            shell.append(
                f"echo {quote(value)} > {quote(f'{current}/{name}')}{'' if last else ' || :'}"
            )
    label = controller or "v2"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"make the {label} cgroup {path}",
        why="Its limits hold for, and its counters count, everything the container starts.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=tuple(calls),
        # among the script's own arguments, which it removes at its end
        shell=(*shell, f'set -- {quote(path)} "$@"'),
    )


def level(path: str) -> Operation:
    """Make one directory on the way to a v2 group; others may share it."""
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"make the v2 cgroup {path}, if it is not there",
        why="The container's cgroup lies below it.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=(Call("mkdirat", (CWD, Text(path), permissions(0o755)), tolerate=(errno.EEXIST,)),),
        shell=(f"[ -d {quote(path)} ] || mkdir {quote(path)}",),
    )


def enable(
    path: str, needed: Mapping[str, str], wanted: Sequence[str], witness: str, *, root: bool
) -> Operation:
    """Let the groups right below the v2 group `path` have controllers.

    `needed`: controller → the member of the spec that needs it; `wanted`: those that only count
    for statistics, without which the container runs as well. `witness`: a controller that the
    kernel refuses to a group with processes, to be handed down with those of threads, which it
    does not refuse: they would make the group threaded, and what is below it unfit for a
    container. "" if there is none; then it is looked, unless `path` is the `root`, which may have
    processes.
    """
    names = list(dict.fromkeys((*needed, *wanted)))
    must = list(dict.fromkeys((*needed, *([witness] if witness else ()))))
    file, control = Cell("file"), f"{path}/cgroup.subtree_control"

    def put(controllers: Sequence[str], tolerate: tuple[int, ...], skip: int) -> Call:
        text = " ".join(f"+{one}" for one in controllers)
        data = Data(text.encode(), repr(text))
        return Call("write", (file, data, len(text)), tolerate=tolerate, skip_on_success=skip)

    how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
    opened = Call("openat", (CWD, Text(control), how), result=file)
    # all is all or nothing, and mostly they are enabled already
    calls = [*([] if witness or root else _empty(path)), opened]
    every = list(dict.fromkeys((*must, *wanted)))
    shell = f"echo {' '.join(f'+{one}' for one in every)} > {quote(control)} 2>/dev/null"
    if needed:
        calls += [put(every, _NOT_HANDED_DOWN, 1), put(must, (), 0)]
        shell += f" || echo {' '.join(f'+{one}' for one in must)} > {quote(control)}"
    else:
        calls[-1] = replace(opened, tolerate=_NOT_HANDED_DOWN, skip_on_error=2)
        calls.append(put(every, _NOT_HANDED_DOWN, 0))
        shell += " || :"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"hand {', '.join(names)} down to what is below {path}",
        why="A v2 group can limit and count only what the group above it hands down.",
        source=next(iter(needed.values()), "linux.cgroupsPath"),
        spec="config-linux.md#control-groups",
        man="cgroups(7)",
        calls=(*calls, close(file)),
        shell=(shell,),
        hints=tuple(refused(path).items()),
    )


_NOT_HANDED_DOWN = (
    errno.EBUSY, errno.ENOENT, errno.EACCES, errno.EOPNOTSUPP, errno.EPERM, errno.EROFS,
    errno.EINVAL,
)  # fmt: skip


def _empty(path: str) -> list[Call]:
    """Go on only if no process is in the group `path`."""
    file = Cell("processes")
    how = flags("open", c.O_RDONLY | c.O_CLOEXEC)
    return [
        Call("openat", (CWD, Text(f"{path}/cgroup.procs"), how), result=file),
        Call("read", (file, Data(bytes(8), "<pid>"), 8), expect=0,
             otherwise=refused(path)[errno.EBUSY]),
        close(file),
    ]  # fmt: skip


def limits(writes: Sequence[Write], path: str) -> Operation:
    """Consecutive writes into one control file, for one member of the spec."""
    first = writes[0]
    file = f"{path}/{first.file}"
    shell = [f"printf %s {quote(one.value)} > {quote(file)}" for one in writes]
    if len(writes) == 1:
        title = f"{first.file} = {first.value}"
        calls = write_file(file, first.value)
        if first.optional or first.otherwise:
            calls, shell = _as_the_kernel_has_it(first, path)
    else:
        title = f"{first.file}: {', '.join(one.value for one in writes)}"
        opened = Cell("file")
        how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
        calls = [Call("openat", (CWD, Text(file), how), result=opened)]
        for one in writes:
            data = one.value.encode()
            calls.append(Call("write", (opened, Data(data, repr(one.value)), len(data))))
        calls.append(close(opened))
    why = f"The spec limits the container's use of {first.needs or 'cgroups'}."
    if not first.source:
        why = "Every container may use these, whatever the rules say."
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=title,
        why=why,
        source=first.source,
        spec="config-linux.md#control-groups",
        man="cgroups(7)",
        calls=tuple(calls),
        shell=tuple(shell),
    )


def _as_the_kernel_has_it(write: Write, path: str) -> tuple[list[Call], list[str]]:
    """The write into a file that may not be there: nothing then, or the other file that is."""
    file = quote(f"{path}/{write.file}")
    other: list[Call] = []
    shell = [f"[ ! -e {file} ] || printf %s {quote(write.value)} > {file}"]
    if write.otherwise is not None:
        name, value = write.otherwise
        other = write_file(f"{path}/{name}", value)
        shell.append(f"[ -e {file} ] || printf %s {quote(value)} > {quote(f'{path}/{name}')}")
    opened, put, shut = write_file(f"{path}/{write.file}", write.value)
    first = replace(opened, tolerate=(errno.ENOENT,), skip_on_error=2)
    return [first, put, replace(shut, skip_on_success=len(other)), *other], shell


def grouped(writes: Sequence[Write]) -> list[list[Write]]:
    """Writes in runs of the same file and source."""
    groups: list[list[Write]] = []
    for one in writes:
        alone = one.optional or one.otherwise
        if (
            groups
            and not alone
            and (groups[-1][-1].file, groups[-1][-1].source) == (one.file, one.source)
        ):
            groups[-1].append(one)
        else:
            groups.append([one])
    return groups


MAKING = Scratch("cgroups being made", 8)
"""1 while the parent still makes them, beside the child."""
ASKS_FOR_GROUPS = b"g"
"""What a child says that has looked in vain."""
_PAUSES = (10, 10, 20, 20, 40, 40, 80, 160, 320, 640, 1280)
"""Microseconds between two looks."""


def wait_until_made() -> Operation:
    """The child goes on once its cgroups are there: mostly they are by then, or in a moment.

    It looks for itself: woken by the runtime, which goes on as well, it would be put behind that on
    the same processor.
    """
    said = repr(ASKS_FOR_GROUPS.decode())
    calls: list[Call] = []
    for pause in _PAUSES:
        time = Data(struct.pack("=QQ", 0, pause * 1000), f"{{{pause} us}}")
        calls += [equal(MAKING, 0, 1, "", tolerate=True), Call("nanosleep", (time, 0))]
    calls += [
        equal(MAKING, 0, 1, "", tolerate=True),
        Call("write", (SYNC, Data(ASKS_FOR_GROUPS, said), 1)),
        # one byte, or 0 when the runtime died: then this process must not go on alone
        Call("read", (SYNC, Data(b"\0", "<gate>"), 1), expect=1),
    ]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="wait for the cgroups, should they not all be made yet",
        why="The runtime makes them while this process sets itself up.",
        man="futex(2), nanosleep(2), read(2)",
        calls=tuple(
            replace(one, skip_on_error=len(calls) - 1 - index) if one.name == "futex" else one
            for index, one in enumerate(calls)
        ),
    )


def join(controller: str, path: str) -> Operation:
    """The child moves itself: for a single thread that moves itself, the kernel need not stop
    forks all over the machine, as it must when somebody else moves a process."""
    file = Cell("file")
    how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"move into the {controller} cgroup",
        why="Before anything of the image runs; later nothing gets it out again.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=(
            Call("openat", (CWD, Text(f"{path}/tasks"), how), result=file),
            Call("write", (file, Data(b"0", '"0"'), 1)),
            close(file),
        ),
        shell=(f'echo "$pid" > {quote(f"{path}/cgroup.procs")}',),
    )


def entrance(controller: str) -> Cell:
    """What is open of a v1 cgroup, for a child to enter it that cannot reach it."""
    return Cell(f"{controller or 'v2'}-tasks")


def open_entrance(controller: str, path: str) -> Operation:
    """Open what the child moves itself with once it has left the host's files."""
    how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"open the {controller} cgroup {path}, for the child to enter",
        why="It can do that at its own pace, and from inside of the container's namespaces.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=(Call("openat", (CWD, Text(f"{path}/tasks"), how), result=entrance(controller)),),
    )


def enter(controllers: Sequence[str]) -> Operation:
    """The child moves itself through what was opened for it: see `join`."""
    calls: list[Call] = []
    for one in controllers:
        calls += [
            Call("write", (entrance(one), Data(b"0", '"0"'), 1)),
            close(entrance(one)),
        ]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"move into the container's cgroups ({', '.join(controllers)})",
        why="The container's limits hold for this process too, before it does anything else.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=tuple(calls),
        shell=("# entered with `echo $$ > tasks`, in each",),
    )


def born(path: str) -> Operation:
    """The v2 cgroup that the child is made in (CLONE_INTO_CGROUP)."""
    how = flags("open", c.O_DIRECTORY | c.O_CLOEXEC)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"open the v2 cgroup {path}, for the child to be born in",
        why="It never is anywhere else: clone3 puts it there.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="clone3(2)",
        calls=(Call("openat", (CWD, Text(path), how), result=Cell("cgroup")),),
        shell=(f'echo "$pid" > {quote(f"{path}/cgroup.procs")}',),
    )


def attach_child(controller: str, path: str) -> Operation:
    """Move the child in, before it does anything that should be counted."""
    label = controller or "v2"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.ATTACH,
        title=f"move the child into the {label} cgroup",
        why="It waits at the gate meanwhile, so nothing it does escapes the limits.",
        source="linux.cgroupsPath",
        spec="config-linux.md#cgroups-path",
        man="cgroups(7)",
        calls=tuple(_write_pid(f"{path}/cgroup.procs")),
        shell=(f'echo "$pid" > {quote(f"{path}/cgroup.procs")}',),
    )


def _write_pid(path: str) -> list[Call]:
    file = Cell("file")
    # a template: the child's pid is known only when this runs; padded, so the length is not
    pid = Text("{pid:<10}", template=True)
    opened = Call("openat", (CWD, Text(path), flags("open", c.O_WRONLY | c.O_CLOEXEC)), result=file)
    return [opened, Call("write", (file, pid, 10)), close(file)]

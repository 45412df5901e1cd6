"""Operations that give a container its class of service (config-linux.md#intelrdt). Pure."""

from __future__ import annotations

import errno

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.resctrl import Resctrl
from mobyshell.core.oci.linux import IntelRdt
from mobyshell.core.runtime.operations.calls import CWD, close, flags, permissions, quote
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Operation, Phase, Text

_SPEC = "config-linux.md#intelrdt"
_SOURCE = "linux.intelRdt"
_MAN = "resctrl.rst"


def path_of(asked: IntelRdt, resctrl: Resctrl, id: str) -> str:
    """The class's directory: the one that is named, else one of the container's own."""
    name = asked.clos_id or id
    return resctrl.root if name == "/" else f"{resctrl.root}/{name}"


def monitored(asked: IntelRdt, path: str, id: str) -> str:
    """The directory of the container's own monitoring group; "" if it is to have none."""
    return f"{path}/mon_groups/{id}" if asked.enable_monitoring else ""


def lines_of(asked: IntelRdt) -> tuple[str, ...]:
    """What is written to the schemata of the class, a resource a line."""
    cache = [line for line in (asked.l3_cache_schema or "").splitlines() if line]
    if asked.mem_bw_schema:
        # one line for each resource: its own member says it better
        cache = [line for line in cache if not line.startswith("MB:")]
        cache.append(asked.mem_bw_schema)
    return (*cache, *(asked.schemata or ()))


def prepare(asked: IntelRdt | None, resctrl: Resctrl | None, id: str) -> list[Operation]:
    """Make the class, or see that it is there; then say what it may use. Nothing is `asked`: nothing."""
    if asked is None or resctrl is None:
        return []
    path, lines = path_of(asked, resctrl, id), lines_of(asked)
    made = [_there(path)] if asked.clos_id and not lines else [_made(path, own=not asked.clos_id)]
    if path == resctrl.root:
        made = []
    if lines:
        made.append(_limited(path, lines))
    monitor = monitored(asked, path, id)
    return [*made, _group(monitor)] if monitor else made


def _made(path: str, *, own: bool) -> Operation:
    # what is its own goes at a script's end, as its cgroups do
    last = (f'set -- {quote(path)} "$@"',) if own else ()
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"make the class of service {path}",
        why="What its processes use of the cache and of the memory's bandwidth is held apart.",
        source=f"{_SOURCE}.closID",
        spec=_SPEC,
        man=_MAN,
        calls=(Call("mkdirat", (CWD, Text(path), permissions(0o755)), tolerate=(errno.EEXIST,)),),
        shell=(f"mkdir -p {quote(path)}", *last),
        hints=((errno.ENOSPC, "the processor has no more classes: see info/*/num_closids"),),
    )


def _there(path: str) -> Operation:
    how = flags("open", c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
    group = Cell("group")
    said = "it must be made beforehand where no schema says what it may use"
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"see that there is the class of service {path}",
        why="Without any schema, it is one that somebody else has set up.",
        source=f"{_SOURCE}.closID",
        spec=_SPEC,
        man=_MAN,
        calls=(Call("openat", (CWD, Text(path), how), result=group), close(group)),
        shell=(f"test -d {quote(path)}",),
        hints=((errno.ENOENT, said),),
    )


def _limited(path: str, lines: tuple[str, ...]) -> Operation:
    file, text = Cell("file"), "".join(f"{line}\n" for line in lines)
    data = text.encode()
    how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"allot cache and bandwidth: {', '.join(lines)}",
        why="Bits are parts of the cache, numbers of MB a share of the bandwidth, domain by domain.",
        source=f"{_SOURCE}.schemata",
        spec=_SPEC,
        man=_MAN,
        calls=(
            Call("openat", (CWD, Text(f"{path}/schemata"), how), result=file),
            Call("write", (file, Data(data, repr(text)), len(data))),
            close(file),
        ),
        shell=(f"printf '%s\\n' {' '.join(map(quote, lines))} > {quote(f'{path}/schemata')}",),
        hints=((errno.EINVAL, "info/last_cmd_status beside it says what is wrong with it"),),
    )


def _group(path: str) -> Operation:
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.PREPARE,
        title=f"make the monitoring group {path}",
        why="What this container alone uses is counted there.",
        source=f"{_SOURCE}.enableMonitoring",
        spec=_SPEC,
        man=_MAN,
        calls=(Call("mkdirat", (CWD, Text(path), permissions(0o755)), tolerate=(errno.EEXIST,)),),
        shell=(f"mkdir -p {quote(path)}",),
    )


def attach(asked: IntelRdt | None, resctrl: Resctrl | None, id: str) -> list[Operation]:
    """A process of the container into its class, and into its monitoring group."""
    if asked is None or resctrl is None:
        return []
    path = path_of(asked, resctrl, id)
    monitor = monitored(asked, path, id)
    return [_attached(one) for one in (path, monitor) if one]


def _attached(path: str) -> Operation:
    file = Cell("file")
    how = flags("open", c.O_WRONLY | c.O_CLOEXEC)
    pid = Text("{pid:<10}", template=True)  # padded, so that its length is known beforehand
    return Operation(
        actor=Actor.PARENT,
        phase=Phase.ATTACH,
        title=f"move the process into {path}",
        why="What it starts is born there.",
        source=_SOURCE,
        spec=_SPEC,
        man=_MAN,
        calls=(
            Call("openat", (CWD, Text(f"{path}/tasks"), how), result=file),
            Call("write", (file, pid, 10)),
            close(file),
        ),
        shell=(f'echo "$pid" > {quote(f"{path}/tasks")}',),
    )

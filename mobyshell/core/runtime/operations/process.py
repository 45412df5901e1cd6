"""Operations around the program itself: streams, terminal, waiting for `start`, execve."""

from __future__ import annotations

import errno
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.oci import Process
from mobyshell.core.runtime.operations.calls import (
    AGENT,
    CONSOLE,
    CWD,
    FIFO,
    FIRST_FREE,
    LISTENER,
    SYNC,
    flags,
    quote,
)  # fmt: skip
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.plan import (
    HOME,
    Actor,
    Call,
    Cell,
    Data,
    Flags,
    Operation,
    Phase,
    Text,
    Vector,
)

_ALL = Flags(0xFFFFFFFF, "~0")
_ON_EXEC = 4
NOTHING = range(FIRST_FREE, FIRST_FREE)


def streams(
    *,
    fifo: bool = True,
    terminal: bool = False,
    trees: tuple[Tree, ...] = (),
    kept: range = NOTHING,
    agent: bool = False,
) -> Operation:
    """The caller's three descriptors become 0, 1 and 2, `trees` of the host stay until they are
    attached, and those in `kept` until `hand_over`; everything else of the host is closed."""
    calls = [
        Call("dup3", (Cell("stdin"), 0, 0)),
        Call("dup3", (Cell("stdout"), 1, 0)),
        Call("dup3", (Cell("stderr"), 2, 0)),
        Call("dup3", (Cell("sync"), SYNC, flags("open", c.O_CLOEXEC))),
    ]
    if fifo:
        calls.append(Call("dup3", (Cell("fifo"), FIFO, flags("open", c.O_CLOEXEC))))
    if terminal:
        # keeps the place of the terminal's master, so that nothing else comes to lie there
        calls.append(Call("dup3", (SYNC, CONSOLE, flags("open", c.O_CLOEXEC))))
    cloexec = flags("open", c.O_CLOEXEC)
    if agent:
        calls.append(Call("dup3", (AGENT, LISTENER, cloexec), result=AGENT))
    calls += [Call("dup3", (tree.cell, tree.descriptor, cloexec)) for tree in trees]
    calls += [Call("dup3", (Cell(f"kept{number}"), fd, 0)) for number, fd in enumerate(kept)]
    used = _used(fifo, terminal, agent) | {tree.descriptor.value for tree in trees}
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="take over the streams, close every other descriptor",
        why="A descriptor of the host that stays open is a way out (CVE-2024-21626).",
        spec="runtime.md#create",
        man="dup(2), close_range(2)",
        calls=(*calls, *close_others(used, kept)),
    )


def own_streams(numbers: tuple[int, ...], uid: int) -> Operation:
    """The program's user owns its streams: else it cannot open /dev/stdout again."""
    refused = (errno.EPERM, errno.EINVAL, errno.EROFS)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title=f"give the streams {list(numbers)} to uid {uid}",
        why="Only their owner can open /dev/stdout and /proc/self/fd/1 again.",
        source="process.user",
        man="fchown(2)",
        calls=tuple(
            Call("fchown", (number, uid, Flags(0xFFFFFFFF, "-1")), tolerate=refused)
            for number in numbers
        ),
    )


def _behind(kept: range, own: Flags) -> Flags:
    """Where one of the child's own is, once `kept` is where it was."""
    return Flags(kept.stop + own.value - SYNC.value, own.shown) if kept else own


def hand_over(kept: range, *, terminal: bool = False, agent: bool = False) -> Operation:
    """The kept descriptors become 3, 4, …; what the runtime still needs moves out of their way."""
    on_exec = flags("open", c.O_CLOEXEC)
    gone = (errno.EBADF,)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"hand over {len(kept)} descriptors, from 3 on",
        why="The caller passes them to the program: sockets it listens on, for example.",
        man="dup(2), close_range(2)",
        calls=(
            Call("dup3", (SYNC, _behind(kept, SYNC), on_exec)),
            # not there: of a process in a container that runs, whose terminal has been sent
            Call("dup3", (FIFO, _behind(kept, FIFO), on_exec), tolerate=gone),
            *(
                [Call("dup3", (CONSOLE, _behind(kept, CONSOLE), on_exec), tolerate=gone)]
                if terminal
                else []
            ),
            *(
                [Call("dup3", (LISTENER, _behind(kept, LISTENER), on_exec), result=AGENT)]
                if agent
                else []
            ),
            *(Call("dup3", (fd, SYNC.value + number, 0)) for number, fd in enumerate(kept)),
            Call(
                "close_range",
                (SYNC.value + len(kept), _ALL, Flags(_ON_EXEC, "CLOSE_RANGE_CLOEXEC")),
            ),
        ),
    )


def _used(fifo: bool, terminal: bool, agent: bool) -> set[int]:
    """The numbers of the child's own that are open."""
    asked = ((FIFO, fifo), (CONSOLE, terminal), (LISTENER, agent))
    return {SYNC.value, *(one.value for one, there in asked if there)}


def close_others(used: set[int], kept: range = NOTHING) -> list[Call]:
    """Close every descriptor that is no standard stream, in `used` or in `kept`."""
    calls = []
    first = 3
    for number in sorted({*used, *kept}):
        if number > first:
            calls.append(Call("close_range", (first, number - 1, 0)))
        first = number + 1
    return [*calls, Call("close_range", (first, _ALL, 0))]


def ready(terminal: bool, kept: range = NOTHING, *, last: bool = True) -> Operation:
    """Tell the runtime that all is set up; hand it the terminal's master.

    `kept` has been handed over. `last`: it is the last word. Otherwise the socket stays until
    execve closes it.
    """
    byte = Data(b"r", '"r"')
    sync, master = _behind(kept, SYNC), _behind(kept, CONSOLE)
    if terminal:
        # struct msghdr with one iovec and one SCM_RIGHTS control message (cmsg(3))
        control = Data(struct.pack("=QiiI4x", 20, 1, 1, master.value), "{SCM_RIGHTS, <console>}")
        vector = Data(struct.pack("=QQ", 0, 1), pointers=((0, byte),))
        header = Data(
            struct.pack("=QIxxxxQQQQI4x", 0, 0, 0, 1, 0, 24, 0),
            '{"r", SCM_RIGHTS [<console>]}',
            pointers=((16, vector), (32, control)),
        )
        calls = [Call("sendmsg", (sync, header, 0), expect=1), Call("close", (master,))]
    else:
        calls = [Call("write", (sync, byte, 1), expect=1)]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="tell the runtime that the container is created",
        why="Up to here an error is the error of `create`.",
        spec="runtime.md#lifecycle",
        man="sendmsg(2), unix(7)" if terminal else "write(2)",
        calls=(*calls, Call("close", (sync,))) if last else tuple(calls),
    )


def undumpable(
    *, fifo: bool = True, terminal: bool = False, kept: range = NOTHING, agent: bool = False
) -> Operation:
    """Nobody may look into this process while it still has privileges."""
    used = _used(fifo, terminal, agent)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="close what is left of the host, become undumpable",
        why="Processes of the container must not reach into the runtime's (CVE-2016-9962).",
        man="prctl(2), close_range(2)",
        calls=(
            Call("prctl", (Flags(c.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), 0, 0, 0, 0)),
            *close_others(used, kept),
        ),
    )


def wait_for_start(kept: range = NOTHING) -> Operation:
    """Block on the exec fifo: the state `created`. `kept` has been handed over."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.WAIT,
        title="wait for start",
        why="The container is created: everything is in place but its program.",
        spec="runtime.md#start",
        man="fifo(7)",
        calls=(Call("read", (_behind(kept, FIFO), Data(b"\0", "<start>"), 1), expect=1),),
    )


def signals() -> Operation:
    """The program begins with no signal blocked and none ignored."""
    unblock = Data(b"\0" * 8, "{}")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title="let signals through",
        why="Signals were blocked so far; afterwards a seccomp filter may forbid to change that.",
        man="signal(7)",
        calls=(
            # 32 and 33 are glibc's own: it does not let the runtime itself let go of them
            *(Call("rt_sigaction", (one, Data(b"\0" * 32, "{SIG_DFL}"), 0, 8)) for one in (32, 33)),
            Call("rt_sigprocmask", (Flags(c.SIG_SETMASK, "SIG_SETMASK"), unblock, 0, 8)),
        ),
    )


def find(given: Process) -> Operation:
    """That there is a program, while it still is the error of `create`."""
    args, env = tuple(given.args or ()), tuple(given.env or ())
    place = Cell("program")
    absent = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
    calls: list[Call] = []
    tried = candidates(args[0], env)
    for number, path in enumerate(tried):
        last = number == len(tried) - 1
        rest = 3 * (len(tried) - 1 - number)
        is_directory = flags("open", c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC)
        passed = () if last else absent
        # a directory can be executed, as far as permissions go
        calls += [
            Call(
                "openat", (CWD, Text(path), is_directory), result=place,
                tolerate=(*absent, errno.ELOOP), skip_on_error=1,
            ),
            Call("close", (place,), skip_on_success=1, expect=None if not last else -1),
            Call(
                "faccessat2", (CWD, Text(path), Flags(1, "X_OK"), Flags(0x200, "AT_EACCESS")),
                tolerate=passed, skip_on_success=rest,
            ),
        ]  # fmt: skip
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title=f"look for {args[0]}",
        why="Whoever calls the runtime wants to hear from `create` that there is no such program.",
        source="process.args",
        spec="config.md#process",
        man="faccessat2(2)",
        calls=tuple(calls),
    )


def candidates(program: str, env: tuple[str, ...]) -> list[str]:
    """Where a program may be: its path, or its name in each place of the container's PATH."""
    if "/" in program:
        return [program]
    path = next((one[5:] for one in env if one.startswith("PATH=")), DEFAULT_PATH)
    return [f"{place or '.'}/{program}" for place in path.split(":")]


def execute(
    args: tuple[str, ...], env: tuple[str, ...], *, source: str = "process.args"
) -> Operation:
    """Replace the runtime's code by the program, looked up in the container's own PATH."""
    vector, environment = Vector(args), Vector(env)
    tried = candidates(args[0], env)
    passed = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
    # every candidate but the last may fail; a permission problem is remembered by its report
    tries = [
        Call("execve", (Text(one), vector, environment), tolerate=passed) for one in tried[:-1]
    ]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"execute {' '.join(args)}",
        why="The process keeps everything set up so far, but not one byte of the runtime.",
        source=source,
        spec="config.md#process",
        man="execve(2)",
        calls=(*tries, Call("execve", (Text(tried[-1]), vector, environment))),
        shell=(
            f"env -i {' '.join(_word(one) for one in env)}",
            f"exec {' '.join(quote(word) for word in args)}",
        ),
    )


def _word(variable: str) -> str:
    """A variable for env(1); the script has looked for the home before."""
    return 'HOME="$home"' if HOME in variable else quote(variable)


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

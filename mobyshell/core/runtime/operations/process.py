"""Operations around the program itself: streams, terminal, waiting for `start`, execve."""

from __future__ import annotations

import errno
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.runtime.operations.calls import (
    CONSOLE,
    CWD,
    EMPTY,
    FIFO,
    FIRST_FREE,
    ROOT,
    SYNC,
    attach,
    close,
    flags,
    in_root,
    make_file,
    quote,
)  # fmt: skip
from mobyshell.core.runtime.operations.trees import Tree
from mobyshell.core.runtime.plan import (
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
MASTER, SLAVE = Cell("master"), Cell("slave")


def streams(*, fifo: bool = True, trees: tuple[Tree, ...] = ()) -> Operation:
    """The caller's three descriptors become 0, 1 and 2, `trees` of the host stay until they are
    attached; everything else of the host is closed."""
    calls = [
        Call("dup3", (Cell("stdin"), 0, 0)),
        Call("dup3", (Cell("stdout"), 1, 0)),
        Call("dup3", (Cell("stderr"), 2, 0)),
        Call("dup3", (Cell("sync"), SYNC, flags("open", c.O_CLOEXEC))),
    ]
    if fifo:
        calls.append(Call("dup3", (Cell("fifo"), FIFO, flags("open", c.O_CLOEXEC))))
    cloexec = flags("open", c.O_CLOEXEC)
    calls += [Call("dup3", (tree.cell, tree.descriptor, cloexec)) for tree in trees]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="take over the streams, close every other descriptor",
        why="A descriptor of the host that stays open is a way out (CVE-2024-21626).",
        spec="runtime.md#create",
        man="dup(2), close_range(2)",
        calls=(*calls, Call("close_range", (FIRST_FREE + len(trees), _ALL, 0))),
    )


def open_terminal(rows: int, columns: int) -> Operation:
    """A pseudo terminal of the container's own devpts; its master goes to the runtime."""
    size = Data(struct.pack("=HHHH", rows, columns, 0, 0), f"{{{rows} rows, {columns} columns}}")
    unlock = Data(b"\0\0\0\0", "{0}")
    noctty = flags("open", c.O_RDWR | c.O_NOCTTY | c.O_CLOEXEC)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="open a terminal",
        why="From the container's own devpts: /dev/pts inside shows it, and no other.",
        source="process.terminal",
        spec="config.md#process",
        man="pty(7), ioctl_tty(2)",
        calls=(
            Call("openat", (CWD, Text("/dev/pts/ptmx"), noctty), result=MASTER),
            Call("ioctl", (MASTER, Flags(c.TIOCSPTLCK, "TIOCSPTLCK"), unlock)),
            # by the master's descriptor, not by name: nobody can have put another file there
            Call("ioctl", (MASTER, Flags(c.TIOCGPTPEER, "TIOCGPTPEER"), noctty), result=SLAVE),
            *([Call("ioctl", (MASTER, Flags(c.TIOCSWINSZ, "TIOCSWINSZ"), size))] if rows else []),
            # below FIRST_FREE, so that it is still there when everything else has been closed
            Call("dup3", (MASTER, CONSOLE, flags("open", c.O_CLOEXEC))),
            close(MASTER),
        ),
    )


def console() -> Operation:
    """Bind the terminal onto /dev/console."""
    tree, target = Cell("tree"), Cell("target")
    how = c.OPEN_TREE_CLONE | c.OPEN_TREE_CLOEXEC | c.AT_EMPTY_PATH
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="bind the terminal on /dev/console",
        why="Programs that talk to the system console reach the container's terminal instead.",
        source="process.terminal",
        spec="config-linux.md#default-devices",
        man="move_mount(2)",
        calls=(
            Call("open_tree", (SLAVE, EMPTY, flags("open_tree", how)), result=tree),
            in_root(CWD, "dev/console", target),
            attach(tree, target),
            close(target),
            close(tree),
        ),
    )


def console_file() -> Operation:
    """The file that /dev/console will be bound on."""
    make = make_file(ROOT, "/dev/console", 0o600)
    there = Cell("console")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="make /dev/console",
        why="A bind mount needs a file to lie on.",
        source="process.terminal",
        spec="config-linux.md#default-devices",
        man="openat2(2)",
        calls=(
            in_root(
                ROOT, "dev/console", there, tolerate=(errno.ENOENT,), skip_on_success=len(make)
            ),
            *make,
        ),
    )


def control_terminal() -> Operation:
    """The terminal becomes the three streams and the session's controlling terminal."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="make the terminal the streams and the controlling terminal",
        why="Then ctrl-c reaches the program, and job control works in a shell.",
        source="process.terminal",
        spec="config.md#process",
        man="ioctl_tty(2)",
        calls=(
            *(Call("dup3", (SLAVE, number, 0)) for number in (0, 1, 2)),
            close(SLAVE),
            Call("ioctl", (0, Flags(c.TIOCSCTTY, "TIOCSCTTY"), 0)),
        ),
    )


def ready(terminal: bool, *, last: bool = True) -> Operation:
    """Tell the runtime that all is set up; hand it the terminal's master.

    `last`: it is the last word. Otherwise the socket stays until execve closes it.
    """
    byte = Data(b"r", '"r"')
    if terminal:
        # struct msghdr with one iovec and one SCM_RIGHTS control message (cmsg(3))
        control = Data(struct.pack("=QiiI4x", 20, 1, 1, CONSOLE.value), "{SCM_RIGHTS, <console>}")
        vector = Data(struct.pack("=QQ", 0, 1), pointers=((0, byte),))
        header = Data(
            struct.pack("=QIxxxxQQQQI4x", 0, 0, 0, 1, 0, 24, 0),
            '{"r", SCM_RIGHTS [<console>]}',
            pointers=((16, vector), (32, control)),
        )
        calls = [Call("sendmsg", (SYNC, header, 0), expect=1), Call("close", (CONSOLE,))]
    else:
        calls = [Call("write", (SYNC, byte, 1), expect=1)]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="tell the runtime that the container is created",
        why="Up to here an error is the error of `create`.",
        spec="runtime.md#lifecycle",
        man="sendmsg(2), unix(7)" if terminal else "write(2)",
        calls=(*calls, Call("close", (SYNC,))) if last else tuple(calls),
    )


def undumpable() -> Operation:
    """Nobody may look into this process while it still has privileges."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="close what is left of the host, become undumpable",
        why="Processes of the container must not reach into the runtime's (CVE-2016-9962).",
        man="prctl(2), close_range(2)",
        calls=(
            Call("prctl", (Flags(c.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), 0, 0, 0, 0)),
            Call("close_range", (FIRST_FREE, _ALL, 0)),
        ),
    )


def wait_for_start() -> Operation:
    """Block on the exec fifo: the state `created`."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.WAIT,
        title="wait for start",
        why="The container is created: everything is in place but its program.",
        spec="runtime.md#start",
        man="fifo(7)",
        calls=(Call("read", (FIFO, Data(b"\0", "<start>"), 1), expect=1),),
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


def execute(
    args: tuple[str, ...], env: tuple[str, ...], *, source: str = "process.args"
) -> Operation:
    """Replace the runtime's code by the program, looked up in the container's own PATH."""
    program = args[0]
    vector, environment = Vector(args), Vector(env)
    path = next((one[5:] for one in env if one.startswith("PATH=")), DEFAULT_PATH)
    candidates = [program]
    if "/" not in program:
        candidates = [f"{place or '.'}/{program}" for place in path.split(":")]
    passed = (errno.ENOENT, errno.ENOTDIR, errno.EACCES)
    # every candidate but the last may fail; a permission problem is remembered by its report
    tries = [
        Call("execve", (Text(one), vector, environment), tolerate=passed) for one in candidates[:-1]
    ]
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"execute {' '.join(args)}",
        why="The process keeps everything set up so far, but not one byte of the runtime.",
        source=source,
        spec="config.md#process",
        man="execve(2)",
        calls=(*tries, Call("execve", (Text(candidates[-1]), vector, environment))),
        shell=(
            f"env -i {' '.join(quote(word) for word in env)}",
            f"exec {' '.join(quote(word) for word in args)}",
        ),
    )


DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

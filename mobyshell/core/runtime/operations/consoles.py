"""Operations that give the container a terminal of its own devpts."""

from __future__ import annotations

import errno

from mobyshell.core.linux import constants as c
from mobyshell.core.linux import devices, terminals
from mobyshell.core.runtime.operations.calls import (
    CONSOLE,
    CWD,
    DIRECTORY,
    EMPTY,
    ROOT,
    attach,
    close,
    flags,
    in_root,
    make_file,
)  # fmt: skip
from mobyshell.core.runtime.operations.verify import must_be_device, must_be_on
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Flags, Operation, Phase

MASTER, SLAVE = Cell("master"), Cell("slave")


def open_terminal(rows: int, columns: int) -> Operation:
    """A pseudo terminal of the container's own devpts; its master goes to the runtime."""
    size = Data(terminals.pack_size(rows, columns), f"{{{rows} rows, {columns} columns}}")
    unlock = Data(terminals.UNLOCKED, "{0}")
    noctty = flags("open", c.O_RDWR | c.O_NOCTTY | c.O_CLOEXEC)
    pts = Cell("pts")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="open a terminal",
        why="From the container's own devpts: /dev/pts inside shows it, and no other.",
        source="process.terminal",
        spec="config.md#process",
        man="pty(7), ioctl_tty(2)",
        calls=(
            in_root(CWD, "dev/pts", pts, DIRECTORY),
            *must_be_on(pts, "/dev/pts", c.DEVPTS_SUPER_MAGIC, "/dev/pts is not a devpts"),
            in_root(pts, "ptmx", MASTER, c.O_RDWR | c.O_NOCTTY | c.O_CLOEXEC, links=False),
            close(pts),
            *must_be_device(
                MASTER, "/dev/pts/ptmx", *devices.PTMX, "/dev/pts/ptmx is not the multiplexer"
            ),
            Call("ioctl", (MASTER, Flags(terminals.TIOCSPTLCK, "TIOCSPTLCK"), unlock)),
            # by the master's descriptor, not by name: nobody can have put another file there
            Call(
                "ioctl", (MASTER, Flags(terminals.TIOCGPTPEER, "TIOCGPTPEER"), noctty), result=SLAVE
            ),
            *(
                [Call("ioctl", (MASTER, Flags(terminals.TIOCSWINSZ, "TIOCSWINSZ"), size))]
                if rows
                else []
            ),
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
            # not where a link of the image leads: that may be something masked (CVE-2025-52565)
            in_root(CWD, "dev/console", target, c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC),
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
                ROOT,
                "dev/console",
                there,
                c.O_PATH | c.O_NOFOLLOW | c.O_CLOEXEC,
                tolerate=(errno.ENOENT,),
                skip_on_success=len(make),
            ),
            *make,
        ),
    )


def control_terminal(uid: int = 0) -> Operation:
    """The terminal, which is `uid`'s, becomes the three streams and the session's controlling one."""
    refused = (errno.EPERM, errno.EINVAL, errno.EROFS)
    own = Call("fchown", (SLAVE, uid, Flags(0xFFFFFFFF, "-1")), tolerate=refused)
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="make the terminal the streams and the controlling terminal",
        why="Then ctrl-c reaches the program, and job control works in a shell.",
        source="process.terminal",
        spec="config.md#process",
        man="ioctl_tty(2)",
        calls=(
            *([own] if uid else []),
            *(Call("dup3", (SLAVE, number, 0)) for number in (0, 1, 2)),
            close(SLAVE),
            Call("ioctl", (0, Flags(terminals.TIOCSCTTY, "TIOCSCTTY"), 0)),
        ),
    )

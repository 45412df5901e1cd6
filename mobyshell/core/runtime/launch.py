"""A child is started with what it is given, and heard: the line between it and the runtime."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack

from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import Readable, Steps
from mobyshell.core.runtime.values import Options
from mobyshell.core.values import value

# descriptors below this are the child's own numbers; what it is given must not lie among them
FIRST_GIVEN = 16


# a byte, and a path that goes with it
LONGEST_WORD = 1 + 4096


@value
class Stdio:
    """The descriptors a container gets as its standard streams; the caller closes its copies."""

    stdin: int
    stdout: int
    stderr: int


@value
class Container:
    """A created container. `pidfd` and `master` (its terminal, if any) are the caller's to close."""

    id: str
    pid: int
    pidfd: int
    bundle: str
    master: int | None = None
    pid_start: int = 0
    """Field 22 of /proc/PID/stat, if who made it has looked."""


Meanwhile = Callable[[Container], None]
"""What its maker has to do for a container that is under way, and has no terminal yet."""


def given(fd: int, first: int = FIRST_GIVEN) -> int:
    """A copy of `fd` out of the way of the numbers that the child uses."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, first)


def named_kept(options: Options) -> dict[str, int]:
    """The kept descriptors under the names that programs know them by."""
    return {f"kept{number}": fd for number, fd in enumerate(options.kept)}


@value
class Launched:
    """A child on its way, with our end of the socket to it."""

    child: Spawned
    program: Program
    socket: socket.socket


def launch(
    executor: Executor,
    stdio: Stdio,
    descriptors: dict[str, int],
    main: Program,
    before: Program | None,
    *,
    flags: int,
    cgroup: int = -1,
) -> Launched:
    """Make a child that runs `main`. `descriptors` are given to its programs under their names."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    handed = {
        "stdin": stdio.stdin, "stdout": stdio.stdout, "stderr": stdio.stderr,
        "sync": theirs.fileno(), **descriptors,
    }  # fmt: skip
    with ExitStack() as kept, ExitStack() as open_copies:
        kept.enter_context(ours)
        open_copies.enter_context(theirs)
        copies, first = [], FIRST_GIVEN + len(descriptors)
        for name, fd in handed.items():
            copy = fd
            if fd < first:
                copy = given(fd, first)
                open_copies.callback(os.close, copy)
            copies.append(copy)
            for program in (main, before):
                if program is not None:
                    program.set(name, copy)
        main.set("cwd", -1)
        child = executor.spawn(main, flags=flags, before=before, cgroup=cgroup, given=copies)
        kept.pop_all()
    return Launched(child, main, ours)


def hear(ours: socket.socket) -> Steps[tuple[bytes, tuple[int, ...]]]:
    """The child's next word (empty: it is gone), and the descriptors that come along."""
    yield Readable((ours.fileno(),))
    try:
        data, control, _, _ = ours.recvmsg(
            LONGEST_WORD, socket.CMSG_SPACE(8), socket.MSG_CMSG_CLOEXEC
        )
    except ConnectionResetError:
        return b"", ()
    handed: tuple[int, ...] = ()
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            handed += struct.unpack(f"={len(payload) // 4}i", payload[: len(payload) // 4 * 4])
    return data, handed

"""Ushers: processes that stand in a container's namespaces and make further processes there.

An usher is the native executor's launcher that has run the JOIN part of an exec plan and stays. It
makes a child for each order, which walks the program that comes with it. So an exec costs a small
fork, and no launcher that is executed first, and no namespaces that are entered anew.

Nobody in the container sees it: a pid namespace is entered by children only, and it is in none of
the container's cgroups. It has no memory but its programs, cannot be traced, and ends with the line
to whoever made it. It holds the namespaces, so it is dismissed before a container's end is told.

Owns the process and its line. It takes one order at a time; what it cannot do is left to `exec`,
which goes the long way and can explain.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
from contextlib import ExitStack, suppress

from mobyshell.core.linux.constants import CLONE_PARENT, CLONE_VM
from mobyshell.core.runtime.environment import Homes
from mobyshell.core.runtime.executor import (
    CLONE_CLEAR_SIGHAND,
    CLONE_INTO_CGROUP,
    Spawned,
    Standing,
)
from mobyshell.core.runtime.launch import FIRST_GIVEN, Stdio, given
from mobyshell.core.runtime.program import CLONE_ARGS, Header, Program

_CLONE_PARENT_SETTID = 0x100000
_ORDER = struct.Struct("=QQ")
"""Where the program lies, and how long it is; 0 if it is the one of the last order."""
_GIVEN = {"stdin": 1, "stdout": 2, "stderr": 3, "sync": 4, "cwd": -1}
"""What comes with an order, by the numbers it gets: from 0 on, which is the program."""


class Usher:
    """One usher; `close` it. `line` is our end, `root` the container's root, `cells` what programs
    know of the descriptors that it has, `cgroup` the one of the v2 group (-1: none)."""

    def __init__(
        self, child: Spawned, line: socket.socket, program: Program, root: int,
        cells: dict[str, int], cgroup: int,
    ) -> None:  # fmt: skip
        self.program: Program | None = program
        """Its own; None once it has walked that, by the end of the first order, and it was reported."""
        self.homes = Homes(root)
        self.busy = False
        """Whether an order is under way."""
        self._child, self._line = child, line
        self._mapped: Program | None = None
        """The program of the last order, which it need not map again: to unmap memory in which a child
        was on another processor, the kernel has to interrupt that one."""
        self._pipe: tuple[int, int] | None = None
        self._full = 0
        self._cells = cells
        self._cgroup = cgroup
        self._flags = (
            CLONE_PARENT | CLONE_VM | _CLONE_PARENT_SETTID | CLONE_CLEAR_SIGHAND
            | (CLONE_INTO_CGROUP if cgroup >= 0 else 0)
        )  # fmt: skip

    def prepare(self, program: Program) -> None:
        """Make `program` ready to be ordered."""
        memory = program.memory
        program.put_cells(self._cells)
        program.header[Header.CHILD] = 0
        CLONE_ARGS.pack_into(
            memory.view, Header.CLONE_ARGS * 8,
            self._flags, 0, 0, memory.address + 8 * Header.CHILD, 0, 0, 0, 0, 0, 0,
            max(self._cgroup, 0),
        )  # fmt: skip
        if self._pipe is None:
            self._pipe, self._full = _full_pipe()

    def order(self, program: Program, stdio: Stdio) -> int:
        """Have a child made that walks `program`, which was prepared last: a pipe, ours to close, that
        is hung up once the child has executed its program, or has ended. It waits for `let_go` before
        that, and dies if the pipe is closed first. OSError if the usher has gone."""
        assert self._pipe is not None
        (ready, sync), self._pipe = self._pipe, None
        memory = program.memory
        try:
            beside = struct.pack("=5i", memory.fd, stdio.stdin, stdio.stdout, stdio.stderr, sync)
            self._line.sendmsg(
                [_ORDER.pack(memory.address, 0 if program is self._mapped else memory.size)],
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, beside)], socket.MSG_NOSIGNAL,
            )  # fmt: skip
            os.sched_yield()  # if it waits for this processor, it has made its child when that returns
        except BaseException:
            os.close(ready)
            raise
        finally:
            os.close(sync)
        self._mapped = program
        return ready

    def let_go(self, ready: int) -> None:
        """Let a child that was ordered come to its program."""
        os.read(ready, self._full)

    def begun(self) -> None:
        """It has walked its own program, and nobody asks for the reports any more."""
        if self.program is not None:
            self.program.close()
            self.program = None

    def close(self) -> None:
        """Dismiss it: it is gone when this returns."""
        self._line.close()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._child.pidfd, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitid(os.P_PIDFD, self._child.pidfd, os.WEXITED)
        for fd in (self._child.pidfd, *(self._pipe or ())):
            os.close(fd)
        self.homes.close()
        self.begun()


def _full_pipe() -> tuple[tuple[int, int], int]:
    """A pipe that has no room for what a child has to say before somebody reads, and how much."""
    ready, sync = os.pipe2(os.O_CLOEXEC)
    try:
        return (ready, sync), os.write(sync, bytes(fcntl.fcntl(sync, fcntl.F_SETPIPE_SZ, 1)))
    except OSError:
        os.close(ready)
        os.close(sync)
        raise


def post(
    executor: Standing, program: Program, init: int, pid: int, opened: dict[str, int]
) -> Usher:
    """An usher that walks `program`, the JOIN part of an exec plan, and has what is `opened` of the
    container's cgroups. `init` is a pidfd of its process `pid`, which was verified.

    OSError or SyscallFailed if it cannot be made; the program is the usher's from then on.
    """
    with ExitStack() as stack:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        kept = stack.enter_context(ExitStack())
        kept.callback(os.close, root)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept.callback(ours.close)
        stack.callback(theirs.close)
        copies: dict[str, int] = {}
        for name, fd in {"init": init, "line": theirs.fileno(), **opened}.items():
            copies[name] = given(fd, FIRST_GIVEN + len(opened) + 2)
            stack.callback(os.close, copies[name])
            program.set(name, copies[name])
        line, cgroup = copies.pop("line"), copies.get("cgroup", -1)
        child = executor.stand(program, line, copies.values())
        kept.pop_all()
        return Usher(child, ours, program, root, copies | _GIVEN, cgroup)


def child_of(program: Program) -> int:
    """The pid of the child that an order has made; -errno if it could not, 0 if it never tried."""
    word: int = program.header[Header.CHILD]
    return word - (1 << 64) if word >> 63 else word

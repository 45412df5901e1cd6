"""The seam between a program and what runs it.

Executors walk a program and take no decisions: data in, system calls out, reports back. There are
two: `portable` in Python, for every architecture and the measure of the other, and `native` in
machine code; `choose` picks.

A process that a container can see must not show the host's programs to it (CVE-2019-5736), so
both run the child from sealed memory, and neither leaves it a byte of this process's.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import CLONE_PARENT
from mobyshell.core.linux.memory import moved
from mobyshell.core.linux.syscalls import hint
from mobyshell.core.runtime.program import CLONE_ARGS, Header, Program
from mobyshell.core.values import value

if TYPE_CHECKING:
    from typing import TypeGuard

CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

MAIN, BEFORE, LINE = 3, 4, 5
"""The descriptors under which a launcher is given its programs, and an usher its orders."""

FAILED = 255
"""The exit status of a child whose program failed; the report says where."""


def _accepted() -> SyscallFailed | None:
    return None


@value
class Spawned:
    """A child that runs a program. `pidfd` is ours to close. `refused`: once it is gone, why it
    never began; it is to be kept for that until the child has been heard of."""

    pid: int
    pidfd: int
    refused: Callable[[], SyscallFailed | None] = _accepted


class Executor(Protocol):
    """Runs programs, here or in a new process."""

    def run(self, program: Program) -> int | None:
        """Run `program` in this process. None, or the index of the record that failed."""
        ...

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        """Run `program` in a child made with the CLONE_NEW* `flags`, and return at once.

        `given` are the descriptors that the programs use, each at least 16: those below are the
        child's own numbers. It has no others that are closed on execve.

        `cgroup` is a descriptor of the v2 cgroup that the child is born in (-1: ours). Signals
        that this process ignores or handles are as at boot in the child.

        `before` is run first, in a process in between that then makes the child (and is gone
        when this returns): joined namespaces must be entered before others are made in them.
        The child is always a child of the caller. Raises SyscallFailed if it cannot be made,
        or if `before` failed, with errno 0 and the reports of `before` telling where.
        """
        ...


class Standing(Protocol):
    """An executor that has ushers (see `usher`)."""

    def stand(self, program: Program, line: int, given: Iterable[int]) -> Spawned:
        """A process that runs `program` and then takes orders from the socket `line`.

        `given` and `line` as in `Executor.spawn`. SyscallFailed if it cannot be made.
        """
        ...


class Foreseeing(Protocol):
    """An executor that has namespaces made before they are wanted (see `native.ahead`)."""

    def foresee(self, flags: int) -> bool:
        """A child with these flags may be wanted soon: have made what can be, and do not wait. Whether
        there is anything."""
        ...

    def rest(self, seconds: float) -> bool:
        """Let go of what nobody has wanted for so long; whether something is left."""
        ...


def stands(executor: Executor) -> TypeGuard[Standing]:
    """Whether it has ushers."""
    return hasattr(executor, "stand")


def foresees(executor: Executor | None) -> TypeGuard[Foreseeing]:
    """Whether it has namespaces made before they are wanted."""
    return hasattr(executor, "foresee")


class Launch(Protocol):
    """Starts a launcher: it has `inherited` under their numbers and each of `passed` as another."""

    def __call__(self, inherited: Sequence[int], passed: Sequence[tuple[int, int]]) -> Spawned: ...


def spawn_behind(
    launch: Launch, program: Program, *, flags: int, before: Program | None, cgroup: int,
    given: Iterable[int],
) -> Spawned:  # fmt: skip
    """A child made by a launcher beside itself, as the program's header tells it."""
    header = program.header
    header[Header.BEFORE] = before.memory.address if before is not None else 0
    header[Header.BEFORE_BYTES] = before.memory.size if before is not None else 0
    header[Header.BEHIND] = 1
    header[Header.CHILD] = 0
    inherited = list(given)
    passed = [(program.memory.fd, MAIN)]
    if before is not None:
        passed.append((before.memory.fd, BEFORE))
    with ExitStack() as stack:
        if cgroup >= 0:
            cgroup = moved(os.dup(cgroup))
            stack.callback(os.close, cgroup)
            inherited.append(cgroup)
        into = CLONE_INTO_CGROUP if cgroup >= 0 else 0
        CLONE_ARGS.pack_into(
            program.memory.view, Header.CLONE_ARGS * 8,
            flags | CLONE_PARENT | CLONE_CLEAR_SIGHAND | into, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            max(cgroup, 0),
        )  # fmt: skip
        launcher = launch(inherited, passed)
        stack.callback(os.close, launcher.pidfd)
        os.waitid(os.P_PIDFD, launcher.pidfd, os.WEXITED)
    pid = ctypes.c_long(header[Header.CHILD]).value
    if pid <= 0:
        raise SyscallFailed("clone3", -pid, hint=hint("clone3", -pid))
    # our child, not yet reaped: the pid cannot have been reused
    return Spawned(pid, os.pidfd_open(pid))

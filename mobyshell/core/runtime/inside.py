"""Start a program of the host's choice inside a container's namespaces: hooks that run in there.

The process that enters is the executor's, not one of Python: the container may see it, and a
program in its image may be a name for the process's own executable (CVE-2019-5736).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.memory import moved
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.operations.calls import flags
from mobyshell.core.runtime.plan import (
    Actor,
    Arg,
    Call,
    Cell,
    Data,
    Flags,
    Operation,
    Phase,
    Text,
    Vector,
)
from mobyshell.core.runtime.program import Program, assemble

_STREAMS = ("stdin", "stdout", "stderr")
_ALL = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Inside:
    """The namespaces (CLONE_NEW* `flags`) of process `pid`; with its root directory too, if `root`."""

    executor: Executor
    pid: int
    flags: int
    root: bool

    def spawn(
        self, path: str, args: Sequence[str], env: Sequence[str], streams: tuple[int, int, int]
    ) -> tuple[Spawned, Program]:
        """`path` in there, in a session of its own. What it came to is in the program's reports:
        `refusal` reads them once the process has ended. Close the program then.

        SyscallFailed if the process cannot be made or cannot enter.
        """
        with ExitStack() as stack:
            held = {
                "init": os.pidfd_open(self.pid),
                "root": os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_CLOEXEC),
                **dict(zip(_STREAMS, (os.dup(fd) for fd in streams), strict=True)),
            }
            before = assemble([(0, self._enter())])
            stack.callback(before.close)
            main = assemble([(0, _execute(path, args, env, root=self.root))])
            for name, fd in held.items():
                copy = moved(fd)
                stack.callback(os.close, copy)
                held[name] = copy
                for program in (before, main):
                    program.set(name, copy)
            try:
                child = self.executor.spawn(main, flags=0, before=before, given=held.values())
            except SyscallFailed:
                main.close()
                code = before.report(before.length - 1)[1]
                if code:
                    raise SyscallFailed("setns", code, path=f"process {self.pid}") from None
                raise
        return child, main

    def do(self, operation: Operation) -> None:
        """One operation of a child's in there. SyscallFailed with the call that is refused."""
        fd = os.pidfd_open(self.pid)
        with ExitStack() as stack:
            init = moved(fd)
            stack.callback(os.close, init)
            program = assemble([(0, self._enter()), (1, operation)])
            stack.callback(program.close)
            program.set("init", init)
            child = self.executor.spawn(program, flags=0, given=[init])
            stack.callback(os.close, child.pidfd)
            os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
            if code := refusal(program):
                raise SyscallFailed("ioctl", code, path=f"process {self.pid}", what=operation.title)

    def _enter(self) -> Operation:
        return Operation(
            actor=Actor.CHILD,
            phase=Phase.JOIN,
            title="enter the container's namespaces",
            why="The hook is to run in there.",
            man="setns(2)",
            calls=(
                Call("prctl", (Flags(c.PR_SET_DUMPABLE, "PR_SET_DUMPABLE"), 0, 0, 0, 0)),
                # of none at all it shares the host's (0 would be whatever it is, and is refused)
                *(
                    [Call("setns", (Cell("init"), flags("clone", self.flags)))]
                    if self.flags
                    else []
                ),
            ),
        )


def refusal(program: Program) -> int:
    """The errno of the call at which `program` stopped, 0 if it became what it was to become."""
    return next((code for at in range(program.length) if (code := program.report(at)[1])), 0)


def _execute(path: str, args: Sequence[str], env: Sequence[str], *, root: bool) -> Operation:
    change: list[Call] = []
    if root:
        change = [
            Call("fchdir", (Cell("root"),)), Call("chroot", (Text("."),)), Call("chdir", (Text("/"),)),
        ]  # fmt: skip
    nothing: Arg = Data(b"\0" * 8, "{}")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"execute {path}",
        why="The hook itself.",
        man="execve(2)",
        calls=(
            *(Call("dup3", (Cell(name), number, 0)) for number, name in enumerate(_STREAMS)),
            Call("setsid"),
            *change,
            Call("close_range", (3, _ALL, Flags(c.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"))),
            Call("rt_sigprocmask", (Flags(c.SIG_SETMASK, "SIG_SETMASK"), nothing, 0, 8)),
            Call("execve", (Text(path), Vector(tuple(args)), Vector(tuple(env)))),
        ),
    )

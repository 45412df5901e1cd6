"""Start a program of the host's choice inside a container's namespaces: hooks that run in there.

The process that enters is the executor's, not one of Python: the container may see it, and a
program in its image may be a name for the process's own executable (CVE-2019-5736).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import ExitStack

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.memory import moved
from mobyshell.core.runtime.assembly import assemble
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
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.report import stopped_at
from mobyshell.core.values import value

_STREAMS = ("stdin", "stdout", "stderr")
_ALL = 0xFFFFFFFF


@value
class Entered:
    """A process on its way into a container, with the program it follows, which is to be closed."""

    child: Spawned
    program: Program
    operations: tuple[Operation, ...]

    def refused(self) -> int:
        """Once the process has ended: the errno of the call at which the program stopped, 0 if it
        became what it was to become."""
        return _refusal(self.program, self.operations)


@value
class Inside:
    """The namespaces (CLONE_NEW* `flags`) of process `pid`; with its root directory too, if `root`,
    else in `directory`. Before its program is executed, it does `becoming`, what of that is of the
    phase JOIN before it enters."""

    executor: Executor
    pid: int
    flags: int
    root: bool
    becoming: tuple[Operation, ...] = ()
    directory: str = "/"

    def spawn(
        self, path: str, args: Sequence[str], env: Sequence[str], streams: tuple[int, int, int]
    ) -> Entered:
        """`path` in there, in a session of its own.

        SyscallFailed if the process cannot be made or cannot enter.
        """
        first = [one for one in self.becoming if one.phase is Phase.JOIN]
        then = [one for one in self.becoming if one.phase is not Phase.JOIN]
        entering = (*first, self._enter())
        operations = (_settle(self.root, self.directory), *then, _execute(path, args, env))
        with ExitStack() as stack:
            held = {
                "init": os.pidfd_open(self.pid),
                "root": os.open(f"/proc/{self.pid}/root", os.O_PATH | os.O_CLOEXEC),
                **dict(zip(_STREAMS, (os.dup(fd) for fd in streams), strict=True)),
            }
            before = assemble(list(enumerate(entering)))
            stack.callback(before.close)
            main = assemble(list(enumerate(operations)))
            main.set("cwd", -1)
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
                if code := _refusal(before, entering):
                    at, call = _stopped(before, entering)
                    raise SyscallFailed(
                        call.name, code, path=f"process {self.pid}", what=at.title
                    ) from None
                raise
        return Entered(child, main, operations)

    def do(self, operation: Operation) -> None:
        """One operation of a child's in there. SyscallFailed with the call that is refused."""
        fd = os.pidfd_open(self.pid)
        with ExitStack() as stack:
            init = moved(fd)
            stack.callback(os.close, init)
            operations = (self._enter(), operation)
            program = assemble(list(enumerate(operations)))
            stack.callback(program.close)
            program.set("init", init)
            child = self.executor.spawn(program, flags=0, given=[init])
            stack.callback(os.close, child.pidfd)
            os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
            if code := _refusal(program, operations):
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


def _refusal(program: Program, operations: Sequence[Operation]) -> int:
    if stopped_at(program) < 0:
        return 0
    code = program.report(stopped_at(program))[1]
    return 0 if code in _stopped(program, operations)[1].tolerate else code


def _stopped(program: Program, operations: Sequence[Operation]) -> tuple[Operation, Call]:
    origin = program.origins[stopped_at(program)]
    operation = operations[origin.operation]
    return operation, operation.calls[max(origin.call, 0)]


def _settle(root: bool, directory: str) -> Operation:
    # root of another user namespace may have no way there
    change = [Call("chdir", (Text(directory),), tolerate=(errno.EACCES,))]
    if root:
        change = [
            Call("fchdir", (Cell("root"),)), Call("chroot", (Text("."),)), Call("chdir", (Text("/"),)),
        ]  # fmt: skip
    nothing: Arg = Data(b"\0" * 8, "{}")
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title="take over the streams and the root, close every other descriptor",
        why="The hook gets what it is given, and nothing else of the host.",
        man="dup(2), close_range(2)",
        calls=(
            *(Call("dup3", (Cell(name), number, 0)) for number, name in enumerate(_STREAMS)),
            Call("setsid"),
            *change,
            Call("close_range", (3, _ALL, Flags(c.CLOSE_RANGE_CLOEXEC, "CLOSE_RANGE_CLOEXEC"))),
            Call("rt_sigprocmask", (Flags(c.SIG_SETMASK, "SIG_SETMASK"), nothing, 0, 8)),
        ),
    )


def _execute(path: str, args: Sequence[str], env: Sequence[str]) -> Operation:
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.EXEC,
        title=f"execute {path}",
        why="The hook itself.",
        man="execve(2)",
        calls=(Call("execve", (Text(path), Vector(tuple(args)), Vector(tuple(env)))),),
    )

"""Which executor runs the plans here.

Native on x86-64, portable elsewhere; `MOBYSHELL_EXECUTOR=native|portable` overrides. The native
one is tried out on a child that does nothing before it is trusted with containers: a machine that
refuses it (no memfd may be executed, no vdso, an emulator) gets the portable one and a notice.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.linux.syscalls import MACHINE
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.plan import Actor, Call, Operation, Phase

VARIABLE = "MOBYSHELL_EXECUTOR"
KINDS = ("native", "portable")


def choose(notice: Callable[[str], object] = lambda _: None) -> Executor:
    """The executor for this machine; `notice` hears why it is not the faster one.

    UsageError if the variable says something else; SyscallFailed or Unsupported if it says native
    and the machine refuses that.
    """
    asked = os.environ.get(VARIABLE, "")
    if asked not in ("", *KINDS):
        raise UsageError(f"{VARIABLE} is {asked!r}", hint=f"it can be {' or '.join(KINDS)}")
    if asked == "portable" or (not asked and MACHINE != "x86_64"):
        return _portable()
    try:
        return _tried()
    except (MobyshellError, OSError) as error:
        if asked == "native":
            raise
        notice(
            f"the native executor does not run here ({error}): plans are run by the portable one"
        )
        return _portable()


def _portable() -> Executor:
    from mobyshell.core.runtime.portable import PortableExecutor

    return PortableExecutor()


def _tried() -> Executor:
    """A native executor that has run a child."""
    from mobyshell.core.errors import Unsupported
    from mobyshell.core.runtime.native.executor import NativeExecutor

    if MACHINE != "x86_64":
        raise Unsupported(f"the native executor is for x86-64, this machine is {MACHINE}")
    executor = NativeExecutor()
    leave = Operation(
        actor=Actor.CHILD, phase=Phase.SETUP, title="leave", why="To see whether it can.",
        calls=(Call("getpid"), Call("exit_group", (TRIED,))),
    )  # fmt: skip
    program = assemble([(0, leave)])
    try:
        child = executor.spawn(program, flags=0)
        done = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
        os.close(child.pidfd)
        if done is None or done.si_status != TRIED or program.report(0)[0] != child.pid:
            raise Unsupported("the native executor's launcher does not run on this machine")
    finally:
        program.close()
    return executor


TRIED = 77
"""The status with which the child of the trial leaves."""

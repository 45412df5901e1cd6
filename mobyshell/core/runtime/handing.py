"""What a creator does for trees that it hands to the child, beyond the calls of its program."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
from contextlib import ExitStack

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.memory import FIRST_FD
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.operations.trees import MAKE_USER_NAMESPACE
from mobyshell.core.runtime.plan import Actor, Call, Cell, Data, Operation, Phase, Plan, Text

__all__ = ["make_user_namespace", "user_namespaces"]


def user_namespaces(plan: Plan, executor: Executor, held: ExitStack) -> dict[str, int]:
    """Make the user namespaces that the plan's pseudo calls ask for; `held` closes them.

    Returns cell → descriptor. SyscallFailed, naming the member of the spec, if one is refused.
    """
    made: dict[str, int] = {}
    for _, operation in plan.of(Actor.PARENT, Phase.PREPARE):
        for call in operation.calls:
            if call.name != MAKE_USER_NAMESPACE or call.result is None:
                continue
            uids, gids = (arg.value for arg in call.args if isinstance(arg, Text))
            what = f"{operation.title} ({operation.source})"
            fd = made[call.result.name] = make_user_namespace(executor, uids, gids, what)
            held.callback(os.close, fd)
    return made


def make_user_namespace(executor: Executor, uids: str, gids: str, what: str) -> int:
    """A descriptor of a new user namespace with these maps; SyscallFailed if one is refused.

    It takes a process to make one (user_namespaces(7)), which waits for its maps and is gone.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        program = assemble([(0, _waiting())])
        gate = fcntl.fcntl(theirs.fileno(), fcntl.F_DUPFD_CLOEXEC, FIRST_FD)
        program.set("gate", gate)
        try:
            child = executor.spawn(program, flags=c.CLONE_NEWUSER, given=[gate])
        finally:
            os.close(gate)
        try:
            for kind, text in (("gid", gids), ("uid", uids)):
                path = f"/proc/{child.pid}/{kind}_map"
                try:
                    _write(path, text)
                except OSError as error:
                    shown = text.strip().replace("\n", ", ")
                    raise SyscallFailed(
                        "write", error.errno or 0, path=f"{kind}_map: {shown}", what=what,
                        hint="maps may not overlap, and mapping the ids of a mount takes root: run as root",
                    ) from None  # fmt: skip
            return os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
            os.close(child.pidfd)
            program.close()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())  # a map is taken in one write, or not at all
    finally:
        os.close(fd)


def _waiting() -> Operation:
    """The program of a process that only waits to be killed."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.SETUP,
        title="hold a user namespace",
        why="A namespace is made with a process in it.",
        calls=(Call("read", (Cell("gate"), Data(b"\0", "<never>"), 1)),),
    )

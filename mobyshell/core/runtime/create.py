"""create: from a bundle to a container whose program does not run yet (runtime.md#create)."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import struct
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mobyshell.core.clock import Clock
from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed
from mobyshell.core.events import EventSink, Failed, TaskCreated
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.oci import Spec, dump_spec
from mobyshell.core.runtime import hooks, report
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.operations.namespaces import CLONE_FLAG
from mobyshell.core.runtime.plan import Actor, Operation, Phase, Plan, Text
from mobyshell.core.runtime.program import Program, assemble
from mobyshell.core.runtime.steps import Readable, Steps
from mobyshell.core.runtime.values import Status

# descriptors below this are the child's own numbers; what it is given must not lie among them
FIRST_GIVEN = 16


@dataclass(frozen=True, slots=True)
class Stdio:
    """The descriptors a container gets as its standard streams; the caller closes its copies."""

    stdin: int
    stdout: int
    stderr: int


@dataclass(frozen=True, slots=True)
class Container:
    """A created container. `pidfd` and `master` (its terminal, if any) are the caller's to close."""

    id: str
    pid: int
    pidfd: int
    bundle: str
    master: int | None = None


@dataclass(slots=True)
class Waiting:
    """What the creator keeps until `start`: with it, errors of execve are precise."""

    plan: Plan
    program: Program
    reported: int


def create(
    root: Path,
    plan: Plan,
    spec: Spec,
    *,
    stdio: Stdio,
    executor: Executor,
    sink: EventSink,
    clock: Clock,
    keep: Callable[[str, Waiting], None],
) -> Steps[Container]:
    """Execute `plan` up to the point where the program would start.

    `keep` takes what `start` will need. AlreadyExists if the id is taken; SyscallFailed with the
    operation that failed; HookFailed. After an error nothing is left behind.
    """
    begun = clock.monotonic_ns()
    path = states.reserve(root, plan.id)
    making = _Creation(path, plan, spec, stdio, executor, sink, clock)
    try:
        container = yield from making.run()
    except BaseException as error:
        making.undo()
        if isinstance(error, MobyshellError):
            sink(plan.id, Failed(verb="create", error=error.to_wire()))
        raise
    finally:
        making.close()
    keep(plan.id, Waiting(plan, making.program, making.reported))
    duration = clock.monotonic_ns() - begun
    sink(plan.id, TaskCreated(bundle=plan.bundle, pid=container.pid, duration_ns=duration))
    return container


def given(fd: int) -> int:
    """A copy of `fd` out of the way of the numbers that the child uses."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, FIRST_GIVEN)


def run_here(
    executor: Executor, plan: Plan, operations: tuple[tuple[int, Operation], ...], sink: EventSink,
    values: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Run the parent's `operations`; raises the error of the one that fails."""
    if not operations:
        return
    program = assemble(operations, values)
    try:
        failed = executor.run(program)
        report.emit(plan, program, sink)
        if failed is not None:
            raise report.failure(plan, program, failed)
    finally:
        program.close()


@dataclass(frozen=True, slots=True)
class Launched:
    """A child on its way, with our end of the socket to it."""

    child: Spawned
    program: Program
    socket: socket.socket


def launch(
    plan: Plan, executor: Executor, stdio: Stdio, sink: EventSink, descriptors: dict[str, int]
) -> Launched:
    """Make the child of `plan`. `descriptors` are given to its programs under their names."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    main = assemble(plan.of(Actor.CHILD, Phase.SETUP, Phase.PIVOT, Phase.WAIT, Phase.EXEC))
    joins = plan.of(Actor.CHILD, Phase.JOIN)
    before = assemble(joins) if joins else None
    handed = {
        "stdin": stdio.stdin, "stdout": stdio.stdout, "stderr": stdio.stderr,
        "sync": theirs.fileno(), **descriptors,
    }  # fmt: skip
    with ExitStack() as copies:
        copies.enter_context(theirs)
        for name, fd in handed.items():
            copy = given(fd)
            copies.callback(os.close, copy)
            for program in (main, before):
                if program is not None:
                    program.set(name, copy)
        try:
            child = executor.spawn(main, flags=plan.clone_flags, before=before)
        except SyscallFailed as error:
            ours.close()
            failed = before is not None and error.errno == 0
            precise = report.failure(plan, before) if failed and before is not None else error
            main.close()
            raise precise from None
        finally:
            if before is not None:
                report.emit(plan, before, sink)
                before.close()
    return Launched(child, main, ours)


def hear(ours: socket.socket) -> Steps[tuple[bytes, int | None]]:
    """The child's next word (empty: it is gone), and the terminal's master that may come along."""
    yield Readable((ours.fileno(),))
    try:
        data, control, _, _ = ours.recvmsg(16, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", None
    master = None
    for level, kind, payload in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            (master,) = struct.unpack("=i", payload[:4])
    return data, master


class _Creation:
    """One create under way: what it has made, so that it can be undone."""

    program: Program

    def __init__(
        self, path: Path, plan: Plan, spec: Spec, stdio: Stdio, executor: Executor,
        sink: EventSink, clock: Clock,
    ) -> None:  # fmt: skip
        self.path, self.plan, self.spec, self.stdio = path, plan, spec, stdio
        self.executor, self.sink, self.clock = executor, sink, clock
        self.child: Spawned | None = None
        self.master: int | None = None
        self.state: states.State | None = None
        self.reported = 0
        self._open = ExitStack()

    def run(self) -> Steps[Container]:
        plan = self.plan
        if not os.path.isdir(plan.rootfs):
            raise NotFound(
                f"no root filesystem at {plan.rootfs}",
                hint="root.path in config.json is relative to the bundle",
            )
        # known before they are made: the next start can clear away what a killed creator left
        states.write_file(self.path / states.CGROUPS, json.dumps(plan.cgroups).encode())
        states.write_file(self.path / states.CONFIG, dump_spec(self.spec).encode())
        run_here(self.executor, plan, plan.of(Actor.PARENT, Phase.PREPARE), self.sink)
        ours = self._spawn()
        assert self.child is not None
        yield from self._attach()
        self._write_state()
        self._tell(ours, b"1")
        while True:
            told = yield from self._hear(ours)
            if told == b"r":
                break
            yield from self._hooks()
            self._tell(ours, b"1")
        self.reported = self.program.length
        report.emit(plan, self.program, self.sink)
        self.reported = report.stopped_at(self.program) + 1
        container = Container(
            plan.id, self.child.pid, self.child.pidfd, plan.bundle, self.master
        )  # fmt: skip
        return container

    def _spawn(self) -> socket.socket:
        """Make the child; returns our end of the socket to it."""
        fifo_path = self.path / states.FIFO
        os.mkfifo(fifo_path, 0o600)
        # for writing too: so that the child's read waits for `start`, whoever comes and goes
        fifo = os.open(fifo_path, os.O_RDWR | os.O_CLOEXEC)
        try:
            launched = launch(self.plan, self.executor, self.stdio, self.sink, {"fifo": fifo})
        finally:
            os.close(fifo)
        self.program, self.child = launched.program, launched.child
        self._open.enter_context(launched.socket)
        return launched.socket

    def _attach(self) -> Steps[None]:
        """Cgroups and maps; maps that need it through newuidmap(1)."""
        assert self.child is not None
        values = {"pid": str(self.child.pid)}
        for index, operation in self.plan.of(Actor.PARENT, Phase.ATTACH):
            spawned = [call for call in operation.calls if call.name == "@spawn"]
            if not spawned:
                run_here(self.executor, self.plan, ((index, operation),), self.sink, values)
                continue
            for call in spawned:
                words = [arg.value.format_map(values) for arg in call.args if isinstance(arg, Text)]
                yield from hooks.run_helper(words, operation.title)

    def _write_state(self) -> None:
        assert self.child is not None
        plan, spec = self.plan, self.spec
        process, linux = spec.process, spec.linux
        self.state = states.State(
            id=plan.id,
            pid=self.child.pid,
            pid_start=procfs.start_time(self.child.pid),
            bundle=plan.bundle,
            rootfs=plan.rootfs,
            created_ns=self.clock.now_ns(),
            cgroups=dict(plan.cgroups),
            namespaces=tuple(one.type for one in linux.namespaces or ()) if linux else (),
            terminal=plan.terminal,
            args=tuple(process.args or ()) if process else (),
            annotations=states.annotations_of(spec.annotations),
            owner=os.geteuid(),
            oci_version=spec.oci_version,
        )
        states.write(self.path, self.state)

    def _tell(self, ours: socket.socket, byte: bytes) -> None:
        try:
            ours.send(byte)
        except OSError:
            raise report.failure(self.plan, self.program) from None

    def _hear(self, ours: socket.socket) -> Steps[bytes]:
        told, master = yield from hear(ours)
        if master is not None:
            self.master = master
        if not told:
            report.emit(self.plan, self.program, self.sink)
            raise report.failure(self.plan, self.program)
        return told

    def _hooks(self) -> Steps[None]:
        assert self.state is not None
        assert self.spec.hooks is not None
        given_hooks = self.spec.hooks
        document = states.oci_state(self.state, Status.CREATING)
        yield from hooks.run("prestart", given_hooks.prestart or (), document, sink=self.sink)
        yield from hooks.run(
            "createRuntime", given_hooks.create_runtime or (), document, sink=self.sink
        )
        inside = (self.state.pid, namespace_flags(self.state), False)
        yield from hooks.run(
            "createContainer", given_hooks.create_container or (), document, sink=self.sink,
            enter=inside,
        )  # fmt: skip

    def undo(self) -> None:
        """Take back everything. Best effort: the first error is what the caller hears of."""
        if self.child is not None:
            signal.pidfd_send_signal(self.child.pidfd, signal.SIGKILL)
            os.waitid(os.P_PIDFD, self.child.pidfd, os.WEXITED)
            os.close(self.child.pidfd)
            self.program.close()
        if self.master is not None:
            os.close(self.master)
        try:
            cgroups.remove(self.plan.cgroups.values())
        finally:
            states.forget(self.path)

    def close(self) -> None:
        self._open.close()
        (self.path / states.CREATOR).unlink(missing_ok=True)
        (self.path / states.CGROUPS).unlink(missing_ok=True)


def namespace_flags(state: states.State) -> int:
    """The CLONE_NEW* flags of the namespaces that the container does not share with the host."""
    flags = 0
    for kind in state.namespaces:
        flags |= CLONE_FLAG[kind]
    return flags

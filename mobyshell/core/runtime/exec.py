"""exec: one more process in a container that is there already."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from mobyshell.core.errors import MobyshellError, SyscallFailed, WrongState
from mobyshell.core.events import EventSink, Failed
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.runtime import report
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.environment import home
from mobyshell.core.runtime.executor import Executor, Spawned
from mobyshell.core.runtime.launch import Launched, Stdio, hear, launch, named_kept
from mobyshell.core.runtime.notification import connected
from mobyshell.core.runtime.parent import run_program
from mobyshell.core.runtime.plan import HOME, INNER
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import HungUp, Readable, Steps
from mobyshell.core.runtime.usher import child_of
from mobyshell.core.runtime.ushers import Known
from mobyshell.core.runtime.values import PLAIN, Options, Status
from mobyshell.core.values import value

_LOOKS = 50
"""How often it is looked whether an usher has made its child: some microseconds each, in which there
is nothing else to do, and after which something can be done while the child is on its way."""


@value
class ExecProcess:
    """A process in a container. `pidfd` and `master` are the caller's to close.

    `start`: when it started, in clock ticks since boot, where that is known (else 0). `again`: how the
    same is executed again, at once, where that is known.
    """

    pid: int
    pidfd: int
    master: int | None = None
    start: int = 0
    again: Repeat | None = None


@value
class Repeat:
    """What an usher has made, and can make once more: by its exec plan, for a user."""

    known: Known
    prepared: Prepared
    uid: int


def check_running(root: Path, id: str, *, ignore_paused: bool = False) -> states.State:
    """The state of a container in which a process can be started. WrongState otherwise."""
    state = states.read(root, id)
    now = states.status(root, state)
    if now is Status.STOPPED:
        raise WrongState(f"cannot exec in a stopped container: {id}")
    if now is Status.PAUSED and not ignore_paused:
        raise WrongState(
            f"cannot exec in a paused container: {id}", hint="`mobyshell task resume` it first"
        )
    return state


def exec_process(
    state: states.State, prepared: Prepared, uid: int, *, stdio: Stdio, executor: Executor, sink: EventSink,
    meanwhile: Callable[[], None], options: Options = PLAIN, ignore_paused: bool = False,
) -> Steps[ExecProcess]:  # fmt: skip
    """Execute the exec plan of a process of `uid`; returns when the program runs.

    NotFound if the container has ended since its state was read; SyscallFailed with what failed;
    WrongState if somebody has frozen it meanwhile, unless `ignore_paused`.
    """
    plan = prepared.template
    values = {"id": plan.id, "init": str(state.pid)}
    held = ExitStack()
    opened = open_groups(prepared, values, executor, sink, held)
    main = prepared.take("child", values)
    before = prepared.take("join", values)
    if main.wants(HOME):
        values["home"] = home(uid, f"/proc/{state.pid}/root", plan.rootfs)
        main.fill(values)
    launched: Launched | None = None
    try:
        init = pidfds.open_verified(state.pid, state.pid_start)
        held.callback(os.close, init)
        handed = {name: opened[name] for name in plan.handed}
        descriptors = {"init": init, **handed, **named_kept(options)}
        with connected(plan.agent) as listening:
            launched = launch(
                executor, stdio, descriptors | listening, main, before, flags=0,
                cgroup=opened.get("cgroup", -1),
            )  # fmt: skip
        held.close()
        meanwhile()
        looked = None if ignore_paused else state
        return (yield from _follow(prepared, launched, values, executor, sink, looked))
    except BaseException as error:
        if launched is not None:
            _end(launched.child, state)
        elif isinstance(error, SyscallFailed) and error.errno == 0:
            raise report.failure(plan, before) from None
        if isinstance(error, MobyshellError):
            sink(plan.id, Failed(verb="exec", error=error.to_wire()))
        raise
    finally:
        held.close()
        report.emit(plan.id, lambda: plan, before, sink)
        if launched is not None:
            launched.socket.close()
        prepared.give("child", main)
        prepared.give("join", before)


@value
class Ordered:
    """A process that an usher was told to make. `ready`: see `Usher.order`; `before`: when that was, in
    clock ticks since boot."""

    what: Repeat
    program: Program
    ready: int
    before: int


def order(what: Repeat, stdio: Stdio) -> Ordered:
    """Have a container's usher make a process, which waits for `let_go`. OSError if it has gone."""
    usher = what.known.usher
    program = what.known.take(what.prepared, what.uid) or _filled(what)
    usher.busy = True  # and stays so if nobody waits for the end of this
    before = procfs.ticks()
    return Ordered(what, program, usher.order(program, stdio), before)


def let_go(ordered: Ordered) -> None:
    """Let the process come to its program, with the home that its user has now."""
    program, usher = ordered.program, ordered.what.known.usher
    home = program.values.get("home")
    if home is not None and (now := usher.homes.of(ordered.what.uid)) != home:
        program.fill({**program.values, "home": now})
    usher.let_go(ordered.ready)


def take_back(ordered: Ordered) -> None:
    """Nothing is to come of the process. Its usher was dismissed."""
    os.close(ordered.ready)
    pid = child_of(ordered.program)
    if pid > 0:
        made = _made(pid, ordered.before, ordered.what)
        _end(Spawned(made.pid, made.pidfd), ordered.what.known.state)
    ordered.what.prepared.give("child", ordered.program)


def make_ready(what: Repeat) -> None:
    """Do what can be done for the next order before it comes; nothing if the usher is at work, or gone."""
    known = what.known
    if known.idle:
        with suppress(OSError):  # out of descriptors: so it is done when it comes
            known.keep(what.prepared, what.uid, _filled(what))


def _filled(what: Repeat) -> Program:
    known, prepared = what.known, what.prepared
    values = {"id": prepared.template.id, "init": str(known.state.pid)}
    program = prepared.borrow("child")
    if program.wants(HOME):
        values["home"] = known.usher.homes.of(what.uid)
    program.fill(values)
    try:
        known.usher.prepare(program)
    except OSError:
        prepared.give("child", program)
        raise
    return program


def exec_by_usher(
    ordered: Ordered, *, sink: EventSink, meanwhile: Callable[[], None],
    begun: Callable[[ExecProcess], None],
) -> Steps[ExecProcess | int]:  # fmt: skip
    """As `exec_process`, what was ordered of a container's usher; an errno (or 0) if that has made no
    process. `begun`: see `Runtime.exec`."""
    what, program, ready, before = ordered.what, ordered.program, ordered.ready, ordered.before
    prepared, usher = what.prepared, what.known.usher
    plan = prepared.template
    made: ExecProcess | None = None
    try:
        if child_of(program) == 0:
            meanwhile()
            meanwhile = _nothing
        looks = _LOOKS
        while child_of(program) == 0 and looks:  # the usher is about to make it
            os.sched_yield()
            looks -= 1
        if child_of(program) > 0:  # there is one, though it is not its program yet
            made = _made(child_of(program), before, what)
            begun(made)
        meanwhile()
        yield from _while_thawed(HungUp(ready, _LOOK), what.known.state)
        told = os.read(ready, 2)
    except BaseException:
        if made is not None:
            _end(Spawned(made.pid, made.pidfd), what.known.state)
            usher.busy = False
        raise
    finally:
        os.close(ready)
    usher.busy = False
    if made is None:
        pid = child_of(program)
        if pid <= 0:
            return -pid
        made = _made(pid, before, what)
    if usher.program is not None:
        report.emit(plan.id, lambda: plan, usher.program, sink)
        usher.begun()
    try:
        report.emit(plan.id, lambda: plan, program, sink)
        if told != b"r" or report.has_failed(plan, program):
            _end(Spawned(made.pid, made.pidfd), what.known.state)
            error = report.failure(plan, program)
            sink(plan.id, Failed(verb="exec", error=error.to_wire()))
            raise error
    finally:
        prepared.give("child", program)
    return made


def _nothing() -> None:
    """There is no more to do meanwhile."""


def _made(pid: int, before: int, what: Repeat) -> ExecProcess:
    """Our child, which was made since `before`. It is not yet reaped: the pid cannot have been reused."""
    pidfd = os.pidfd_open(pid)
    # within one tick of the clock by which the kernel tells, so there is no need to ask it
    start = before if before == procfs.ticks() else 0
    return ExecProcess(pid, pidfd, None, start, what)


_LOOK = 1.0
"""Seconds between two looks whether somebody has frozen the container of a process on its way."""


def _while_thawed(wanted: Readable | HungUp, state: states.State | None) -> Steps[None]:
    """Wait for a child on its way to its program: we freeze no container meanwhile, but others may
    write to its freezer, and then it would be for ever. WrongState."""
    while not (yield wanted):
        if state is not None and cgroups.frozen(state.cgroups):
            raise WrongState(f"cannot exec in a paused container: {state.id}",
                             hint="somebody has frozen its cgroup meanwhile")  # fmt: skip


def _end(child: Spawned, state: states.State) -> None:
    signal.pidfd_send_signal(child.pidfd, signal.SIGKILL)
    if cgroups.frozen(state.cgroups):
        cgroups.take_out(state.cgroups, child.pid)
    os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    os.close(child.pidfd)


def open_groups(
    prepared: Prepared, values: dict[str, str], executor: Executor, sink: EventSink, held: ExitStack
) -> dict[str, int]:  # fmt: skip
    """The parent's part before there is a child: the descriptors of the cgroups, which `held`
    closes, by their cells."""
    if not prepared.has("prepare"):
        return {}
    plan = prepared.template
    program = prepared.take("prepare", values)
    try:
        run_program(executor, plan, program, sink)
        opened = {name: program.get(name) for name in program.cells}
        for fd in opened.values():
            held.callback(os.close, fd)
        return opened
    finally:
        prepared.give("prepare", program)


def _follow(
    prepared: Prepared, launched: Launched, values: dict[str, str], executor: Executor,
    sink: EventSink, state: states.State | None,
) -> Steps[ExecProcess]:  # fmt: skip
    plan = prepared.template
    child, program, ours = launched.child, launched.program, launched.socket
    values["pid"] = str(child.pid)
    if prepared.has("attach"):
        attach = prepared.take("attach", values)
        try:
            run_program(executor, plan, attach, sink)
        finally:
            prepared.give("attach", attach)
    if plan.agent:
        program.fill(values)
    if program.wants(INNER):
        levels = procfs.status_fields(child.pid).get("NSpid", str(child.pid)).split()
        values["inner"] = levels[-1]
        program.fill(values)
    if plan.attended:
        ours.send(b"1")
    wait = Readable((ours.fileno(),), _LOOK)
    yield from _while_thawed(wait, state)
    told, handed = yield from hear(ours)
    master = handed[0] if handed else None
    if told == b"r":
        # execve closes the socket; so does death
        yield from _while_thawed(wait, state)
    report.emit(plan.id, lambda: plan, program, sink)
    if told != b"r" or report.has_failed(plan, program):
        if master is not None:
            os.close(master)
        raise report.failure(plan, program)
    return ExecProcess(child.pid, child.pidfd, master)

"""start: let the created container's program run (runtime.md#start)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL

from mobyshell.core.clock import Clock
from mobyshell.core.errors import (
    InvalidSpec,
    MobyshellError,
    NotFound,
    SyscallFailed,
    TimedOut,
    WrongState,
)
from mobyshell.core.events import EventSink, Failed, TaskStarted
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.oci import Spec
from mobyshell.core.runtime import hooks, report
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.create import Waiting, namespace_flags
from mobyshell.core.runtime.environment import completed
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.inside import Inside
from mobyshell.core.runtime.plan import Operation
from mobyshell.core.runtime.steps import Readable, Steps
from mobyshell.core.runtime.values import Status

PATIENCE = 30.0
"""Seconds until execve must have happened: a container frozen meanwhile would wait for ever."""


def start(
    root: Path,
    id: str,
    spec: Spec,
    waiting: Waiting | None,
    *,
    executor: Executor,
    sink: EventSink,
    clock: Clock,
    bounds: Callable[[], tuple[Operation, ...]],
    meanwhile: Callable[[states.State], None] | None = None,
) -> Steps[states.State]:
    """Start container `id`; returns when its program has been executed.

    `waiting` is what its creator kept, None in another process. WrongState unless it is created;
    SyscallFailed with the reason if the program cannot be executed; HookFailed, and then the
    container is killed, if a hook fails. `bounds`: what hooks inside become. `meanwhile` is told
    that it runs while it gets there, and perhaps does not.
    """
    state = _startable(root, id, spec)
    path = states.directory(root, id)
    given = spec.hooks
    try:
        if given is not None and given.start_container:
            # in the image a hook's program may be anything: it may no more than the container's
            flags = namespace_flags(state)
            inside = Inside(executor, state.pid, flags, root=True, becoming=bounds())
            document = states.oci_state(state, Status.CREATED)
            yield from _or_stop(state, hooks.run(
                "startContainer", given.start_container, document, sink=sink, enter=inside,
                env=_environment(spec, state),
            ))  # fmt: skip
        fifo, created = _claim(path, id), state
        try:
            os.write(fifo, b"1")
            # written down while it becomes its program, which is seldom refused
            state = states.started(path, state, clock.now_ns())
            if meanwhile is not None:
                meanwhile(state)
            yield from _gone(fifo)
            with suppress(FileNotFoundError):
                os.unlink(f"{path}/{_CLAIMED}")
            _check(id, waiting, sink)
        except MobyshellError:
            states.write(path, created)
            raise
        finally:
            os.close(fifo)
    except MobyshellError as error:
        sink(id, Failed(verb="start", error=error.to_wire()))
        raise
    sink(id, TaskStarted(pid=state.pid))
    if given is not None and given.poststart:
        document = states.oci_state(state, Status.RUNNING)
        try:
            poststart = hooks.run("poststart", given.poststart, document, sink=sink)
            yield from _or_stop(state, poststart)
        except MobyshellError as error:
            sink(id, Failed(verb="start", error=error.to_wire()))
            raise
    return state


def _startable(root: Path, id: str, spec: Spec) -> states.State:
    """The state of a container that may be started now; else the error says what keeps it."""
    state = states.read(root, id)
    now = states.status(root, state)
    if now is Status.STOPPED:
        raise WrongState(f"cannot start a container that has stopped: {id}")
    if now is Status.CREATING:
        raise WrongState(f"cannot start a container that is still being created: {id}")
    if now is Status.PAUSED and states.waits(states.directory(root, id)):
        raise WrongState(f"cannot start a container in the paused state: {id}",
                         hint="`mobyshell task resume` it first")  # fmt: skip
    if now is not Status.CREATED:
        raise WrongState(f"cannot start an already running container: {id}")
    if spec.process is None:
        raise InvalidSpec(
            "process: found nothing: such a container can be created, and not be started",
            hint="delete it, and create it anew from a config.json with a process",
            problems=["process: found nothing, allowed: it is required to start a container"],
        )
    return state


def _or_stop(state: states.State, running: Steps[None]) -> Steps[None]:
    """Run hooks; if one fails, the container must not go on (runtime.md#lifecycle, 7 and 9)."""
    try:
        yield from running
    except MobyshellError:
        with suppress(NotFound):  # it has ended by itself
            init = pidfds.open_verified(state.pid, state.pid_start)
            try:
                pidfds.send(init, SIGKILL)
                yield Readable((init,), PATIENCE)
            finally:
                os.close(init)
        raise


def _environment(spec: Spec, state: states.State) -> tuple[str, ...]:
    """The program's, for hooks inside that have none of their own."""
    assert spec.process is not None
    places = (f"/proc/{state.pid}/root", state.rootfs)
    return completed(spec.process.env or (), spec.process.user.uid, *places)


_CLAIMED = states.FIFO + ".claimed"


def _claim(path: Path, id: str) -> int:
    """Of several that start it at once, the one whose rename succeeds."""
    try:
        os.rename(f"{path}/{states.FIFO}", f"{path}/{_CLAIMED}")
    except FileNotFoundError:
        raise WrongState(f"cannot start an already running container: {id}") from None
    try:
        return os.open(f"{path}/{_CLAIMED}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # nobody has it open for reading: the init is gone
            raise WrongState(f"cannot start a container that has stopped: {id}") from None
        raise SyscallFailed.of(error, "open", path=str(path / _CLAIMED)) from None


def _gone(fifo: int) -> Steps[None]:
    """Wait until execve of the child that was let go (or its death) closes the other end."""
    # a writing end reports an error, and nothing else, when its last reader is gone
    if not (yield Readable((fifo,), PATIENCE)):
        raise TimedOut(
            f"the container did not execute its program within {PATIENCE:.0f} s",
            hint="is its cgroup frozen?",
        )


def _check(id: str, waiting: Waiting | None, sink: EventSink) -> None:
    """Emit the calls up to execve; raise the error of the one that failed."""
    if waiting is None:
        return
    prepared, program = waiting.prepared, waiting.program
    report.emit(
        id, lambda: prepared.plan(id), program, sink, waiting.reported, template=prepared.template
    )
    if report.has_failed(prepared.template, program):
        raise report.failure(prepared.plan(id), program)

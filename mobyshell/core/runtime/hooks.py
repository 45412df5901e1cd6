"""Running hooks: programs beside the container's life (config.md#posix-platform-hooks).

Owns how one is run: in the bundle, the container's state as JSON on standard input, its own
environment, a timeout after which it is killed, what it says captured. A hook that must run inside the
container's namespaces is started by a process that enters them (`inside`); this one never does.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Any

from mobyshell.core.errors import HookFailed, MobyshellError, SyscallFailed
from mobyshell.core.events import EventSink, Failed, HookDone
from mobyshell.core.linux import interpreter
from mobyshell.core.linux.subids import advice
from mobyshell.core.linux.working_directory import starting_in
from mobyshell.core.oci import Hook
from mobyshell.core.runtime.inside import Entered, Inside
from mobyshell.core.runtime.steps import Readable, Steps

CAPTURED = 4096
"""How many bytes of a hook's output are kept."""


def run(
    kind: str,
    hooks: Sequence[Hook],
    state: dict[str, Any],
    *,
    sink: EventSink,
    enter: Inside | None = None,
    env: Sequence[str] = (),
) -> Steps[None]:
    """Run the hooks of one kind in their order. HookFailed with the first that fails.

    `enter`: for hooks inside the container. `env`: for hooks that have none of their own; by
    default they get this process's.
    """
    for index, hook in enumerate(hooks):
        yield from _run_one(kind, index, hook, state, sink, enter, env)


def run_poststop(given: Sequence[Hook], state: dict[str, Any], *, sink: EventSink) -> Steps[None]:
    """Run each, whatever the ones before did: that one fails is told, and changes nothing any more
    (runtime.md#lifecycle, 13)."""
    for index, hook in enumerate(given):
        try:
            yield from _run_one("poststop", index, hook, state, sink, None, ())
        except MobyshellError as error:
            sink(str(state["id"]), Failed(verb="poststop", error=error.to_wire()))


def _run_one(
    kind: str, index: int, hook: Hook, state: dict[str, Any], sink: EventSink,
    enter: Inside | None, inherited: Sequence[str],
) -> Steps[None]:  # fmt: skip
    args = list(hook.args or (hook.path,))
    # as with runc and crun: what the spec leaves open is the runtime's own
    own = (
        hook.env
        if hook.env is not None
        else inherited or [f"{k}={v}" for k, v in os.environ.items()]
    )
    env = dict(one.split("=", 1) for one in own if "=" in one)
    begun = time.monotonic_ns()
    document = json.dumps(state).encode()
    process = _Process(hook.path, args, env, document, enter, str(state["bundle"]))
    timeout = hook.timeout
    try:
        timed_out = yield from process.finish(timeout)
    finally:
        process.close()
    sink(
        str(state["id"]),
        HookDone(
            kind=kind, index=index, path=hook.path, args=list(hook.args or ()),
            exit_status=process.status, stdout=process.text(0), stderr=process.text(1),
            duration_ns=time.monotonic_ns() - begun,
        ),
    )  # fmt: skip
    if timed_out:
        raise HookFailed(
            f"error running {kind} hook #{index}: hook ran past specified timeout of {timeout:.1f}s",
            hint=f"{hook.path} was killed",
        )
    if process.status != 0:
        how = (
            f"signal: {(signal.strsignal(process.signal) or str(process.signal)).lower()}"
            if process.signal
            else f"exit status {process.status}"
        )  # fmt: skip
        raise HookFailed(
            f"error running {kind} hook #{index}: {how}, stdout: {process.text(0).strip()}, "
            f"stderr: {process.text(1).strip()}",
            hint=f"the hook is {hook.path}",
        )


class _Process:
    """One program with its standard streams on files and pipes of ours."""

    def __init__(
        self, path: str, args: list[str], env: dict[str, str], stdin: bytes,
        enter: Inside | None = None, directory: str = "",
    ) -> None:  # fmt: skip
        self.status, self.signal = -1, 0
        self.output = [bytearray(), bytearray()]
        self._reaped = False
        self._path = path
        self._entered: Entered | None = None
        # a file, not a pipe: a hook that does not read its input must not stop us
        given = os.memfd_create("state", os.MFD_CLOEXEC)
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        reads, ends = zip(*(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in (1, 2)), strict=True)
        self.fds = list(reads)
        for end in ends:
            os.set_blocking(end, True)
        try:
            if enter is None:
                self.pid = _spawn(path, args, env, (given, *ends), directory)
                self.pidfd = os.pidfd_open(self.pid)
            else:
                pairs = [f"{name}={value}" for name, value in env.items()]
                self._entered = enter.spawn(path, args, pairs, (given, *ends))
                self.pid, self.pidfd = self._entered.child.pid, self._entered.child.pidfd
        except BaseException:
            for fd in self.fds:
                os.close(fd)
            raise
        finally:
            for fd in (given, *ends):
                os.close(fd)

    def finish(self, timeout: float | None) -> Steps[bool]:
        """Read until the program has exited; True if it ran past `timeout` and was killed."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = yield Readable((self.pidfd, *self.fds), left)
            self._read()
            if self.pidfd in ready:
                self._reap()
                return False
            if deadline is not None and time.monotonic() >= deadline:
                self._kill()
                return True

    def _read(self) -> None:
        for number, fd in enumerate(self.fds):
            try:
                data = os.read(fd, 65536)
            except BlockingIOError:
                continue
            self.output[number] += data[: CAPTURED - len(self.output[number])]
            if not data:
                # closed by the program: polling on would spin, so something silent takes its place
                os.close(fd)
                self.fds[number] = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def _reap(self) -> None:
        done = os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)
        self._reaped = True
        assert done is not None
        self.signal = done.si_status if done.si_code != os.CLD_EXITED else 0
        self.status = 128 + self.signal if self.signal else done.si_status
        if self._entered is not None and (code := self._entered.refused()):
            self.status = 127
            self.output[1] += f"{self._path}: {os.strerror(code)}".encode()

    def _kill(self) -> None:
        # the group: a hook that is a shell script has children (it is its session's leader)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:  # not that far yet
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._reap()

    def text(self, number: int) -> str:
        return self.output[number].decode(errors="replace")

    def close(self) -> None:
        if not self._reaped:
            self._kill()
        self._read()
        for fd in (*self.fds, self.pidfd):
            os.close(fd)
        if self._entered is not None:
            self._entered.program.close()


def _spawn(
    path: str, args: list[str], env: dict[str, str], streams: tuple[int, int, int], directory: str
) -> int:
    """A program of the host, in a session of its own. SyscallFailed if it cannot be executed.

    `directory`: where it begins, as with runc and crun in the bundle; if that is gone, where we are.
    """
    with ExitStack() as held:
        if directory:
            with suppress(OSError):
                place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                held.callback(os.close, place)
                held.enter_context(starting_in(place))
        try:
            return os.posix_spawn(
                path,
                args,
                env,
                file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(streams)],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            raise SyscallFailed.of(error, "execve", path=path, hint="the hook's path") from None


def run_helper(words: list[str], what: str) -> Steps[None]:
    """Run newuidmap or newgidmap to its end. SyscallFailed or HookFailed if it refuses."""
    yield from _run_helper(words, f"{what}: {words[0]}", lambda: _map_advice(words))


def _map_advice(words: list[str]) -> str:
    """What newuidmap PID (INSIDE OUTSIDE COUNT)… could not do."""
    kind = "gid" if words[0].endswith("newgidmap") else "uid"
    numbers = [int(one) for one in words[2:]]
    missing = advice(kind, list(zip(numbers[1::3], numbers[2::3], strict=True)))
    return missing or f"is {words[0]} set-uid root, or has it CAP_SET{kind.upper()}?"


# in a process of its own, of this installation wherever that is
def run_module(module: str, words: list[str], what: str) -> Steps[None]:
    """Run `main` of a module of ours, as `run_helper`: for what must be done in another process."""
    yield from _run_helper([*interpreter.module(module), *words], what, lambda: "")


def _run_helper(words: list[str], what: str, hint: Callable[[], str]) -> Steps[None]:
    process = _Process(words[0], words, {"PATH": "/usr/bin:/bin"}, b"")
    try:
        timed_out = yield from process.finish(30)
    finally:
        process.close()
    if timed_out or process.status != 0:
        said = process.text(1).strip() or f"exit status {process.status}"
        raise HookFailed(f"{what}: {said}", hint=hint())

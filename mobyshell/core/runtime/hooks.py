"""Running hooks: programs beside the container's life (config.md#posix-platform-hooks).

Owns how one is run: the container's state as JSON on standard input, its own environment, a
timeout after which it is killed, what it says captured. A hook that must run inside the
container's namespaces is started by a helper process that enters them; this process never does.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from mobyshell.core.errors import HookFailed, MobyshellError, SyscallFailed
from mobyshell.core.events import EventSink, Failed, HookDone
from mobyshell.core.oci import Hook
from mobyshell.core.runtime.steps import Readable, Steps

CAPTURED = 4096
"""How many bytes of a hook's output are kept."""

# enters the namespaces of a process and becomes the hook; run with python -I -S -c
_ENTER = """
import ctypes, os, sys
pid, flags, inside, path = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
libc = ctypes.CDLL(None, use_errno=True)
root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC)
pidfd = os.pidfd_open(pid)
if libc.setns(pidfd, flags):
    code = ctypes.get_errno(); sys.stderr.write("setns: " + os.strerror(code)); os._exit(126)
if inside == "1":
    os.fchdir(root); os.chroot("."); os.chdir("/")
child = os.fork()
if child == 0:
    try:
        os.execve(path, sys.argv[5:], dict(os.environb))
    except OSError as error:
        sys.stderr.write(f"{path}: {error.strerror}"); os._exit(127)
status = os.waitpid(child, 0)[1]
os._exit(os.waitstatus_to_exitcode(status) & 255)
"""


def run(
    kind: str,
    hooks: Sequence[Hook],
    state: dict[str, Any],
    *,
    sink: EventSink,
    enter: tuple[int, int, bool] | None = None,
    env: Sequence[str] = (),
) -> Steps[None]:
    """Run the hooks of one kind in their order. HookFailed with the first that fails.

    `enter`: (pid, CLONE_NEW* flags, take its root too) for hooks inside the container. `env`: for
    hooks that have none of their own.
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
    enter: tuple[int, int, bool] | None, inherited: Sequence[str],
) -> Steps[None]:  # fmt: skip
    args = list(hook.args or (hook.path,))
    own = inherited if hook.env is None else hook.env
    env = dict(one.split("=", 1) for one in own if "=" in one)
    path = hook.path
    if enter is not None:
        pid, flags, inside = enter
        path = sys.executable
        args = [path, "-I", "-S", "-c", _ENTER, str(pid), str(flags), str(int(inside)),
                hook.path, *args]  # fmt: skip
    begun = time.monotonic_ns()
    process = _Process(path, args, env, json.dumps(state).encode())
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
            f"signal {process.status - 128}" if process.status > 128
            else f"exit status {process.status}"
        )  # fmt: skip
        raise HookFailed(
            f"error running {kind} hook #{index}: {how}, stdout: {process.text(0).strip()}, "
            f"stderr: {process.text(1).strip()}",
            hint=f"the hook is {hook.path}",
        )


class _Process:
    """One program with its standard streams on files and pipes of ours."""

    def __init__(self, path: str, args: list[str], env: dict[str, str], stdin: bytes) -> None:
        self.status = -1
        self.output = [bytearray(), bytearray()]
        self._reaped = False
        # a file, not a pipe: a hook that does not read its input must not stop us
        given = os.memfd_create("state", os.MFD_CLOEXEC)
        os.write(given, stdin)
        os.lseek(given, 0, os.SEEK_SET)
        reads, ends = zip(*(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in (1, 2)), strict=True)
        self.fds = list(reads)
        for end in ends:
            os.set_blocking(end, True)
        try:
            self.pid = os.posix_spawn(
                path,
                args,
                env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_DUP2, ends[0], 1),
                    (os.POSIX_SPAWN_DUP2, ends[1], 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        except OSError as error:
            for fd in self.fds:
                os.close(fd)
            raise SyscallFailed.of(error, "execve", path=path, hint="the hook's path") from None
        finally:
            for fd in (given, *ends):
                os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)

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
        self.status = done.si_status if done.si_code == os.CLD_EXITED else 128 + done.si_status

    def _kill(self) -> None:
        # the group: a hook that is a shell script has children (it is its session's leader)
        os.killpg(self.pid, signal.SIGKILL)
        self._reap()

    def text(self, number: int) -> str:
        return self.output[number].decode(errors="replace")

    def close(self) -> None:
        if not self._reaped:
            self._kill()
        self._read()
        for fd in (*self.fds, self.pidfd):
            os.close(fd)


def run_helper(words: list[str], what: str) -> Steps[None]:
    """Run a helper program (newuidmap) to its end. SyscallFailed or HookFailed if it refuses."""
    process = _Process(words[0], words, {"PATH": "/usr/bin:/bin"}, b"")
    try:
        timed_out = yield from process.finish(30)
    finally:
        process.close()
    if timed_out or process.status != 0:
        said = process.text(1).strip() or f"exit status {process.status}"
        raise HookFailed(f"{what}: {words[0]}: {said}", hint="see /etc/subuid and /etc/subgid")

"""A worker's process as its owner has it: started, talked to, ended, and buried.

Any thread may kill it while another one waits for its answer; only one ends it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import Any

from mobyshell.core.errors import SyscallFailed, WorkerLost
from mobyshell.core.linux import pidfd
from mobyshell.core.linux.interpreter import import_paths
from mobyshell.core.store.layers import wire

_PROGRAM = str(Path(__file__).with_name("process.py"))
"""By its path: what it loads, its owner need not."""
_LINE = 3
"""The worker's descriptor of the socket."""
_ABOVE = 10
"""Descriptors are duplicated to at least this: the child's low numbers must not be in the way."""
_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH")
_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(256 << 20)}
"""mallopt(3): chunks come and go by the hundred, and need not be cleared by the kernel each time."""
_RESET = [one for one in signal.valid_signals() if one not in (signal.SIGKILL, signal.SIGSTOP)]
_MOST_SAID = 4096


class Child:
    """A process that serves one line. SyscallFailed if it cannot be started."""

    def __init__(self, enter: tuple[str, ...]) -> None:
        """`enter`: see `LayerWorker`."""
        self._guard = threading.Lock()
        self._ended = False
        self._status: int | None = None
        self._line, theirs = socket.socketpair()
        self._said = os.memfd_create("mobyshell-layers")
        try:
            self.pid = _spawn(enter, theirs, self._said)
            self._pidfd = os.pidfd_open(self.pid)
        except OSError as error:
            self._line.close()
            os.close(self._said)
            raise SyscallFailed.of(error, "posix_spawn", path="the worker for layers") from None
        finally:
            theirs.close()

    def send(self, request: dict[str, Any], fds: list[int]) -> None:
        """Ask it for something. WorkerLost, SyscallFailed (a descriptor that is none)."""
        try:
            wire.send(self._line, request, fds)
        except ConnectionError:
            raise self._lost() from None
        except OSError as error:
            raise SyscallFailed.of(error, "sendmsg", path="the worker for layers") from None

    def receive(self) -> dict[str, Any]:
        """What it says next. WorkerLost."""
        try:
            received = wire.receive(self._line)
        except (OSError, ValueError):  # in the middle of a word
            received = None
        if received is None:
            raise self._lost()
        return received[0]

    def kill(self) -> None:
        """Kill it. Whoever waits for its answer gets WorkerLost."""
        with self._guard:
            if not self._ended:
                pidfd.send(self._pidfd, signal.SIGKILL)
                self._hang_up()

    def end(self) -> None:
        """Kill it, and leave no zombie."""
        self.kill()
        with self._guard:
            self._ended = True
            self._wait()
            os.close(self._pidfd)
            os.close(self._said)
            self._line.close()

    def _lost(self) -> WorkerLost:
        """That it went away, and what can be known of the reason."""
        self._hang_up()
        status = self._wait()
        how = f"by signal {status - 128}" if status > 128 else f"with status {status}"
        said = os.pread(self._said, _MOST_SAID, 0).decode(errors="replace").strip()
        last = said.rpartition("\n")[2]
        hint = "the kernel's log says whether memory ran out" if status == 128 + 9 else last
        return WorkerLost(f"the process that works on layers ended {how}", hint=hint)

    def _hang_up(self) -> None:
        """The worker ends by this, too: what was killed may be a program in between."""
        try:
            self._line.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it was first

    def _wait(self) -> int:
        if self._status is None:
            try:
                done = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
            except ChildProcessError:  # a process that reaps whatever dies was first
                done = None
            if done is None:
                self._status = 0
            else:
                code = done.si_status & 0x7F
                self._status = done.si_status if done.si_code == os.CLD_EXITED else 128 + code
        return self._status


def _spawn(enter: tuple[str, ...], line: socket.socket, said: int) -> int:
    python = getattr(sys, "_base_executable", None) or sys.executable
    words = [*enter, python, "-I", "-S", _PROGRAM, str(_LINE), *import_paths()]
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    sources = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _ABOVE) for fd in (null, said, line.fileno())]
    os.close(null)
    try:
        return os.posix_spawn(
            words[0],
            words,
            {**environment, **_MEMORY},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, sources[0], 0),
                (os.POSIX_SPAWN_DUP2, sources[0], 1),
                (os.POSIX_SPAWN_DUP2, sources[1], 2),
                (os.POSIX_SPAWN_DUP2, sources[2], _LINE),
            ],
            setsid=True,  # interrupts at the terminal are ours to deal with
            setsigmask=[],
            setsigdef=_RESET,
        )
    finally:
        for fd in sources:
            os.close(fd)

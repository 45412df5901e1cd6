"""Running the binary of an OCI runtime: one call, to its end, with what it said.

Owns the process: its streams, its log (a file in memory, so that nothing is left on disk), its
timeout. Decides nothing about what the answer means; that is `log` and `verbs`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobyshell.core.errors import SyscallFailed, TimedOut, Unsupported
from mobyshell.core.runtime.client.log import LogEntry, parse
from mobyshell.core.runtime.steps import Readable, Steps

if TYPE_CHECKING:
    from mobyshell.core.runtime.create import Stdio

LARGEST = 16 << 20
"""Bytes of an answer that are read."""


@dataclass(frozen=True, slots=True)
class Call:
    """A command line and what goes with it. `words`: without the log's options, which `perform`
    puts after the program's name. `launcher`: what the command line is put behind. `answers`: what
    it prints is wanted; otherwise its streams are those of the container, `stdio`, or /dev/null.
    `extra`: our descriptors that it has, too."""

    words: tuple[str, ...]
    launcher: tuple[str, ...] = ()
    answers: bool = True
    stdio: Stdio | None = None
    extra: tuple[int, ...] = ()
    env: Mapping[str, str] | None = None
    cwd: str | None = None
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Finished:
    """How a call ended: 128+n for signal n. `stdout`, `stderr`: empty with streams of a container."""

    status: int
    stdout: bytes
    stderr: bytes
    log: list[LogEntry]


class Memory:
    """A file in memory that another process of ours can open by `path`."""

    def __init__(self, name: str, data: bytes = b"") -> None:
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC)
        self.path = f"/proc/{os.getpid()}/fd/{self.fd}"
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self.fd, rest) :]

    def read(self) -> bytes:
        """All that is in it, up to `LARGEST`."""
        return os.pread(self.fd, LARGEST, 0)

    def close(self) -> None:
        """Let it go, once."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def perform(call: Call) -> Steps[Finished]:
    """Run `call` to its end. Unsupported if there is no such program; TimedOut, and then it is
    killed: what it has made of a container until then is for `delete --force`."""
    log, out, err = Memory("log"), Memory("stdout"), Memory("stderr")
    process: subprocess.Popen[bytes] | None = None
    try:
        process = spawn(call, log.path, out.fd, err.fd)
        pidfd = os.pidfd_open(process.pid)
        try:
            if not (yield Readable((pidfd,), call.timeout)):
                raise TimedOut(
                    f"{os.path.basename(call.words[0])} has not ended within {call.timeout:g} s",
                    hint="it was killed; `delete --force` clears away what it left",
                )
        finally:
            os.close(pidfd)
        status = process.wait()
        return Finished(
            status if status >= 0 else 128 - status, out.read(), err.read(), parse(log.read())
        )
    finally:
        if process is not None and process.returncode is None:
            process.kill()
            process.wait()
        for file in (log, out, err):
            file.close()


def spawn(call: Call, log: str, out: int, err: int) -> subprocess.Popen[bytes]:
    """Start `call`, with its log as JSON in `log`."""
    program, *rest = call.words
    words = [*call.launcher, program, "--log", log, "--log-format", "json", *rest]
    ends = (subprocess.DEVNULL, out, err)
    if call.stdio is not None:
        ends = (call.stdio.stdin, call.stdio.stdout, call.stdio.stderr)
    elif not call.answers:
        ends = (subprocess.DEVNULL,) * 3
    try:
        return subprocess.Popen(
            words, stdin=ends[0], stdout=ends[1], stderr=ends[2], cwd=call.cwd, env=call.env,
            pass_fds=call.extra,
        )  # fmt: skip
    except FileNotFoundError as error:
        if call.cwd is not None and not os.path.isdir(call.cwd):
            raise SyscallFailed.of(error, "chdir", path=call.cwd) from None
        raise Unsupported(
            f"there is no runtime {program!r} in $PATH"
            if "/" not in program
            else f"there is no runtime at {program}",
            hint="install it, or give the path of its program",
        ) from None
    except OSError as error:
        raise SyscallFailed.of(error, "execve", path=program) from None

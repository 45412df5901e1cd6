"""The portable executor: programs walked in Python, for every architecture.

The child is walked by a fresh interpreter, a sealed copy of ours, so that the container never
sees a process of a host's program. That costs the start of an interpreter each time; the native
executor is there for those who want it faster.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Sequence

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.interpreter import library, sealed_copy
from mobyshell.core.runtime import walker
from mobyshell.core.runtime.executor import Spawned, spawn_behind
from mobyshell.core.runtime.program import Program

_SCRIPT = walker.__file__
_MASKED = signal.valid_signals()
_DEFAULTS = _MASKED - {signal.SIGKILL, signal.SIGSTOP}


class PortableExecutor:
    """The executor in Python."""

    def __init__(self) -> None:
        self._interpreter = -1

    def run(self, program: Program) -> int | None:
        return walker.walk(_decoded(program), program.words)

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        return spawn_behind(
            self._launch, program, flags=flags, before=before, cgroup=cgroup, given=given
        )

    def _launch(self, inherited: Sequence[int], passed: Sequence[tuple[int, int]]) -> Spawned:
        if self._interpreter < 0:
            self._interpreter = sealed_copy()
        # dup2 of a descriptor onto itself makes it outlive execve (posix_spawn(3))
        actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in inherited]
        actions += [(os.POSIX_SPAWN_DUP2, fd, number) for fd, number in passed]
        python = getattr(sys, "_base_executable", None) or sys.executable
        try:
            pid = os.posix_spawn(
                f"/proc/self/fd/{self._interpreter}",
                [python, "-I", "-S", "-B", _SCRIPT],
                {"LD_LIBRARY_PATH": place} if (place := library()) else {},
                file_actions=actions,
                setsigmask=_MASKED,
                setsigdef=_DEFAULTS,
            )
        except OSError as error:
            raise SyscallFailed.of(error, "execve", path="the launcher") from None
        return Spawned(pid, os.pidfd_open(pid))

    def __del__(self) -> None:
        if self._interpreter >= 0:
            os.close(self._interpreter)


def _decoded(program: Program) -> list[walker.Record]:
    """The records as Python values, once for each program."""
    if not isinstance(program.records, list):
        program.records = walker.decode(program.words, program.length)
    records: list[walker.Record] = program.records
    return records

"""The native executor: programs walked by machine code, here or in a launcher without Python.

Owns how the launcher is started. A child in new namespaces is made by clone3(2) like vfork(2),
which copies nothing of this process, and at once executes the launcher (execveat(2) of a sealed
memfd). We do not wait for that: it has a stack of its own, and a few words of memory that we leave
alone. The launcher maps the program at the same address and walks it. So the child never has a
byte of this process's memory, no program of the host as its /proc/PID/exe, and of its descriptors
only those it is given.

Where the child must not be in its namespaces before it is the launcher (an execve in a new user
namespace costs its capabilities; a new time namespace is entered by fork) or must be made from
within others, the launcher is started where we are, and makes the child beside itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import (
    AT_EMPTY_PATH,
    CLONE_NEWNET,
    CLONE_NEWTIME,
    CLONE_NEWUSER,
    CLONE_PIDFD,
    CLONE_VM,
)
from mobyshell.core.linux.syscalls import hint, number
from mobyshell.core.runtime.executor import (
    CLONE_CLEAR_SIGHAND,
    CLONE_INTO_CGROUP,
    LINE,
    MAIN,
    Spawned,
    spawn_behind,
)
from mobyshell.core.runtime.native.ahead import Ahead, Walking
from mobyshell.core.runtime.native.code import RUN, SPAWN
from mobyshell.core.runtime.native.image import Image, clock
from mobyshell.core.runtime.program import CLONE_ARGS, REPORT, WORDS, Header, Program

CLONE_VFORK = 0x4000
_RECORD = struct.Struct(f"={WORDS}Q")
_STACK = 4 << 10
_LENT = 64
_NAME, _USHER_NAME = b"mobyshell:init".ljust(16, b"\0"), b"mobyshell:usher".ljust(16, b"\0")
_USHER = 2
_F_SETFD = 2
_CLOSE_RANGE_CLOEXEC = 4

_ENTERED_LATE = CLONE_NEWUSER | CLONE_NEWTIME


class NativeExecutor:
    """The executor for x86-64. Raises Unsupported or SyscallFailed if this machine refuses it."""

    def __init__(self) -> None:
        self._image = Image()
        self._clock, self._clock_offset = clock()
        word = ctypes.c_size_t
        self._run = ctypes.CFUNCTYPE(ctypes.c_long, word, word, word)(self._image.code + RUN)
        self._spawn = ctypes.CFUNCTYPE(ctypes.c_long, *[word] * 5)(self._image.code + SPAWN)
        self._lent: deque[object] = deque(maxlen=_LENT)
        self._ahead = Ahead(self._walk)
        self._argv = ctypes.create_string_buffer(b"mobyshell init")
        self._vector = (ctypes.c_void_p * 2)(ctypes.addressof(self._argv), None)
        self._empty = ctypes.create_string_buffer(8)
        self._numbers = tuple(number(one) for one in ("close_range", "fcntl", "dup3", "execveat"))

    def run(self, program: Program) -> int | None:
        failed: int = self._run(program.address, program.length, self._clock)
        return None if failed < 0 else failed

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        header = self._named(program, _NAME)
        if before is not None or flags & _ENTERED_LATE:
            return spawn_behind(
                partial(self._launch, 0, -1), program, flags=flags, before=before, cgroup=cgroup,
                given=given,
            )  # fmt: skip
        header[Header.BEFORE] = header[Header.BEHIND] = 0
        network = self._ahead.take() if flags & CLONE_NEWNET else -1
        # who shares our memory and is killed for the memory of a group takes us along (oom_kill.c);
        # one for whom we wait in vfork is left, and what it asks for is refused instead
        wait = CLONE_VFORK if cgroup >= 0 and _limits_memory(cgroup) else 0
        if network < 0:
            return self._begin(flags, cgroup, list(given), [(program.memory.fd, MAIN)], wait=wait)
        try:
            return self._begin(
                flags & ~CLONE_NEWNET, cgroup, list(given), [(program.memory.fd, MAIN)],
                first=[(number("setns"), network, CLONE_NEWNET, 0, 0, 0)], wait=wait,
            )  # fmt: skip
        finally:
            os.close(network)

    def foresee(self, flags: int) -> bool:
        fit = flags & CLONE_NEWNET and not flags & _ENTERED_LATE
        return bool(fit) and self._ahead.make()

    def rest(self, seconds: float) -> bool:
        return self._ahead.rest(seconds)

    def stand(self, program: Program, line: int, given: Iterable[int]) -> Spawned:
        header = self._named(program, _USHER_NAME)
        header[Header.BEFORE], header[Header.BEHIND] = 0, _USHER
        passed = [(program.memory.fd, MAIN), (line, LINE)]
        return self._launch(0, -1, list(given), passed, alone=True)

    def _named(self, program: Program, name: bytes) -> memoryview:
        """The header of a program, with what every launcher looks for in it."""
        program.header[Header.CLOCK] = self._clock_offset
        program.memory.view[Header.NAME * 8 : Header.NAME * 8 + len(name)] = name
        return program.header

    def _launch(
        self, flags: int, cgroup: int, inherited: Sequence[int], passed: Sequence[tuple[int, int]],
        *, alone: bool = False,
    ) -> Spawned:  # fmt: skip
        """As `_begin`; returns when the launcher is executed."""
        child = self._begin(flags, cgroup, inherited, passed, alone=alone, wait=CLONE_VFORK)
        refusal = child.refused()
        if refusal is not None:
            os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
            os.close(child.pidfd)
            raise refusal
        return child

    def _begin(
        self, flags: int, cgroup: int, inherited: Sequence[int], passed: Sequence[tuple[int, int]],
        *, alone: bool = False, wait: int = 0, first: Sequence[tuple[int, ...]] = (),
    ) -> Spawned:  # fmt: skip
        """The launcher, in new namespaces of `flags`. `alone`: it has no other descriptors, not even
        those of ours that every program inherits. `wait`: CLONE_VFORK, to return when it is executed.
        `first`: what it calls before."""
        calls = list(first)
        close_range, fcntl, dup3, execveat = self._numbers
        if alone:
            calls.append((close_range, 0, 0xFFFFFFFF, _CLOSE_RANGE_CLOEXEC, 0, 0))
        calls += [(fcntl, fd, _F_SETFD, 0, 0, 0) for fd in inherited]
        calls += [(dup3, fd, place, 0, 0, 0) for fd, place in passed]
        calls.append(
            (execveat, self._image.fd, ctypes.addressof(self._empty),
             ctypes.addressof(self._vector), ctypes.addressof(self._empty), AT_EMPTY_PATH)
        )  # fmt: skip
        records = b"".join(_RECORD.pack(*call, 0, 0, 0, 0) for call in calls)
        more = wait | (CLONE_INTO_CGROUP if cgroup >= 0 else 0)
        pid, pidfd, memory = self._clone(records, flags | more, cgroup=cgroup)
        refused = partial(_refusal, memory, len(records), len(calls), setns=bool(first))
        return Spawned(pid, pidfd, refused)

    def _walk(self, records: bytes, cells: int, flags: int) -> Walking:
        """A process that walks records in our memory, and ends."""
        _, pidfd, memory = self._clone(records, flags, cells=cells)
        return Walking(pidfd, memory, len(records) // _RECORD.size)

    def _clone(
        self, records: bytes, flags: int, *, cgroup: int = -1, cells: int = 0
    ) -> tuple[int, int, ctypes.Array[ctypes.c_char]]:
        """A child that walks `records` in our memory: its pid, a pidfd, and that memory."""
        length = len(records) // _RECORD.size
        size = len(records) + (length * REPORT + cells) * 8
        buffer = ctypes.create_string_buffer(records, size)
        if cells:
            struct.pack_into(f"={cells}q", buffer, size - cells * 8, *[-1] * cells)
        stack = ctypes.create_string_buffer(_STACK)
        # whatever becomes of who wants it, the child has this until it is another program, or gone
        self._lent.append((buffer, stack))
        pidfd = ctypes.c_int(-1)
        arguments = ctypes.create_string_buffer(
            CLONE_ARGS.pack(
                flags | CLONE_PIDFD | CLONE_VM | CLONE_CLEAR_SIGHAND,
                ctypes.addressof(pidfd), 0, 0, signal.SIGCHLD,
                ctypes.addressof(stack), _STACK, 0, 0, 0, max(cgroup, 0),
            ),
            CLONE_ARGS.size,
        )  # fmt: skip
        pid: int = self._spawn(
            ctypes.addressof(arguments), CLONE_ARGS.size, ctypes.addressof(buffer), length,
            self._clock,
        )  # fmt: skip
        if pid < 0:
            raise SyscallFailed("clone3", -pid, hint=hint("clone3", -pid))
        return pid, pidfd.value, buffer


def _limits_memory(cgroup: int) -> bool:
    """Whether the memory controller is on the hierarchy of this cgroup. Source: cgroup-v2.rst, "Memory"."""
    return os.access("memory.max", os.F_OK, dir_fd=cgroup)


def _refusal(
    memory: ctypes.Array[ctypes.c_char], at: int, length: int, *, setns: bool
) -> SyscallFailed | None:
    """Why a child could not become the launcher, if it could not."""
    codes = struct.unpack_from(f"={length * REPORT}Q", memory, at)[1::REPORT]
    code = next((one for one in codes if one), 0)
    name = "setns" if setns and codes[0] else "execveat"
    return SyscallFailed(name, code, what="starting the launcher") if code else None

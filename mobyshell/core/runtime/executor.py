"""Executors walk a program and take no decisions: data in, system calls out, reports back.

Owns the seam (`Executor`) and the portable executor: the child is a plain copy of this process
(clone3 without CLONE_VM) that loops over the program in Python until `execve`. It works on every
architecture and is the reference for faster ones, which walk the same mapping without Python.

Must run in a process with one thread. The child allocates as little as it can, imports nothing,
and never returns into the caller's code: it ends in `execve` or `_exit`.
"""

from __future__ import annotations

import ctypes
import gc
import os
import signal
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import CLONE_PARENT, CLONE_PIDFD
from mobyshell.core.linux.syscalls import hint, number, syscall
from mobyshell.core.runtime.program import HAS_EXPECTED, HAS_RESULT, STORE, Program

CLONE_CLEAR_SIGHAND = 0x100000000
CLONE_INTO_CGROUP = 0x200000000

_IGNORABLE = tuple(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})

FAILED = 255
"""The exit status of a child whose program failed; the report says where."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A child that runs a program. `pidfd` is ours to close."""

    pid: int
    pidfd: int


class Executor(Protocol):
    """Runs programs, here or in a new process."""

    def run(self, program: Program) -> int | None:
        """Run `program` in this process. None, or the index of the record that failed."""
        ...

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        """Run `program` in a child made with the CLONE_NEW* `flags`, and return at once.

        `given` are the descriptors that the programs use; whether the child has others is the
        executor's choice. Those below 16 are the child's own numbers and must not be given.

        `cgroup` is a descriptor of the v2 cgroup that the child is born in (-1: ours). Signals
        that this process ignores or handles are as at boot in the child.

        `before` is run first, in a process in between that then makes the child (and is gone
        when this returns): joined namespaces must be entered before others are made in them.
        The child is always a child of the caller. Raises SyscallFailed if it cannot be made,
        or if `before` failed, with errno 0 and the reports of `before` telling where.
        """
        ...


_Record = tuple[int, list[int], list[tuple[int, int]], int, int, int, bytes, "int | None", int]


def _decode(program: Program) -> list[_Record]:
    """The records as Python values, so that the child need not; once for each program."""
    known = program.records
    if isinstance(known, list):
        return known
    words = program.words
    records: list[_Record] = []
    for index in range(program.length):
        at = index * 10
        control, tolerated = words[at + 7], words[at + 8]
        arguments = list(words[at + 1 : at + 7])
        cells = [
            (position, program.cells_at + arguments[position])
            for position in range(6)
            if control >> position & 1
        ]
        result = program.cells_at + (control >> 40 & 0xFFFF) if control & HAS_RESULT else -1
        expected = words[at + 9] if control & HAS_EXPECTED else None
        records.append(
            (
                words[at],
                arguments,
                cells,
                control >> 8 & 0xFFFF,
                control >> 24 & 0xFFFF,
                result,
                tolerated.to_bytes(8, "little"),
                expected,
                program.reports_at + index * 3,
            )
        )
    program.records = records
    return records


def _walk(records: list[_Record], words: memoryview) -> int | None:
    """Execute `records` in order; None at the end, or the index of the one that failed."""
    index, length = 0, len(records)
    now, get_errno = time.monotonic_ns, ctypes.get_errno
    while index < length:
        nr, args, cells, on_error, on_success, result_at, tolerated, expected, report = records[
            index
        ]
        for position, cell in cells:
            args[position] = words[cell]
        if nr == STORE:
            width = ctypes.c_uint32 if args[1] == 4 else ctypes.c_uint64
            width.from_address(args[0]).value = args[2]
            words[report + 2] = 1
            index += 1
            continue
        start = now()
        result = syscall(nr, *args)
        if result == -1:
            code = get_errno()
            words[report], words[report + 1] = 0xFFFFFFFFFFFFFFFF, code
            words[report + 2] = now() - start or 1
            if code not in tolerated:
                return index
            index += on_error
        else:
            words[report] = result & 0xFFFFFFFFFFFFFFFF
            words[report + 2] = now() - start or 1
            if result_at >= 0:
                words[result_at] = result & 0xFFFFFFFFFFFFFFFF
            if expected is not None and result != expected:
                return index
            index += on_success
        index += 1
    return None


class PortableExecutor:
    """The executor in Python, for every architecture."""

    def run(self, program: Program) -> int | None:
        return _walk(_decode(program), program.words)

    def spawn(
        self, program: Program, *, flags: int, before: Program | None = None, cgroup: int = -1,
        given: Iterable[int] = (),
    ) -> Spawned:  # fmt: skip
        main = _decode(program)
        first = _decode(before) if before is not None else None
        collecting = gc.isenabled()
        gc.disable()  # a collection in the child would touch, and so copy, every object
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        # an ignored signal stays ignored through clone and execve; while all are blocked, nobody
        # notices that we let go of them for a moment
        ignored = [one for one in _IGNORABLE if signal.getsignal(one) is signal.SIG_IGN]
        for one in ignored:
            signal.signal(one, signal.SIG_DFL)
        try:
            if before is None or first is None:
                pid, pidfd = _clone(flags, cgroup)
                if pid == 0:
                    _become(main, program.words)
                return Spawned(pid, pidfd)
            return self._spawn_behind(first, before, main, program, flags, cgroup)
        finally:
            for one in ignored:
                signal.signal(one, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            if collecting:
                gc.enable()

    def _spawn_behind(
        self, first: list[_Record], before: Program, main: list[_Record], program: Program,
        flags: int, cgroup: int,
    ) -> Spawned:  # fmt: skip
        channel, end = os.pipe2(os.O_CLOEXEC)
        try:
            pid, pidfd = _clone(0)
            if pid == 0:
                _between(first, before.words, main, program.words, flags, end, cgroup)
            try:
                os.close(end)
                end = -1
                told = os.read(channel, 8)
                os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
            finally:
                os.close(pidfd)
        finally:
            os.close(channel)
            if end >= 0:
                os.close(end)
        result, code = struct.unpack("=ii", told) if len(told) == 8 else (-1, 0)
        if result < 0:
            raise SyscallFailed("clone3", code, hint=hint("clone3", code))
        # our child, not yet reaped: the pid cannot have been reused
        return Spawned(result, os.pidfd_open(result))


def _clone(flags: int, cgroup: int = -1) -> tuple[int, int]:
    """clone3(2) like fork: (0, -1) in the child, (pid, pidfd) in the parent."""
    pidfd = ctypes.c_int(-1)
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    arguments = struct.pack(
        "=11Q", flags | CLONE_PIDFD | CLONE_CLEAR_SIGHAND, ctypes.addressof(pidfd), 0, 0,
        0 if flags & CLONE_PARENT else signal.SIGCHLD, 0, 0, 0, 0, 0, max(cgroup, 0),
    )  # fmt: skip
    buffer = ctypes.create_string_buffer(arguments, len(arguments))
    pid: int = syscall(number("clone3"), ctypes.addressof(buffer), len(arguments), 0, 0, 0, 0)
    if pid == -1:
        code = ctypes.get_errno()
        raise SyscallFailed("clone3", code, hint=hint("clone3", code))
    return pid, pidfd.value


def _become(records: list[_Record], words: memoryview) -> None:
    """In the child: run the program; it does not return if it ends in execve."""
    try:
        failed = _walk(records, words)
        os._exit(FAILED if failed is not None else 0)
    except BaseException:
        os._exit(FAILED)


def _between(
    first: list[_Record], first_words: memoryview, main: list[_Record], main_words: memoryview,
    flags: int, channel: int, cgroup: int,
) -> None:  # fmt: skip
    """In the process in between: run `first`, make the child beside us, tell its pid, be gone."""
    try:
        if _walk(first, first_words) is not None:
            os.write(channel, struct.pack("=ii", -1, 0))
            os._exit(FAILED)
        try:
            pid, _ = _clone(flags | CLONE_PARENT, cgroup)
        except SyscallFailed as error:
            os.write(channel, struct.pack("=ii", -1, error.errno))
            os._exit(FAILED)
        if pid == 0:
            os.close(channel)
            _become(main, main_words)
        os.write(channel, struct.pack("=ii", pid, 0))
        os._exit(0)
    except BaseException:
        os._exit(FAILED)

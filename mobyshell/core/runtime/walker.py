"""Walks a program in Python: the reference for the native executor's machine code.

Two things in one file: `decode` and `walk` for whoever has a program in its own memory, and a
script that maps the programs of descriptors 3 and 4 and walks them. As a script it is started
like

    python -I -S walker.py

and imports nothing of mobyshell. Layout and header are those of `program`; the tests hold them
together.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from typing import Any

WORDS, REPORT = 10, 3
STORE = 0xFFFFFFFFFFFFFFFF
HAS_RESULT, HAS_EXPECTED = 1 << 6, 1 << 7
HEADER_BYTES = 256
BASE, BYTES, LENGTH, BEFORE, BEFORE_BYTES, CHILD, CLONE_ARGS = 1, 2, 3, 5, 6, 8, 16
CLONE3, CLONE_ARGS_SIZE = 435, 88
MAIN, FIRST = 3, 4
FAILED = 255
"""The exit status of a process whose program failed; the report says where."""

Record = tuple[int, "list[int]", "list[tuple[int, int]]", int, int, int, bytes, "int | None", int]

libc = ctypes.CDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long
syscall.argtypes = (ctypes.c_long,) + (ctypes.c_ulong,) * 6


def decode(words: Sequence[int], length: int) -> list[Record]:
    """The records as Python values."""
    reports_at = length * WORDS
    cells_at = reports_at + length * REPORT
    records: list[Record] = []
    for index in range(length):
        at = index * WORDS
        control, tolerated = words[at + 7], words[at + 8]
        arguments = list(words[at + 1 : at + 7])
        cells = [
            (position, cells_at + arguments[position])
            for position in range(6)
            if control >> position & 1
        ]
        records.append(
            (
                words[at],
                arguments,
                cells,
                control >> 8 & 0xFFFF,
                control >> 24 & 0xFFFF,
                cells_at + (control >> 40 & 0xFFFF) if control & HAS_RESULT else -1,
                tolerated.to_bytes(8, "little"),
                words[at + 9] if control & HAS_EXPECTED else None,
                reports_at + index * REPORT,
            )
        )
    return records


def walk(records: list[Record], words: Any) -> int | None:
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
            if expected is not None and result & 0xFFFFFFFFFFFFFFFF != expected:
                return index
            index += on_success
        index += 1
    return None


def _mapped(fd: int) -> Any:
    """The header and all of the program that `fd` holds, mapped where it belongs, as words."""
    first = os.pread(fd, HEADER_BYTES, 0)
    base, size = (int.from_bytes(first[8 * at : 8 * at + 8], "little") for at in (BASE, BYTES))
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t) + (ctypes.c_long,) * 4
    if libc.mmap(base, size, 3, 0x100001, fd, 0) != base:  # MAP_SHARED|MAP_FIXED_NOREPLACE
        os._exit(FAILED)
    return (ctypes.c_uint64 * (size // 8)).from_address(base)


def _main() -> None:
    import gc
    import signal

    gc.disable()
    for one in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):  # Python's own habits
        signal.signal(one, signal.SIG_DFL)
    header = _mapped(MAIN)
    skipped = HEADER_BYTES // 8
    words = memoryview(header).cast("B").cast("Q")[skipped:]
    records = decode(words, header[LENGTH])
    if header[BEFORE]:
        first = _mapped(FIRST)
        first_words = memoryview(first).cast("B").cast("Q")[skipped:]
        if walk(decode(first_words, first[LENGTH]), first_words) is not None:
            os._exit(FAILED)
    pid = syscall(CLONE3, header[BASE] + 8 * CLONE_ARGS, CLONE_ARGS_SIZE, 0, 0, 0, 0)
    if pid == 0:
        leave = ctypes.cast(libc._exit, ctypes.c_void_p)
        libc.signal.argtypes, libc.signal.restype = (ctypes.c_int, ctypes.c_void_p), ctypes.c_void_p
        # a first process ignores what it does not handle (pid_namespaces(7)): until it is its
        # program, these end it, with their number as its status
        for one in (signal.SIGTERM, signal.SIGQUIT, signal.SIGINT, signal.SIGHUP):
            libc.signal(one, leave)
        os._exit(0 if walk(records, words) is None else FAILED)
    header[CHILD] = (pid if pid > 0 else -ctypes.get_errno()) & 0xFFFFFFFFFFFFFFFF
    os._exit(0)


if __name__ == "__main__":
    try:
        _main()
    finally:
        os._exit(FAILED)

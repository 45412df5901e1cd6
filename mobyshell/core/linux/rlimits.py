"""Resource limits by their names: numbers (include/uapi/asm-generic/resource.h) and rows of /proc."""

from __future__ import annotations

import struct

NUMBERS = {
    "RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5, "RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10, "RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}  # fmt: skip

ROWS = {
    "RLIMIT_CPU": "Max cpu time", "RLIMIT_FSIZE": "Max file size", "RLIMIT_DATA": "Max data size",
    "RLIMIT_STACK": "Max stack size", "RLIMIT_CORE": "Max core file size",
    "RLIMIT_RSS": "Max resident set", "RLIMIT_NPROC": "Max processes",
    "RLIMIT_NOFILE": "Max open files", "RLIMIT_MEMLOCK": "Max locked memory",
    "RLIMIT_AS": "Max address space", "RLIMIT_LOCKS": "Max file locks",
    "RLIMIT_SIGPENDING": "Max pending signals", "RLIMIT_MSGQUEUE": "Max msgqueue size",
    "RLIMIT_NICE": "Max nice priority", "RLIMIT_RTPRIO": "Max realtime priority",
    "RLIMIT_RTTIME": "Max realtime timeout",
}  # fmt: skip
"""How the rows of /proc/PID/limits begin (proc_pid_limits(5))."""

UNLIMITED = 2**64 - 1


def pack(soft: int, hard: int) -> bytes:
    """struct rlimit64 (prlimit(2))."""
    return struct.pack("=QQ", soft, hard)


def show(value: int) -> str:
    """A limit in the words of /proc and prlimit(1)."""
    return "unlimited" if value == UNLIMITED else str(value)


def parse(limits: str) -> dict[str, tuple[str, str]]:
    """Name → (soft, hard), as written, from the text of /proc/PID/limits."""
    found = {}
    for name, row in ROWS.items():
        for line in limits.splitlines():
            if line.startswith(row):
                words = line.removeprefix(row).split()
                found[name] = (words[0], words[1])
    return found

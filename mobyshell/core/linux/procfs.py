"""What /proc says of a process. Owns the parsing; every reader copes with vanished processes."""

from __future__ import annotations

import os
import time
from functools import cache

from mobyshell.core.errors import NotFound
from mobyshell.core.values import value


@value
class Stat:
    """Fields of /proc/PID/stat (proc_pid_stat(5)). `start` in clock ticks since boot, `cpu_ns`
    user and system time, `rss` bytes."""

    pid: int
    command: str
    state: str
    ppid: int
    start: int
    cpu_ns: int
    threads: int
    rss: int


_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@cache
def boot_id() -> str:
    """Of this boot of the machine, random (proc_sys_kernel(5)); "-" where it is not told."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return "-"


def read_file(pid: int, name: str) -> bytes:
    """/proc/PID/name whole. NotFound if the process is gone, OSError for other refusals."""
    try:
        fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            chunks = []
            while chunk := os.read(fd, 65536):
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        raise NotFound(f"no process {pid}") from None


def stat(pid: int) -> Stat:
    """/proc/PID/stat. NotFound if the process is gone."""
    text = read_file(pid, "stat").decode(errors="replace")
    # the command may hold spaces and parentheses: it ends at the last one
    head, _, tail = text.rpartition(")")
    words = tail.split()
    return Stat(
        pid=pid,
        command=head.partition("(")[2],
        state=words[0],
        ppid=int(words[1]),
        start=int(words[19]),
        cpu_ns=(int(words[11]) + int(words[12])) * _TICK_NS,
        threads=int(words[17]),
        rss=int(words[21]) * _PAGE,
    )


def ticks() -> int:
    """Now, as `start_time` tells it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // _TICK_NS


def start_time(pid: int) -> int:
    """When `pid` started, in clock ticks since boot: with it a pid is unmistakable. NotFound."""
    return int(_words(pid)[19])


def alive(pid: int, start: int) -> bool:
    """Whether the process that started at `start` still runs under `pid` (a zombie does not)."""
    if pid <= 0:
        return False
    try:
        words = _words(pid)
    except NotFound:
        return False
    return int(words[19]) == start and words[0] not in (b"Z", b"X")


def _words(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat behind the command, which fit into a page. NotFound."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, 4096).rpartition(b")")[2].split()
        finally:
            os.close(fd)
    except (FileNotFoundError, ProcessLookupError):
        raise NotFound(f"no process {pid}") from None


def status_fields(pid: int) -> dict[str, str]:
    """/proc/PID/status as a dictionary. NotFound if the process is gone."""
    lines = read_file(pid, "status").decode(errors="replace").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process; empty for kernel threads and zombies."""
    data = read_file(pid, "cmdline").rstrip(b"\0")
    return tuple(one.decode(errors="replace") for one in data.split(b"\0")) if data else ()

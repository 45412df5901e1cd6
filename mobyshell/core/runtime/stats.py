"""stats: what the cgroups of a container have counted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from mobyshell.core.clock import Clock
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import cgroups
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.values import Stats

# cgroup v1 says "no limit" as the largest multiple of the page size (page_counter.h)
_UNLIMITED = 2**63 - 4096


def stats(root: Path, id: str, *, clock: Clock) -> Stats:
    """The counters now. None in a field that this machine does not count."""
    return read_stats(states.read(root, id).cgroups, clock.now_ns())


def read_stats(paths: Mapping[str, str], now_ns: int, *, moving: bool = False) -> Stats:
    """The counters of the cgroups `paths` (controller, or "" for v2 → directory).

    `moving`: only what is drawn as it moves. A file costs the kernel more than one would think, and
    who looks each second at a hundred tasks wants no peak, no throttling and no killing: None.
    """
    asked = _text if not moving else _moving
    if "cpuacct" in paths or "memory" in paths or "pids" in paths:
        return _v1(paths, now_ns, asked)
    return _v2(paths, now_ns, asked)


Ask = Callable[[Mapping[str, str], str, str], "str | None"]

_STILL = frozenset({
    "memory.peak", "memory.events", "memory.max_usage_in_bytes", "memory.oom_control",
})  # fmt: skip


def _text(paths: Mapping[str, str], controller: str, file: str) -> str | None:
    path = paths.get(controller)
    if path is None:
        return None
    try:
        return cgroups.read(path, file)
    except SyscallFailed:
        return None  # not on this kernel, or the container has just gone


def _moving(paths: Mapping[str, str], controller: str, file: str) -> str | None:
    # v1 has the throttling, and nothing else that is asked for, in cpu.stat
    still = file in _STILL or (file == "cpu.stat" and controller == "cpu")
    return None if still else _text(paths, controller, file)


def _number(text: str | None) -> int | None:
    if text is None:
        return None
    return 0 if text == "max" else int(text)


def _limit(text: str | None) -> int | None:
    """A limit; None where there is none. 0 is one: pids.max 0 lets nothing fork."""
    if text is None or text == "max":
        return None
    value = int(text)
    return None if value >= _UNLIMITED else value


def _field(text: str | None, name: str) -> int | None:
    for line in (text or "").splitlines():
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return None


def _v1(paths: Mapping[str, str], now_ns: int, ask: Ask) -> Stats:
    moved = ask(paths, "blkio", "blkio.throttle.io_service_bytes_recursive")
    return Stats(
        time_ns=now_ns,
        cpu_ns=_number(ask(paths, "cpuacct", "cpuacct.usage")),
        cpu_throttled_ns=_field(ask(paths, "cpu", "cpu.stat"), "throttled_time"),
        memory=_number(ask(paths, "memory", "memory.usage_in_bytes")),
        memory_limit=_limit(ask(paths, "memory", "memory.limit_in_bytes")),
        memory_peak=_number(ask(paths, "memory", "memory.max_usage_in_bytes")),
        pids=_number(ask(paths, "pids", "pids.current")),
        pids_limit=_limit(ask(paths, "pids", "pids.max")),
        io_read=_bytes_v1(moved, "Read"),
        io_write=_bytes_v1(moved, "Write"),
        oom_kills=_field(ask(paths, "memory", "memory.oom_control"), "oom_kill"),
    )


def _bytes_v1(text: str | None, direction: str) -> int | None:
    if text is None:
        return None
    return sum(
        int(words[2])
        for words in (line.split() for line in text.splitlines())
        if len(words) == 3 and words[1] == direction
    )


def _v2(paths: Mapping[str, str], now_ns: int, ask: Ask) -> Stats:
    spent, moved = ask(paths, "", "cpu.stat"), ask(paths, "", "io.stat")
    usage = _field(spent, "usage_usec")
    throttled = _field(spent, "throttled_usec") if ask is _text else None
    return Stats(
        time_ns=now_ns,
        cpu_ns=None if usage is None else usage * 1000,
        cpu_throttled_ns=None if throttled is None else throttled * 1000,
        memory=_number(ask(paths, "", "memory.current")),
        memory_limit=_limit(ask(paths, "", "memory.max")),
        memory_peak=_number(ask(paths, "", "memory.peak")),
        pids=_number(ask(paths, "", "pids.current")),
        pids_limit=_limit(ask(paths, "", "pids.max")),
        io_read=_bytes_v2(moved, "rbytes"),
        io_write=_bytes_v2(moved, "wbytes"),
        oom_kills=_field(ask(paths, "", "memory.events"), "oom_kill"),
    )


def _bytes_v2(text: str | None, key: str) -> int | None:
    if text is None:
        return None
    return sum(
        int(word.partition("=")[2])
        for word in text.split()
        if word.startswith(f"{key}=")
    )  # fmt: skip

"""What a process holds in memory: who allocated it, by tracemalloc, and how many objects of which type.

tracemalloc is begun when somebody asks and ended with the answer: only what was allocated in between
and is still there is known, and the answer says so.
"""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections import Counter
from collections.abc import Generator
from typing import Any

from mobyshell.core.debug.request import Request

_FILTERS = (
    tracemalloc.Filter(False, tracemalloc.__file__),
    tracemalloc.Filter(False, os.path.join(os.path.dirname(__file__), "*")),
)


def watch(request: Request) -> Generator[float, None, dict[str, Any]]:
    """The heap as JSON values, after `request.seconds` in which allocations are traced (0: none).

    One at a time: its end is the end of the tracing.
    """
    told: dict[str, Any] = {"pid": os.getpid(), "resident": _resident(), "allocated": []}
    if request.seconds:
        begun_before = tracemalloc.is_tracing()  # by PYTHONTRACEMALLOC
        told["since"] = "its start" if begun_before else f"{request.seconds:g} s ago"
        if not begun_before:
            tracemalloc.start()
        try:
            yield request.seconds
            told["allocated"] = _top(request.top)
        finally:
            if not begun_before:
                tracemalloc.stop()
    told["objects"], told["frozen"] = _objects(request.top), gc.get_freeze_count()
    return told


def _top(number: int) -> list[dict[str, Any]]:
    snapshot = tracemalloc.take_snapshot().filter_traces(_FILTERS)
    return [
        {"file": one.traceback[0].filename[:400], "line": one.traceback[0].lineno,
         "bytes": one.size, "count": one.count}
        for one in snapshot.statistics("lineno")[:number]
    ]  # fmt: skip


def _objects(number: int) -> list[dict[str, Any]]:
    """Of those that the garbage collector knows: neither numbers nor strings, nor what is frozen."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        name = f"{kind.__module__}.{kind.__qualname__}"[:200]
        counts[name] += 1
        try:
            sizes[name] += sys.getsizeof(one)
        except Exception:  # a __sizeof__ of somebody's own
            continue
    return [{"type": name, "count": count, "bytes": sizes[name]}
            for name, count in counts.most_common(number)]  # fmt: skip


def _resident() -> int:
    """Bytes, with what is shared (proc_pid_statm(5))."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

"""Sampling a process with threads, from one of its threads: who is where, and used a processor.

A signal would come to the main thread only. Processor time is the kernel's count for each thread
(/proc/PID/task/TID/schedstat, sched-stats.rst), so a thread that waits has none.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator

from mobyshell.core.debug.request import Request
from mobyshell.core.debug.values import MOST_STACKS, Codes, Profile, codes_of, stacks_of


class Sampler:
    """Watches this process. `asking`: the idents of threads that only ask, now."""

    def __init__(self, asking: Callable[[], set[int]]) -> None:
        self._asking = asking

    def sample(self, request: Request) -> Generator[float, None, Profile]:
        """Watch for `request.seconds`, as `request.clock` counts."""
        times: Counter[tuple[str, Codes]] = Counter()
        used: dict[int, int] = {}
        interval = 1 / request.hertz
        begun = last = time.monotonic_ns()
        until = begun + int(request.seconds * 1e9)
        looked = dropped = 0
        while last < until:
            yield interval
            now = time.monotonic_ns()
            for key, tid in self._look():
                ns = now - last if request.clock == "wall" else _used(tid, used)
                if not ns:
                    continue
                if key in times or len(times) < MOST_STACKS:
                    times[key] += ns
                else:
                    dropped += ns
            looked, last = looked + 1, now
        return Profile(request.clock, (last - begun) / 1e9, looked, stacks_of(times), dropped)

    def _look(self) -> list[tuple[tuple[str, Codes], int]]:
        """((name, codes), tid) of each thread; tid 0 where Python has not said it."""
        known = {one.ident: (one.name, one.native_id or 0) for one in threading.enumerate()}
        asking = self._asking()
        found = []
        for ident, frame in sys._current_frames().items():
            if ident not in asking:
                name, tid = known.get(ident, (f"thread {ident}", 0))
                found.append(((name, codes_of(frame)), tid))
        return found


def _used(tid: int, used: dict[int, int]) -> int:
    """Nanoseconds on a processor since this was asked the last time; 0 the first time."""
    try:
        with open(f"/proc/self/task/{tid}/schedstat") as file:
            now = int(file.read().split()[0])
    except (OSError, ValueError, IndexError):
        return 0  # gone
    before = used.get(tid, now)
    used[tid] = now
    return now - before

"""Time, ids and sleep, injectable so that recordings and tests are repeatable.

Owns the only calls of `time.time_ns` and of randomness for names in the project.
"""

from __future__ import annotations

import os
import time
from typing import Protocol


class Clock(Protocol):
    """What code that shows or stores a time asks for it."""

    def now_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back, nanoseconds since an arbitrary start."""
        ...

    def new_id(self) -> str:
        """A fresh name for something nobody named: 12 lower-case hexadecimal digits."""
        ...


class SystemClock:
    """The machine's own clock and randomness."""

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def new_id(self) -> str:
        return os.urandom(6).hex()


class ManualClock:
    """A clock that moves only when told, and ids that count up; for tests and recordings."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now = start_ns
        self._ids = 0

    def now_ns(self) -> int:
        return self._now

    def monotonic_ns(self) -> int:
        return self._now

    def new_id(self) -> str:
        self._ids += 1
        return f"{self._ids:012x}"

    def advance(self, seconds: float) -> None:
        """Move time forward."""
        self._now += int(seconds * 1e9)


def rfc3339(time_ns: int) -> str:
    """`time_ns` (since the epoch) as RFC 3339 with nanoseconds, in UTC, as the OCI specs want it."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{stamp}.{nanos:09d}Z"

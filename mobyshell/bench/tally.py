"""What workers did, put together: how often, how long, how often not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mobyshell.bench.crew import ALL, Hand


@dataclass(frozen=True, slots=True)
class Line:
    """One operation. Times in nanoseconds; for ALL they are a container's whole life, and `rate` is
    how many of these there were in a second, by all workers together."""

    operation: str
    count: int
    errors: int
    median: float = 0.0
    p95: float = 0.0
    least: int = 0
    most: int = 0
    rate: float | None = None


def tally(turns: Sequence[Sequence[Hand]], operations: Sequence[str]) -> Iterator[Line]:
    """A line for ALL, then for each operation. The workers of a turn worked at once, turns came one
    after the other."""
    hands = [hand for turn in turns for hand in turn]
    spent = sum(max(one.ended for one in turn) - min(one.begun for one in turn) for turn in turns)
    for operation in (ALL, *dict.fromkeys(operations)):
        times = sorted(ns for one in hands for ns in one.times.get(operation, ()))
        errors = sum(
            count for one in hands for (what, _), count in one.errors.items()
            if operation in (ALL, what)
        )  # fmt: skip
        rate = len(times) / max(spent, 1) * 1e9 if operation == ALL else None
        if times:
            yield Line(operation, len(times), errors, statistics.median(times),
                       percentile(times, 95), times[0], times[-1], rate)  # fmt: skip
        else:
            yield Line(operation, 0, errors, rate=rate)


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The least value that so many of a hundred do not exceed."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]

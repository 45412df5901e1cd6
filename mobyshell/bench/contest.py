"""A contest: contestants that do the same job, run in turns, compared by medians.

Owns the order of runs and the arithmetic. Never knows what a contestant does.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contestant:
    """One way to do the job. `run` does it once and raises if it failed; it returns the nanoseconds
    that it took, where it knows better than who calls it."""

    name: str
    run: Callable[[], int | None]


@dataclass(frozen=True, slots=True)
class Series:
    """The durations of one contestant in nanoseconds, in the order they were measured."""

    name: str
    times: tuple[int, ...]

    @property
    def median(self) -> int:
        return int(statistics.median(self.times))

    @property
    def best(self) -> int:
        return min(self.times)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half."""
        if len(self.times) < 2:
            return self.times[0], self.times[0]
        low, _, high = statistics.quantiles(self.times, n=4, method="inclusive")
        return low, high

    @property
    def tenth(self) -> int:
        """The first decile: the typical time of the quiet moments of a noisy machine."""
        ordered = sorted(self.times)
        return ordered[len(ordered) // 10]


@dataclass(frozen=True, slots=True)
class Result:
    """What a contest found. `series` are in the order of the contestants."""

    series: tuple[Series, ...]

    def __getitem__(self, name: str) -> Series:
        return next(series for series in self.series if series.name == name)

    def ratio(self, name: str, peer: str) -> float:
        """The median over the rounds of `name`'s time divided by `peer`'s in the same round.

        Pairs of neighbours in time share the machine's mood; the ratio of two medians does not.
        """
        pairs = zip(self[name].times, self[peer].times, strict=True)
        return statistics.median(ours / theirs for ours, theirs in pairs)


def in_a_row(contestant: Contestant, times: int) -> Contestant:
    """The same one, `times` runs of which follow one another, and one more before them that is not
    counted; what one of them took."""

    def run() -> int:
        contestant.run()
        spent = 0
        for _ in range(times):
            start = time.perf_counter_ns()
            told = contestant.run()
            spent += time.perf_counter_ns() - start if told is None else told
        return spent // times

    return Contestant(contestant.name, run)


def alternate(
    contestants: Sequence[Contestant],
    rounds: int,
    *,
    warm_up: int = 1,
    now: Callable[[], int] = time.perf_counter_ns,
    shuffle: Callable[[list[Contestant]], None] | None = None,
    rest: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Result:
    """Run every contestant once per round, in random order, `rounds` times.

    `warm_up` rounds come first and are not counted (page cache, lazily started daemons). `rest`: before
    each run, and not counted either.
    """
    mix = shuffle or random.Random(0).shuffle
    times: Mapping[str, list[int]] = {contestant.name: [] for contestant in contestants}
    for number in range(-warm_up, rounds):
        order = list(contestants)
        mix(order)
        for contestant in order:
            rest()
            start = now()
            told = contestant.run()
            elapsed = now() - start
            if number >= 0:
                times[contestant.name].append(elapsed if told is None else told)
        progress(number + 1, rounds)
    return Result(tuple(Series(name, tuple(values)) for name, values in times.items()))

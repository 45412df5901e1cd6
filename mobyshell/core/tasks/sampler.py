"""What tasks use over time: counters, looked at again and again, made into rates that are kept.

Owns the arithmetic between two looks, and how much is remembered: a bounded ring for each quantity
of each task. Reads nothing (that is `meter`) and has no clock: times come with the readings, and
are monotonic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mobyshell.core.linux.pressure import RESOURCES, Pressure
from mobyshell.core.runtime.values import Stats
from mobyshell.core.tasks.rings import NOTHING, Ring

LENGTH = 300
"""Values that are kept of each quantity: five minutes, at one a second."""

QUANTITIES = ("cpu", "memory", "pids", "io", "stall")
"""Of a task: CPU in percent of one processor, memory in bytes, processes, bytes read and written
a second, and the share of time (percent) in which it waited for a processor."""

Who = tuple[str, str]
"""A task: its namespace and its id."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One look at a task's counters. `at_ns`: monotonic; `pressure`: of its v2 group for a
    processor, empty where that is not told."""

    at_ns: int
    stats: Stats
    pressure: Mapping[str, Pressure] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measured:
    """One look at everything. `host`: the machine's pressure by resource; `trouble` says why there
    is none, and what to do."""

    at_ns: int
    tasks: Mapping[Who, Reading]
    host: Mapping[str, Pressure] = field(default_factory=dict)
    trouble: str = ""


class Series:
    """What is remembered of one task."""

    __slots__ = ("_rings", "latest")

    def __init__(self, length: int = LENGTH) -> None:
        self._rings = {name: Ring(length) for name in QUANTITIES}
        self.latest: Reading | None = None

    def __getitem__(self, name: str) -> Ring:
        """The values of a quantity."""
        return self._rings[name]

    def take(self, now: Reading) -> None:
        """Another look. A counter that went back is another group's of the same name: the rates
        begin anew."""
        before, stats = self.latest, now.stats
        self._rings["memory"].add(_or_nothing(stats.memory))
        self._rings["pids"].add(_or_nothing(stats.pids))
        cpu = io = stall = NOTHING
        if before is not None and now.at_ns > before.at_ns:
            passed = now.at_ns - before.at_ns
            cpu = 100 * _grown(before.stats.cpu_ns, stats.cpu_ns) / passed
            io = 1e9 * _grown(_bytes(before.stats), _bytes(stats)) / passed
            stall = _share(before.pressure.get("cpu"), now.pressure.get("cpu"), passed)
        for name, value in (("cpu", cpu), ("io", io), ("stall", stall)):
            self._rings[name].add(value)
        self.latest = now


class Sampler:
    """What is remembered of all tasks, and of the machine's pressure."""

    def __init__(self, length: int = LENGTH) -> None:
        self._length = length
        self.tasks: dict[Who, Series] = {}
        self.host = {resource: Ring(length) for resource in RESOURCES}
        """The share of time (percent) in which something waited for it."""
        self.latest: Measured | None = None

    def take(self, measured: Measured) -> None:
        """Another look at everything. Tasks that were not seen are forgotten."""
        for who in self.tasks.keys() - measured.tasks.keys():
            del self.tasks[who]
        for who, reading in measured.tasks.items():
            series = self.tasks.get(who)
            if series is None:
                series = self.tasks[who] = Series(self._length)
            series.take(reading)
        before, self.latest = self.latest, measured
        if measured.host:
            for resource, ring in self.host.items():
                ring.add(self._waited(resource, before, measured))

    @staticmethod
    def _waited(resource: str, before: Measured | None, now: Measured) -> float:
        if before is None or now.at_ns <= before.at_ns:
            return NOTHING
        passed = now.at_ns - before.at_ns
        return _share(before.host.get(resource), now.host.get(resource), passed)


def _or_nothing(value: int | None) -> float:
    return NOTHING if value is None else value


def _bytes(stats: Stats) -> int | None:
    """Read and written together; None where neither is counted."""
    if stats.io_read is None and stats.io_write is None:
        return None
    return (stats.io_read or 0) + (stats.io_write or 0)


def _grown(before: int | None, now: int | None) -> float:
    if before is None or now is None or now < before:
        return NOTHING
    return now - before


def _share(before: Pressure | None, now: Pressure | None, passed_ns: int) -> float:
    """Percent of the time between two looks; the kernel's own averages lag by design."""
    if before is None or now is None:
        return NOTHING
    return min(100e3 * _grown(before.some.total_us, now.some.total_us) / passed_ns, 100.0)

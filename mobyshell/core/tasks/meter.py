"""Looking at the counters of every running task of a state root, and at the machine's pressure.

Owns which tasks are looked at, and where their counters are. Remembers nothing of what it read:
that is `sampler`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import pressure
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.stats import read_stats
from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks import view
from mobyshell.core.tasks.sampler import Measured, Reading, Who

_ALIVE = (Status.RUNNING, Status.PAUSED)


class Meter(Protocol):
    """What measures. May block."""

    def measure(self) -> Measured:
        """One look at all tasks that run, of all namespaces."""
        ...


class TaskMeter:
    """The meter of a state root. A task that ends while it is looked at is left out."""

    def __init__(self, state: str, clock: Clock | None = None) -> None:
        self._state = state
        self._clock = clock or SystemClock()
        self._groups: dict[tuple[Who, int], dict[str, str]] = {}
        """Where the counters of a task's process are: a place never changes while it lives."""

    def measure(self) -> Measured:
        """See `Meter.measure`."""
        found: dict[Who, Reading] = {}
        groups: dict[tuple[Who, int], dict[str, str]] = {}
        for namespace in view.namespaces(self._state):
            for task in view.list_tasks(self._state, namespace):
                if task.status not in _ALIVE:
                    continue
                who = (namespace, task.id)
                paths = self._groups.get((who, task.pid)) or self._paths(who)
                if paths:
                    groups[who, task.pid] = paths
                    found[who] = self._read(paths)
        self._groups = groups
        host, trouble = self._host()
        return Measured(self._clock.monotonic_ns(), found, host, trouble)

    def _paths(self, who: Who) -> dict[str, str]:
        try:
            return dict(states.read(Path(self._state) / who[0], who[1]).cgroups)
        except MobyshellError:
            return {}  # it has just ended, or another runtime keeps it elsewhere

    def _read(self, paths: dict[str, str]) -> Reading:
        stats = read_stats(paths, self._clock.now_ns(), moving=True)
        at_ns = self._clock.monotonic_ns()
        waits = pressure.of_group(paths[""], ("cpu",)) if "" in paths else {}
        return Reading(at_ns, stats, waits)

    @staticmethod
    def _host() -> tuple[dict[str, pressure.Pressure], str]:
        try:
            return pressure.of_host(), ""
        except MobyshellError as error:
            return {}, f"{error.message}\n{error.hint}"

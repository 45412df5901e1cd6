"""The list of tasks: read when something happens to one, measured while somebody looks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.message import Message

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.service import Stats, TaskInfo
from mobyshell.screens.live_list import AGEING, LiveList
from mobyshell.screens.session import Session
from mobyshell.screens.task_rows import TASKS, rate, task_rows
from mobyshell.widgets.background import background
from mobyshell.widgets.resource import Row

YOUNG = 60.0
"""Seconds of a task's life that are counted one by one; later it grows older in steps of AGEING, so
that where no figure changes nothing is painted."""


class TaskList(LiveList[TaskInfo]):
    """Which tasks there are, and what they use."""

    SPEC = TASKS
    TOPICS = ("/tasks/",)

    @dataclass
    class Measured(Message):
        """The counters of running tasks were read."""

        stats: dict[str, Stats]

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(session, **more)
        self._before: dict[str, Stats] = {}
        self._rates: dict[str, dict[str, Any]] = {}
        self._aged_ns = 0

    def on_mount(self) -> None:
        self.ticker = self.set_interval(1.0, self._measure, pause=True)

    def read(self) -> list[TaskInfo]:
        return self.session.tasks.ls()

    def rows(self, infos: Sequence[TaskInfo], now_ns: int) -> Sequence[Row]:
        here = {one.id for one in infos}
        self._rates = {id: one for id, one in self._rates.items() if id in here}
        return task_rows(infos, self._rates, now_ns)

    def shown(self) -> None:
        self.tick()

    def tick(self) -> None:
        """Measure once a second while something runs and somebody looks."""
        if self._looking and any(one.status == "running" for one in self.infos.values()):
            self.ticker.resume()
        else:
            self.ticker.pause()

    def look(self, looking: bool) -> None:
        super().look(looking)
        self.tick()

    def _measure(self) -> None:
        first = self.table.scroll_offset.y
        seen = self.table.shown[first : first + self.table.size.height + 1]
        self._measure_these([id for id in seen if self.infos[id].status == "running"])

    @background("measuring the tasks")
    def _measure_these(self, ids: list[str]) -> Message:
        found = {}
        for id in ids:
            try:
                found[id] = self.session.tasks.stats(id)
            except MobyshellError:
                continue  # it has just ended
        return self.Measured(found)

    @on(Measured)
    def measured(self, event: Measured) -> None:
        """Show the figures, cell by cell."""
        now = self.session.context.clock.now_ns()
        ageing = now - self._aged_ns >= AGEING * 1e9
        if ageing:
            self._aged_ns = now
        for id, stats in event.stats.items():
            info = self.infos.get(id)
            if info is None:
                continue
            self._rates[id] = rate(self._before.get(id), stats)
            uptime = now - info.started_ns if info.started_ns else None
            older = ageing or uptime is None or uptime < YOUNG * 1e9
            self.table.update_row(id, **self._rates[id], **({"uptime": uptime} if older else {}))
        self._before = event.stats

"""What tasks use, second by second: the machine's pressure, a row a task, and graphs of one.

Measures while somebody looks and not otherwise, in a thread, and never before the last look is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.message import Message
from textual.widgets import Static

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.meter import Meter
from mobyshell.core.tasks.sampler import Measured, Sampler, Who
from mobyshell.screens.metric_rows import METERS, graph_lines, key_of, meter_rows, pressure_lines
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence

EVERY = 1.0
"""Seconds between two looks."""

MEASURING = "measuring the tasks"


class MetricsPane(Vertical):
    """Pressure, tasks, graphs."""

    ALLOW_MAXIMIZE = True

    @dataclass
    class Took(Message):
        """One look at everything."""

        measured: Measured

    def __init__(self, meter: Meter, **more: Any) -> None:
        super().__init__(**more)
        self._meter = meter
        self.sampler = Sampler()
        self._busy = False
        self._lines: dict[str, list[str]] = {}

    def compose(self) -> ComposeResult:
        yield Static(id="pressure", markup=False)
        yield Sentence(id="unmeasured")
        yield ResourceTable(METERS, id="meters")
        with VerticalScroll(id="graphs", can_focus=False):
            yield Static(id="graph", markup=False)

    def on_mount(self) -> None:
        self.ticker = self.set_interval(EVERY, self._tick, pause=True)

    @property
    def table(self) -> ResourceTable:
        """The tasks that are measured."""
        return self.query_one(ResourceTable)

    @property
    def chosen(self) -> Who | None:
        """The task under the cursor."""
        key = self.table.chosen
        return next((who for who in self.sampler.tasks if key_of(who) == key), None)

    def look(self, looking: bool) -> None:
        """Whether somebody looks."""
        if looking:
            self._tick()
            self.ticker.resume()
        else:
            self.ticker.pause()

    def _tick(self) -> None:
        if not self._busy:
            self._busy = True
            self._measure()

    @background(MEASURING)
    def _measure(self) -> Message:
        return self.Took(self._meter.measure())

    @on(Took)
    def took(self, event: Took) -> None:
        """Show it."""
        event.stop()
        self._busy = False
        self.sampler.take(event.measured)
        self.show()

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be measured is said in its place."""
        event.stop()
        self._busy = False
        if not isinstance(event.error, MobyshellError):
            self.ticker.pause()  # a fault of ours is the same each second
        self.query_one(Sentence).say(f"✗ {said(self.app, event)}")

    def show(self) -> None:
        """What is known."""
        self.table.set_rows(meter_rows(self.sampler))
        self.query_one(Sentence).say("" if self.table.row_count else METERS.empty)
        latest = self.sampler.latest
        if latest is not None:
            width = max(self.content_region.width - 2, 40)
            lines = pressure_lines(latest.host, self.sampler.host, latest.trouble, width)
            self._put("#pressure", lines)
        self._show_graphs()

    @on(ResourceTable.Chosen)
    def chose(self, event: ResourceTable.Chosen) -> None:
        """The graphs of another one."""
        event.stop()
        self._show_graphs()

    def _show_graphs(self) -> None:
        who = self.chosen
        lines = []
        if who is not None:
            room = self.query_one("#graphs").content_region
            width = max(room.width - 1, 10)
            lines = graph_lines(who, self.sampler.tasks[who], width, room.height)
        self._put("#graph", lines)

    def _put(self, place: str, lines: list[str]) -> None:
        """Show lines; a screen that need not be laid out anew is not, each second."""
        before = self._lines.get(place)
        if lines != before:
            self._lines[place] = lines
            other = before is None or len(before) != len(lines)
            self.query_one(place, Static).update("\n".join(lines), layout=other)

    def on_resize(self) -> None:
        """Other graphs fit now."""
        self.show()

"""The live stream of events: the latest of all namespaces, shown in batches, held while paused.

Owns which events are kept, in which order, and which pass the filter. What it shows of one is
`event_rows`'.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer

from mobyshell.commands.event_words import check_filter, is_filter, matcher
from mobyshell.core.events import Event
from mobyshell.screens.event_rows import CALLS, EVENTS, event_row
from mobyshell.screens.held_events import Held, latest, surplus
from mobyshell.screens.news import Happened
from mobyshell.screens.session import Session, said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.resource import Row, matches
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence

KEPT = 2000
"""Kernel calls that are kept, and as many other events; past it, the oldest fifth is let go at once,
and never one of the last 1000."""

BATCH = 0.25
"""Seconds in which what happens is gathered before it is shown."""

AGEING = 5.0
"""Seconds between two looks at the clock: rows say how old they are."""

READING = "reading what happened lately"


class EventStream(Vertical):
    """A table of events. `following`: the newest is in sight; `paused`: what comes is held back."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "pause", "Pause", id="events.pause"),
        Binding("f", "follow", "Follow", id="events.follow"),
        Binding("t", "calls", "Kernel calls", show=False, id="events.calls"),
    ]

    @dataclass
    class Recent(Message):
        """What happened before we looked."""

        events: list[Event]

    class Changed(Message):
        """There are more, fewer, or others."""

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(**more)
        self.session = session
        self.following, self.paused, self.calls = True, False, False
        self.complaint = ""
        """What is wrong with the filter that was typed."""
        self._events: dict[int, Event] = {}
        self._held = Held(KEPT)
        self._numbers = itertools.count(1)
        self._soon: Timer | None = None
        self._past: set[tuple[object, ...]] = set()
        self._meant: Callable[[Event], bool] = matches_nothing
        self._rows: dict[int, dict[str, Any]] = {}
        self._unread = ""

    def compose(self) -> ComposeResult:
        yield Sentence(id="trouble")
        table = ResourceTable(EVENTS, id="events")
        table.reversed = True  # the oldest first: what is new comes at the bottom
        table.fits, table.from_end = self._fits, True
        yield table
        yield Sentence(id="empty")

    def on_mount(self) -> None:
        self.ager = self.set_interval(AGEING, self._grow_older, pause=True)
        self.watch(self.table, "scroll_y", self._grow_older, init=False)
        self.session.news.tell(self, "", everywhere=True)
        self.read_recent()  # who follows already on another screen's account begins with no gap

    def on_unmount(self) -> None:
        self.session.news.forget(self)

    @property
    def table(self) -> ResourceTable:
        """The table itself."""
        return self.query_one(ResourceTable)

    @property
    def chosen(self) -> Event | None:
        """The event under the cursor."""
        return self._events.get(int(self.table.chosen or 0))

    @property
    def subjects(self) -> list[Event]:
        """The marked events; if none is, all that are shown."""
        marked = [key for key in self.table.shown if key in self.table.marked]
        return [self._events[int(key)] for key in marked or self.table.shown]

    @property
    def at_end(self) -> bool:
        """Whether the cursor is on the last row."""
        return self.table.cursor_row >= self.table.row_count - 1

    @property
    def state(self) -> str:
        """How it is followed, in a few words."""
        if self.paused:
            let_go = self._held.let_go(calls=self.calls)
            gone = f", {let_go} before them let go" if let_go else ""
            return f"paused, {self.held} waiting{gone}"
        if not self.following:
            return "not following (f)"
        return "following" if self.at_end else "not at the end (G)"

    @property
    def held(self) -> int:
        """How many wait for the end of a pause."""
        return self._held.count(calls=self.calls) if self.paused else 0

    def look(self, looking: bool) -> None:
        """Whether somebody looks."""
        (self.ager.resume if looking else self.ager.pause)()
        if looking:
            self.show()

    # what happens

    @on(Happened)
    def happened(self, event: Happened) -> None:
        """Show it in a moment; after a gap, read what was missed."""
        event.stop()
        if event.event is None:
            self.read_recent()
        else:
            self._held.add(event.event)
            if self._soon is None and not self.paused:
                self._soon = self.set_timer(BATCH, self._take_held)
            elif self.paused:
                self.post_message(self.Changed())

    def _take_held(self) -> None:
        self._soon = None
        if not self.paused:
            # what came while the past was read is in both
            self._add([one for one in self._held.take() if _name(one) not in self._past])

    def _add(self, new: list[Event]) -> None:
        for event in new:
            self._events[next(self._numbers)] = event
        for number in surplus(self._events, KEPT):
            del self._events[number]
            self._rows.pop(number, None)
        self.show()

    @background(READING)
    def read_recent(self) -> Message:
        """Read what happened lately."""
        return self.Recent(self.session.recent_events())

    @on(Recent)
    def recent(self, event: Recent) -> None:
        """Put it in order with what has come since."""
        event.stop()
        self._say_trouble("")
        past = latest(event.events, KEPT)
        self._past = {_name(one) for one in past}
        later = [one for one in self._events.values() if _name(one) not in self._past]
        every = latest([*past, *later], KEPT)
        if [_name(one) for one in every] != [_name(one) for one in self._events.values()]:
            self._events, self._rows = {}, {}
            self._add(every)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What could not be read is said above what is known."""
        event.stop()
        self._say_trouble(said(self.app, event) if event.what == READING else self._unread)

    def _say_trouble(self, unread: str) -> None:
        """Why not all that happened is here: it could not be read, or cannot be followed."""
        self._unread = unread
        wrong = [
            f"{one.message}\n{one.hint}".strip() for one in self.session.news.troubles.values()
        ]
        lines = dict.fromkeys(f"✗ {one}" for one in [unread, *wrong] if one)
        self.query_one("#trouble", Sentence).say("\n".join(lines))
        self._say_empty()

    # showing

    def show(self) -> None:
        """The rows, as old as they are by now."""
        now = self.session.context.clock.now_ns()
        for number, event in self._events.items():
            row = self._rows.get(number)
            if row is None:
                self._rows[number] = event_row(number, event, now)
            else:
                row["age"] = max(now - event.time_ns, 0)
        # who went up to read something is not taken away from it
        follows = self.following and self.at_end
        self.table.set_rows([self._rows[number] for number in self._events])
        if follows:
            self._to_end()
        self._say_empty()
        self.post_message(self.Changed())

    def _grow_older(self) -> None:
        """Those that can be seen: of two thousand, twenty."""
        now = self.session.context.clock.now_ns()
        for key in self.table.in_sight:
            event = self._events.get(int(key))
            if event is not None:
                self.table.update_row(key, age=max(now - event.time_ns, 0))

    def _say_empty(self) -> None:
        text = "" if self.table.fitting else EVENTS.empty
        if text and self._events:
            text = f"No event matches “{self.table.query_text}”: / and esc show all."
        if not self._events and self.query_one("#trouble", Sentence).text:
            text = ""  # nobody knows whether nothing has happened
        self.query_one("#empty", Sentence).say(text)
        self.table.set_class(bool(text), "hidden")

    # the filter: containerd's language where it is used, else words

    def filter(self, query: str) -> None:
        """Show only what matches. An unfinished filter stops nothing, and is complained of."""
        self.complaint = check_filter(query) if is_filter(query) else ""
        good = is_filter(query) and not self.complaint
        self._meant = matcher([query]) if good else matches_nothing
        self.table.filter(query)
        if self.following:
            self._to_end()
        self._say_empty()
        self.post_message(self.Changed())

    def _fits(self, row: Row, query: str) -> bool:
        if row["topic"] == CALLS and not self.calls:
            return False
        if not is_filter(query):
            return matches(row, query)
        return bool(self.complaint) or self._meant(self._events[row["n"]])

    # keys

    def action_pause(self) -> None:
        """Hold back what comes, or show all that was held."""
        self.paused = not self.paused
        if not self.paused:
            self._take_held()
        self.post_message(self.Changed())

    def action_follow(self) -> None:
        """Keep the newest in sight, or stay where we are."""
        self.following = not self.following
        if self.following:
            self._to_end()
        self.show()

    def _to_end(self) -> None:
        self.table.move_cursor(row=max(self.table.row_count - 1, 0), animate=False)

    def action_calls(self) -> None:
        """Show the kernel calls, too, or not."""
        self.calls = not self.calls
        self.show()


def matches_nothing(event: Event) -> bool:
    """The matcher of no filter."""
    return False


def _name(event: Event) -> tuple[object, ...]:
    """What tells an event from all others: kernel calls of one task may be of the same moment."""
    return event.time_ns, event.namespace, event.topic, event.id, repr(event.payload)

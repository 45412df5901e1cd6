"""A list that is read again when something happens: the left half of every list screen.

Owns when a list is read, what is said while there is nothing in it or it cannot be read, and where
the cursor goes. What it lists, a subclass says.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Static

from mobyshell.screens.news import Happened
from mobyshell.screens.session import Session, said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.resource import ResourceSpec, Row
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence

Info = TypeVar("Info")

SOON = 0.05
"""Seconds after an event until the list is read: several at once are one reason."""

AGAIN = 2.0
"""Seconds after a list could not be read until the next try."""

AGEING = 5.0
"""Seconds between two looks at the clock, where rows say how old something is."""

PATIENCE = 0.5
"""Seconds of reading for the first time after which it is said that this is what goes on."""

LISTING = "listing what there is"


class LiveList(Vertical, Generic[Info]):
    """Which things of a kind there are. `read` and `rows` are the subclass's; `infos` has what was
    read, by the rows' key."""

    SPEC: ClassVar[ResourceSpec]
    TOPICS: ClassVar[tuple[str, ...]] = ()
    """Beginnings of the topics of events after which the list is another."""
    EVERYWHERE: ClassVar[bool] = False
    """Whether that is so for events of all namespaces, and not only of the session's."""
    POLL: ClassVar[float | None] = None
    """Seconds after which it is read again though nothing happened, while somebody looks; None: its
    events tell everything."""

    @dataclass
    class Changed(Message):
        """It was read anew."""

        infos: list[Any]

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(**more)
        self.session = session
        self.infos: dict[str, Info] = {}
        self._looking = False
        self._wanted = ""
        self._lacking: Collection[str] | None = None
        self._trouble = ""
        self._soon: Timer | None = None
        self._reading = self._stale = False
        self._read_at = 0.0
        self._known = False

    def read(self) -> list[Info]:
        """What there is. In a thread."""
        raise NotImplementedError

    def rows(self, infos: Sequence[Info], now_ns: int) -> Sequence[Row]:
        """A row each, in the same order."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        yield Static(id="trouble", classes="hidden", markup=False)
        yield ResourceTable(self.SPEC, id=self.SPEC.plural)
        yield Sentence(id="empty")

    def on_mount(self) -> None:
        if self.POLL is not None:
            self.poll = self.set_interval(AGEING, self._grow_older, pause=True)
        self.set_timer(PATIENCE, self._say_reading, name="again")  # it holds nobody up
        self.session.news.tell(self, *self.TOPICS, everywhere=self.EVERYWHERE)

    def on_unmount(self) -> None:
        self.session.news.forget(self)

    @property
    def table(self) -> ResourceTable:
        """The table itself."""
        return self.query_one(ResourceTable)

    @property
    def chosen(self) -> Info | None:
        """What is under the cursor."""
        return self.infos.get(self.table.chosen or "")

    def choose(self, key: str) -> None:
        """Put the cursor on a row, as soon as it is there."""
        self._wanted = key
        self.table.choose(key)
        self.refresh_list()

    @property
    def known(self) -> Collection[str] | None:
        """The keys of what there is; None while nobody has looked."""
        return frozenset(self.infos) if self._known else None

    def choose_new(self, before: Collection[str]) -> None:
        """Put the cursor on the first that is there now and was not `before`, if one is."""
        self._lacking = before
        self.refresh_list()

    def filter(self, text: str) -> None:
        """Show only what matches."""
        self.table.filter(text)
        self._say_empty()

    # reading

    def look(self, looking: bool) -> None:
        """Whether somebody looks. If nobody does, nothing is read."""
        self._looking = looking
        if looking:
            self.refresh_list()
        if self.POLL is not None:
            (self.poll.resume if looking else self.poll.pause)()

    @on(Happened)
    def happened(self) -> None:
        """Read again, in a moment; or when somebody looks again."""
        if self._looking:
            self._read_in(SOON)

    def _read_in(self, seconds: float, **more: Any) -> None:
        if self._soon is None:
            self._soon = self.set_timer(seconds, self._read_now, **more)

    def _read_now(self) -> None:
        self._soon = None
        self.refresh_list()

    def _grow_older(self) -> None:
        if self.POLL is not None and time.monotonic() - self._read_at >= self.POLL:
            self.refresh_list()
        else:
            self.show_rows()

    def refresh_list(self) -> None:
        """Read the list; once more afterwards, if it is being read: it may be older than what this
        is about, and a list that is slow shall be shown all the same."""
        if self._reading:
            self._stale = True
            return
        self._reading, self._stale, self._read_at = True, False, time.monotonic()
        self._read()

    def _was_read(self) -> None:
        self._reading, self._known = False, True
        if self._stale:
            self._read_in(SOON)

    @background(LISTING)
    def _read(self) -> Message:
        return self.Changed(self.read())

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be listed is not what is not there: what was known stays."""
        if event.what != LISTING:
            return
        event.stop()
        self._was_read()
        self.table.is_bare()
        if repr(event.error) != self._trouble:
            self._trouble = repr(event.error)
            text = f"✗ the {self.SPEC.plural} cannot be listed: {said(self.app, event)}"
            self.query_one("#trouble", Static).update(text)
        self.query_one("#trouble").remove_class("hidden")
        self._say_empty()
        if self._looking:
            self._read_in(AGAIN, name="again")

    # showing

    @on(Changed)
    def listed(self, event: Changed) -> None:
        """Show it."""
        self._was_read()
        self._trouble = ""
        self.query_one("#trouble").add_class("hidden")
        self.infos = {}
        self._show(event.infos)
        self.shown()
        if not event.infos:
            self.table.is_bare()
        if self._wanted in self.infos:
            self.table.choose(self._wanted)
            self._wanted = ""  # from now on the person moves the cursor
        elif self._lacking is not None:
            new = [key for key in self.table.shown if key not in self._lacking]
            if new:
                self.table.choose(new[0])
            if new or not self._stale:
                self._lacking = None

    def shown(self) -> None:
        """What was read is on the screen."""

    def show_rows(self) -> None:
        """Show what is known, as it is by now."""
        self._show(list(self.infos.values()))

    def _show(self, infos: Sequence[Info]) -> None:
        rows = self.rows(infos, self.session.context.clock.now_ns())
        self.infos = {str(row[self.SPEC.key]): one for row, one in zip(rows, infos, strict=True)}
        self.table.set_rows(rows)
        self._say_empty()

    def _say_reading(self) -> None:
        if not self._known:
            self.query_one(Sentence).say(f"Reading the {self.SPEC.plural} …")

    def _say_empty(self) -> None:
        """A table without rows says why."""
        text = "" if self.table.fitting or self._trouble else self.SPEC.empty
        if text and self.infos:
            text = f"No {self.SPEC.noun} matches “{self.table.query_text}”: / and esc show all."
        self.query_one(Sentence).say(text)
        self.table.set_class(bool(text), "hidden")

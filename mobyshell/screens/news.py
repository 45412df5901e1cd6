"""What happens, told to who wants to know of it: two followers for all screens together.

Owns one thread for the events of the tasks and one for those of the store, each from when somebody
first wants its topics until nobody is left. Reads nothing but events, and touches no widget.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from textual.message import Message
from textual.message_pump import MessagePump

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import Event
from mobyshell.widgets.background import Failed

if TYPE_CHECKING:
    from mobyshell.screens.session import Session

AGAIN = 1.0
"""Seconds after which a stream that ended is asked for again: the shim is between two lives."""

LATER = 30.0
"""Seconds after a fault of ours until the next try."""

TASKS, STORE = "tasks", "store"

Stopped = Callable[[], bool]
Subscribed = Callable[[], object]
Follow = Callable[[Subscribed, Stopped], Iterator[Event]]
"""A stream: says `subscribed` when nothing more is missed, and may end when `stopped` says so."""


@dataclass
class Happened(Message):
    """Something happened. None: events were missed, so perhaps anything."""

    event: Event | None

    @property
    def id(self) -> str:
        """To whom; "": perhaps to any."""
        return self.event.id if self.event is not None else ""


@dataclass(frozen=True, slots=True)
class _Wish:
    topics: tuple[str, ...]
    everywhere: bool


class News:
    """One per session. For the thread of the user interface; its own only post messages."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._wishes: dict[MessagePump, _Wish] = {}
        self._running: dict[str, threading.Event] = {}
        self.troubles: dict[str, MobyshellError] = {}
        """By source: why it cannot be followed just now."""

    def tell(self, pump: MessagePump, *topics: str, everywhere: bool = False) -> None:
        """Post `Happened` to `pump` for each event whose topic begins with one of `topics`.

        `everywhere`: of all namespaces, not only of the session's.
        """
        self._wishes[pump] = _Wish(topics, everywhere)
        wanted = {source for topic in topics for source in _sources(topic)}
        if TASKS in wanted:
            self._start(TASKS, lambda subscribed, _: self._session.task_events(subscribed))
        if STORE in wanted:
            self._start(STORE, lambda *how: self._session.store_events(*how))

    def forget(self, pump: MessagePump) -> None:
        """Tell it nothing any more; the last one ends the threads."""
        self._wishes.pop(pump, None)
        if not self._wishes:
            self._stop()

    def again(self) -> None:
        """The session is in another namespace: whoever listens hears of that one."""
        self._stop()
        for pump, wish in list(self._wishes.items()):
            self.tell(pump, *wish.topics, everywhere=wish.everywhere)

    def _stop(self) -> None:
        for left in self._running.values():
            left.set()
        self._running.clear()

    def _start(self, name: str, follow: Follow) -> None:
        if name not in self._running:
            left = self._running[name] = threading.Event()
            threading.Thread(
                target=self._listen, args=(name, follow, left), daemon=True, name=f"{name}-events"
            ).start()

    def _listen(self, name: str, follow: Follow, left: threading.Event) -> None:
        """In a thread: pass every event on, and each gap in them."""
        while not left.is_set():
            try:
                for event in follow(lambda: self._subscribed(name), left.is_set):
                    if left.is_set():
                        return
                    self._spread(name, event)
            except MobyshellError as error:
                self._trouble(name, error)
            except Exception as error:
                if not left.is_set():
                    for pump in list(self._wishes)[:1]:
                        pump.post_message(Failed("following the events", error))
                    left.wait(LATER)
            left.wait(AGAIN)

    def _subscribed(self, source: str) -> None:
        self.troubles.pop(source, None)
        self._spread(source, None)

    def _trouble(self, source: str, error: MobyshellError) -> None:
        """Tell who shows the events themselves; who only reads a list again is told there."""
        before, self.troubles[source] = self.troubles.get(source), error
        if before is None or str(before) != str(error):
            for pump, wish in list(self._wishes.items()):
                if "" in wish.topics:
                    pump.post_message(Failed(f"following the events of the {source}", error))

    def _spread(self, source: str, event: Event | None) -> None:
        here = self._session.context.namespace
        for pump, wish in list(self._wishes.items()):
            if event is None:
                fits = any(source in _sources(one) for one in wish.topics)
            else:
                mine = wish.everywhere or event.namespace == here
                fits = mine and event.topic.startswith(wish.topics)
            if fits:
                pump.post_message(Happened(event))


def _sources(topic: str) -> tuple[str, ...]:
    """Who tells of topics that begin so."""
    if not topic:
        return (TASKS, STORE)
    return (TASKS,) if topic.startswith(("/tasks", "/runtime")) else (STORE,)

"""Events on their way to the screen, and which of many are kept.

Owns that kernel calls, of which a container makes hundreds, are counted apart: nothing that a person
sees is let go for those, which are mostly hidden. Pure; knows no widget.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterable, Mapping

from mobyshell.core.events import Event
from mobyshell.screens.event_rows import CALLS


class Held:
    """What has come and is not shown yet: the latest `most` kernel calls, and of all else as many."""

    def __init__(self, most: int) -> None:
        self._numbers = itertools.count()
        self._calls: deque[tuple[int, Event]] = deque(maxlen=most)
        self._others: deque[tuple[int, Event]] = deque(maxlen=most)
        self._let_go = {True: 0, False: 0}

    def _held(self, calls: bool) -> deque[tuple[int, Event]]:
        return self._calls if calls else self._others

    def add(self, event: Event) -> None:
        """Another one."""
        calls = event.topic == CALLS
        held = self._held(calls)
        self._let_go[calls] += len(held) == held.maxlen
        held.append((next(self._numbers), event))

    def count(self, *, calls: bool) -> int:
        """How many there are; those of the kernel, too, or not."""
        return len(self._others) + (len(self._calls) if calls else 0)

    def let_go(self, *, calls: bool) -> int:
        """How many there were no room for."""
        return self._let_go[False] + (self._let_go[True] if calls else 0)

    def take(self) -> list[Event]:
        """All of them, as they came; there are none afterwards."""
        found = [event for _, event in heapq.merge(self._others, self._calls, key=lambda it: it[0])]
        self._others.clear()
        self._calls.clear()
        self._let_go = {True: 0, False: 0}
        return found


def surplus(events: Mapping[int, Event], most: int) -> list[int]:
    """Which are to be let go where there are more than `most` calls, or of the others: the oldest,
    a fifth of `most` more than need be, so that it is not for each new one."""
    gone = []
    for calls in (True, False):
        numbers = [number for number, one in events.items() if (one.topic == CALLS) is calls]
        if len(numbers) > most:
            gone += numbers[: len(numbers) - most * 4 // 5]
    return gone


def latest(events: Iterable[Event], most: int) -> list[Event]:
    """The latest `most` calls and as many others, the oldest first."""
    ordered = sorted(events, key=lambda one: one.time_ns)
    kept = [[one for one in ordered if (one.topic == CALLS) is calls][-most:]
            for calls in (True, False)]  # fmt: skip
    return list(heapq.merge(*kept, key=lambda one: one.time_ns))

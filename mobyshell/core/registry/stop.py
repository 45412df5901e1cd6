"""The switch by which one thread ends what others do."""

from __future__ import annotations

import math
import threading
import time
import weakref

from mobyshell.core.errors import Interrupted, TimedOut
from mobyshell.core.registry.watch import Wait


class Stop:
    """Ends what is under way in other threads, whose sockets are shut, and has a time at which that
    ends anyway. `deadline` in seconds from now. What stops the `parent` stops this one too.
    """

    def __init__(self, deadline: float | None = None, *, parent: Stop | None = None) -> None:
        self._deadline = deadline
        self._end = math.inf if deadline is None else time.monotonic() + deadline
        self._lock = threading.Lock()
        self._waits: set[Wait] = set()
        self._event = threading.Event()
        self._children: weakref.WeakSet[Stop] = weakref.WeakSet()
        if parent is not None:
            if parent._end < self._end:
                self._end, self._deadline = parent._end, parent._deadline
            parent._adopt(self)

    def _adopt(self, child: Stop) -> None:
        with self._lock:
            self._children.add(child)
        if self._event.is_set():
            child.stop()

    def stop(self) -> None:
        """End everything that was begun with this switch."""
        self._event.set()
        with self._lock:
            waits, children = list(self._waits), list(self._children)
        for one in waits:
            one.end()
        for child in children:
            child.stop()

    def check(self) -> None:
        """Interrupted, once it is stopped; TimedOut, once its time is over."""
        if self._event.is_set():
            raise Interrupted("the transfer was stopped")
        if time.monotonic() > self._end:
            raise TimedOut(f"the registry was not done within {self._deadline:g} seconds")

    def until(self, moment: float) -> float:
        """That moment, or the end of all patience if it comes first."""
        return min(moment, self._end)

    def sleep(self, seconds: float) -> None:
        """Wait. Interrupted and TimedOut as in `check`, as soon as that is so."""
        self._event.wait(min(seconds, max(0.0, self._end - time.monotonic())))
        self.check()

    def add(self, wait: Wait) -> None:
        """End this one too."""
        with self._lock:
            self._waits.add(wait)
        if self._event.is_set():
            wait.end()

    def remove(self, wait: Wait) -> None:
        """It is over."""
        with self._lock:
            self._waits.discard(wait)

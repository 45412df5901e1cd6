"""A client's connections to the shim, of which several threads may use one each.

Owns which are free and which are in use, so that closing the client reaches those as well.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, ShimLost, TimedOut

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from mobyshell.core.tasks.connect import Connection

_POOLED = 4
MOST_ENDS = 64
"""Processes whose ends are waited for without asking."""
COME_BACK = 0.05
"""Seconds until a shim that was lost is asked for again."""


class Pool:
    """Connections to the shim of one state root, which is started where there is none."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._free: list[Connection] = []
        self._busy: set[Connection] = set()
        self._ends: dict[tuple[str, str], Connection] = {}
        self._lock = allocate_lock()
        self.closings = 0
        """How often `close` was called; what began before that comes to an end."""

    @property
    def warm(self) -> bool:
        """Whether there was a shim a moment ago."""
        return bool(self._free)

    def close(self) -> None:
        """Hang up, also on calls under way in other threads."""
        with self._lock:
            self.closings += 1
            free, self._free = self._free, []
            self._ends.clear()
            busy = tuple(self._busy)
        for connection in busy:
            connection.hang_up()
        for connection in free:
            connection.close()

    def take(self) -> Connection:
        """A connection for one call. A free one is looked at: a shim may have left behind it."""
        while True:
            connection = self._take()
            if connection is None:
                return self._fresh()
            if not connection.hung_up():
                return connection
            self.give(connection, pool=False)

    def _take(self) -> Connection | None:
        """One that is free, if there is one, nobody knows whether of a shim that is still there."""
        with self._lock:
            if not self._free:
                return None
            connection = self._free.pop()
            self._busy.add(connection)
            return connection

    def _fresh(self) -> Connection:
        connection = self.dial()
        with self._lock:
            self._busy.add(connection)
        return connection

    def dial(self) -> Connection:
        """A new connection, the caller's to close."""
        from mobyshell.core.tasks.connect import connect

        return connect(self._state)

    def give(self, connection: Connection, *, pool: bool = True) -> None:
        """The call is over; without `pool` the connection is of no use to others."""
        with self._lock:
            self._busy.discard(connection)
            if pool and len(self._free) < _POOLED:
                self._free.append(connection)
                return
        connection.close()

    def call(
        self, verb: str, namespace: str, args: Mapping[str, Any], timeout: float | None = None
    ) -> Any:
        """One request."""
        return self.ask(lambda one: one.send(verb, namespace, dict(args)), timeout)

    def ask(
        self, send: Callable[[Connection], int], timeout: float | None = None, *, task: str = ""
    ) -> Any:
        """One request, which `send` sends. `task`: it puts a process there, whose `end` may be told."""
        closings = self.closings
        connection, number = self._ask(send, closings)
        sound = False
        try:
            answer = connection.answer(number, timeout)
            sound = True
            if task and answer.get("ends"):
                self._expect(connection, (task, answer["exec_id"]))
        except (ShimLost, TimedOut):
            raise
        except MobyshellError:
            sound = True
            raise
        finally:
            self.give(connection, pool=sound and closings == self.closings)
        return answer

    def _expect(self, connection: Connection, process: tuple[str, str]) -> None:
        connection.ends.pop(process, None)  # of an earlier one of that name
        with self._lock:
            self._ends.pop(process, None)
            self._ends[process] = connection
            while len(self._ends) > MOST_ENDS:
                del self._ends[next(iter(self._ends))]

    def end(self, process: tuple[str, str], timeout: float | None = None) -> int | None:
        """The exit status of a process (task, exec id) that was asked for here, once it is told; None if
        it has to be asked for: the connection on which it is told is somebody's, or has gone. ShimLost,
        TimedOut."""
        closings = self.closings
        with self._lock:
            connection = self._ends.pop(process, None)
            if connection is None:
                return None
            if connection not in self._free:
                return connection.ends.pop(process, None)
            self._free.remove(connection)
            self._busy.add(connection)
        sound = False
        try:
            status = connection.end(process, timeout)
            sound = True
        finally:
            self.give(connection, pool=sound and closings == self.closings)
        return status

    def _ask(self, send: Callable[[Connection], int], closings: int) -> tuple[Connection, int]:
        """Send a request; on a free connection without a look first. What cannot be sent there whole
        is never read as a request, so it is asked again of the shim that comes after."""
        while True:
            free = self._take()
            connection = free or self._fresh()
            try:
                return connection, send(connection)
            except BaseException as error:
                self.give(connection, pool=False)
                left = free is not None and isinstance(error, ShimLost)
                if not left or closings != self.closings:
                    raise

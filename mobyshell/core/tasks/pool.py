"""A client's connections to the shim, of which several threads may use one each.

Owns which are free and which are in use, so that closing the client reaches those as well.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, ShimLost, TimedOut

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from mobyshell.core.tasks.connect import Connection

_POOLED = 4


class Pool:
    """Connections to the shim of one state root, which is started where there is none."""

    def __init__(self, state: str) -> None:
        self._state = state
        self._free: list[Connection] = []
        self._busy: set[Connection] = set()
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
            busy = tuple(self._busy)
        for connection in busy:
            connection.hang_up()
        for connection in free:
            connection.close()

    def take(self) -> Connection:
        """A connection for one call. A free one is looked at: a shim may have left behind it."""
        while True:
            with self._lock:
                connection = self._free.pop() if self._free else None
            if connection is None:
                connection = self.dial()
            elif connection.hung_up():
                connection.close()
                continue
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
        connection, sound = self.take(), False
        closings = self.closings
        try:
            answer = connection.request(verb, namespace, dict(args), timeout)
            sound = True
        except (ShimLost, TimedOut):
            raise
        except MobyshellError:
            sound = True
            raise
        finally:
            self.give(connection, pool=sound and closings == self.closings)
        return answer

"""Attached clients, the shim's side: one object per client and process.

Owns who gets what. A terminal's output is live: a client that does not read loses some, with a
mark, and the task notices nothing. Other output is in the log, which the client reads itself; it
only needs to be told when there is more (`RING`), once each time it asked to be (`ARM`). Never
holds more than `BACKLOG` bytes for a client.
"""

from __future__ import annotations

from typing import Protocol

from mobyshell.core.tasks import wire

BACKLOG = 256 << 10


class Line(Protocol):
    """The connection to a client, as far as attachments see it."""

    @property
    def backlog(self) -> int:
        """Bytes the client has not taken yet."""
        ...

    def send(self, data: bytes) -> None: ...

    def on_drained(self) -> None:
        """Call `drained` of what is attached once the backlog is gone."""
        ...

    def finish(self) -> None:
        """Hang up once everything was sent."""
        ...


class LiveAttachment:
    """A client at a terminal."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._lost = 0

    def data(self, data: bytes) -> None:
        """Output, if the client keeps up."""
        if self._lost or self._line.backlog > BACKLOG:
            self._lost += len(data)
            self._line.on_drained()
            return
        for at in range(0, len(data), wire.MAX_CHUNK):
            self._line.send(wire.frame(wire.STDOUT, data[at : at + wire.MAX_CHUNK]))

    def drained(self) -> None:
        """The client reads again: say how much it missed."""
        if self._lost:
            self._line.send(wire.frame(wire.LOST, b"%d" % self._lost))
            self._lost = 0

    def grown(self, end: int) -> None:
        """The log got longer: none of ours."""

    def end(self, status: int) -> None:
        """The process has ended and said all."""
        self.drained()
        self._line.send(wire.frame(wire.END, wire.STATUS.pack(status)))
        self._line.finish()


class LogAttachment:
    """A client that follows the log."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._armed: int | None = None
        self._end = 0

    def arm(self, position: int) -> None:
        """The client has read up to `position` and wants to be told of more."""
        self._armed = position
        self.grown(self._end)

    def grown(self, end: int) -> None:
        """The log now ends at `end`."""
        self._end = end
        if self._armed is not None and end > self._armed:
            self._armed = None
            self._line.send(wire.frame(wire.RING))

    def data(self, data: bytes) -> None:
        """Live output: none of ours."""

    def drained(self) -> None:
        """The backlog is gone: nothing was held back."""

    def end(self, status: int) -> None:
        """The process has ended and all it said is in the log."""
        self._line.send(wire.frame(wire.END, wire.STATUS.pack(status)))
        self._line.finish()


class InputAttachment:
    """A client's second connection, for input alone: what waits there holds nothing else up."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def data(self, data: bytes) -> None:
        """Output: none of ours."""

    def drained(self) -> None:
        """Nothing was held back."""

    def grown(self, end: int) -> None:
        """The log: none of ours."""

    def end(self, status: int) -> None:
        """The process takes no more."""
        self._line.finish()


class Attached(Protocol):
    """What a process tells of itself."""

    def data(self, data: bytes) -> None: ...

    def drained(self) -> None: ...

    def grown(self, end: int) -> None: ...

    def end(self, status: int) -> None: ...

"""Attached to a task, the client's side: live at a terminal, else along the log.

Owns the two ways of reading and the coming back after the shim has died: the same task is
attached to again at its successor, on the same descriptor number. Output that is in the log is
never lost by that, nor by reading slowly, but by rotation, and then it is said how much.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable
from typing import Any

from mobyshell.core.errors import MobyshellError, NotFound, ShimLost, WrongState
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.connect import Connection, lost
from mobyshell.core.tasks.logs import LogReader, content

_PATIENCE = 15.0
_PAUSE = 0.05

Attach = Callable[[str], "tuple[Connection, dict[str, Any]]"]
"""Attach (`resume`: again; `input`: for input alone): the connection and what the shim told."""


class _Attached:
    """What both kinds share: the connection, and input."""

    def __init__(self, attach: Attach, connection: Connection) -> None:
        self._attach = attach
        self._connection = connection
        self._closed = False
        self._over = False
        """The end is among the frames that have come."""
        self._deaf = False
        """The process takes no more input."""
        self._generation = 0
        self._mending = threading.Lock()
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self.exit_status: int | None = None
        """How the process ended, once `read` has returned None."""

    def fileno(self) -> int:
        """See `service.Attachment.fileno`."""
        return self._connection.sock.fileno()

    @property
    def pending(self) -> bool:
        """See `service.Attachment.pending`."""
        return self._connection.pending

    def _send(self, data: bytes) -> None:
        """To the task; dropped if it has ended."""
        with self._sending:
            while not self._closed and not self._deaf:
                generation = self._generation
                try:
                    self._outlet().sock.sendall(data)
                except OSError:
                    self._outlet_lost(generation)
                else:
                    return

    def _outlet(self) -> Connection:
        """What input is sent to."""
        return self._connection

    def _outlet_lost(self, generation: int) -> None:
        """The shim takes no more input there."""
        self._mend(generation)

    def _mend(self, generation: int) -> None:
        """The shim has hung up: because the task ended, or because it died. Any thread may call."""
        with self._mending:
            if generation != self._generation or self._closed or self._over:
                return
            self._connection.drain()
            if self._connection.has(wire.END):
                self._over = self._deaf = True
            else:
                self._come_back()

    def write(self, data: bytes) -> None:
        """Input for the task; blocks while the task does not read. Nothing after its end."""
        for at in range(0, len(data), wire.MAX_CHUNK):
            self._send(wire.frame(wire.STDIN, bytes(data[at : at + wire.MAX_CHUNK])))

    def close_stdin(self) -> None:
        """No more input."""
        self._send(wire.frame(wire.CLOSE_STDIN))

    def resize(self, rows: int, columns: int) -> None:
        """The terminal's new size (or the old one: then what is drawn there draws itself again)."""
        self._send(wire.frame(wire.RESIZE, wire.SIZE.pack(rows & 0xFFFF, columns & 0xFFFF)))

    def close(self) -> None:
        """Detach; a `read` under way in another thread returns None."""
        if not self._closed:
            self._closed = True
            self._wake()
            with self._reading, self._sending:  # nobody uses a descriptor that is closed
                self._release()

    def _wake(self) -> None:
        """Let whoever waits in another thread go on."""
        self._connection.hang_up()

    def _release(self) -> None:
        self._connection.close()

    def _come_back(self) -> None:
        """To the successor of a shim that died. ShimLost if there is none, or it lost the task."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fresh, told = self._attach("resume")
                break
            except ShimLost:
                if time.monotonic() > until:
                    raise
                time.sleep(_PAUSE)
            except NotFound:
                raise lost() from None
        if self._closed:
            fresh.close()
            return
        fresh.take_over(self._connection)
        self._connection = fresh
        self._generation += 1
        if self._closed:  # in this moment: the old connection was woken, not this one
            fresh.hang_up()
        self._welcome(told)

    def _welcome(self, told: dict[str, Any]) -> None:
        """Attached again."""


class TerminalAttachment(_Attached):
    """At a terminal: frames as they come."""

    def read(self) -> tuple[str, bytes] | None:
        """See `service.Attachment.read`."""
        with self._reading:
            return self._read()

    def _read(self) -> tuple[str, bytes] | None:
        while not self._closed and self.exit_status is None:
            generation = self._generation
            frame = self._connection.receive()
            if frame is None:
                self._mend(generation)
                continue
            kind, payload = frame
            if kind == wire.STDOUT:
                return "stdout", payload
            if kind == wire.LOST:
                return "lost", payload
            if kind == wire.END:
                (self.exit_status,) = wire.STATUS.unpack(payload)
        return None


class LogAttachment(_Attached):
    """Along the log. The shim only rings when there is more, and says when it was all."""

    def __init__(self, attach: Attach, connection: Connection, told: dict[str, Any]) -> None:
        super().__init__(attach, connection)
        self._reader = LogReader(told["log"], told["position"])
        self._reader.align()
        self._ready: list[tuple[str, bytes]] = []
        self._ended = False
        self._input: Connection | None = None
        self._arm()

    @property
    def pending(self) -> bool:
        return bool(self._ready)

    def _welcome(self, told: dict[str, Any]) -> None:
        self._arm()

    def _arm(self) -> None:
        """Ask to be told of what comes after what was read."""
        try:
            position = wire.POSITION.pack(self._reader.position)
            self._connection.sock.sendall(wire.frame(wire.ARM, position))
        except OSError:
            pass  # it has hung up: whoever reads next notices, and finds out why

    def read(self) -> tuple[str, bytes] | None:
        """See `service.Attachment.read`."""
        with self._reading:
            return self._read()

    def _read(self) -> tuple[str, bytes] | None:
        while not self._closed:
            if self._ready or self._more():
                found = self._ready.pop(0)
                if not self._ready:
                    self._take_rings()
                return found
            if self._ended:
                self.exit_status = self._status
                return None
            self._listen()
            if not self._ended and not self._more() and not self._closed:
                return "stdout", b""  # a ring for what was read before: nothing new after all
        return None

    def _more(self) -> bool:
        """Read on in the log, and be told of what comes after it."""
        try:
            lines = self._reader.read()
        except OSError as error:
            raise MobyshellError(f"the log cannot be read: {error.strerror}") from None
        if self._reader.lost:
            self._ready.append(("lost", b"%d" % self._reader.lost))
            self._reader.lost = 0
        stream, parts = "", list[bytes]()
        for line in lines:
            if line.stream != stream:
                self._put(stream, parts)
                parts = []
            stream = line.stream
            parts.append(content(line))
        self._put(stream, parts)
        return bool(self._ready)

    def _put(self, stream: str, parts: list[bytes]) -> None:
        data = b"".join(parts)
        if data:
            self._ready.append((stream, data))

    def _take_rings(self) -> None:
        """Take rings that were for what has just been read, if it was all there is."""
        if not self._ended and self._reader.at_end() and _readable(self._connection):
            self._listen()

    def _listen(self) -> None:
        """The next word of the shim."""
        generation = self._generation
        frame = self._connection.receive()
        if frame is None:
            self._mend(generation)
            return
        kind, payload = frame
        if kind == wire.END:
            (self._status,) = wire.STATUS.unpack(payload)
            self._ended = True
        elif kind == wire.RING:
            self._arm()

    def _outlet(self) -> Connection:
        """A connection of its own: input that the task does not take must not hold up the rest."""
        if self._input is None:
            try:
                self._input, _ = self._attach("input")
            except (WrongState, NotFound):
                self._deaf = True
                return self._connection
        return self._input

    def _outlet_lost(self, generation: int) -> None:
        if self._input is not None:
            self._input.close()
            self._input = None

    def _wake(self) -> None:
        super()._wake()
        outlet = self._input
        if outlet is not None:
            outlet.hang_up()

    def _release(self) -> None:
        super()._release()
        if self._input is not None:
            self._input.close()
        self._reader.close()

    _status = -1


def _readable(connection: Connection) -> bool:
    if connection.pending:
        return True
    poller = select.poll()
    poller.register(connection.sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))

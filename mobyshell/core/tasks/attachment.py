"""Attached to a task, the client's side: live at a terminal, else along the log.

Owns the two ways of reading and the coming back after the shim has died: the same task is
attached to again at its successor, on the same descriptor number. Output that is in the log is
never lost by that, nor by reading slowly, but by rotation, and then it is said how much.
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable
from typing import Any

from mobyshell.core.errors import MobyshellError, NotFound, ShimLost
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.connect import Connection, lost
from mobyshell.core.tasks.logs import LogReader, content

_PATIENCE = 15.0

Attach = Callable[[bool], "tuple[Connection, dict[str, Any]]"]
"""Attach (again: True) and return the connection and what the shim told."""


class _Attached:
    """What both kinds share: the connection, and input."""

    def __init__(self, attach: Attach, connection: Connection) -> None:
        self._attach = attach
        self._connection = connection
        self._closed = False
        self.exit_status: int | None = None
        """How the process ended, once `read` has returned None."""

    def fileno(self) -> int:
        """See `service.Attachment.fileno`."""
        return self._connection.sock.fileno()

    def _send(self, data: bytes) -> None:
        if self._closed or self.exit_status is not None:
            return
        try:
            self._connection.sock.sendall(data)
        except OSError:
            if not self._closed:
                self._come_back()
                self._connection.sock.sendall(data)

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
            try:
                self._connection.sock.shutdown(2)
            except OSError:
                pass  # the shim was first
            self._release()

    def _release(self) -> None:
        self._connection.close()

    def _come_back(self) -> None:
        """To the successor of a shim that died. ShimLost if there is none, or it lost the task."""
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                fresh, told = self._attach(True)
                break
            except ShimLost:
                if time.monotonic() > until:
                    raise
            except NotFound:
                raise lost() from None
        old = self._connection.sock
        os.dup2(fresh.sock.fileno(), old.fileno(), inheritable=False)
        fresh.sock.close()
        fresh.sock = old
        self._connection = fresh
        self._welcome(told)

    def _welcome(self, told: dict[str, Any]) -> None:
        """Attached again."""


class TerminalAttachment(_Attached):
    """At a terminal: frames as they come."""

    def read(self) -> tuple[str, bytes] | None:
        """See `service.Attachment.read`."""
        while not self._closed and self.exit_status is None:
            frame = self._connection.receive()
            if frame is None:
                if self._closed:
                    return None
                self._come_back()
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
        self._arm()

    def _welcome(self, told: dict[str, Any]) -> None:
        self._arm()

    def _arm(self) -> None:
        """Ask to be told of what comes after what was read."""
        self._send(wire.frame(wire.ARM, wire.POSITION.pack(self._reader.position)))

    def read(self) -> tuple[str, bytes] | None:
        """See `service.Attachment.read`."""
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
        frame = self._connection.receive()
        if frame is None:
            if not self._closed:
                self._come_back()
            return
        kind, payload = frame
        if kind == wire.END:
            (self._status,) = wire.STATUS.unpack(payload)
            self._ended = True
        elif kind == wire.RING:
            self._arm()

    def _release(self) -> None:
        super()._release()
        self._reader.close()

    _status = -1


def _readable(connection: Connection) -> bool:
    if connection.pending:
        return True
    poller = select.poll()
    poller.register(connection.sock.fileno(), select.POLLIN)
    return bool(poller.poll(0))

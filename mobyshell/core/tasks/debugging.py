"""The shim's debug socket: `<state>/debug.sock`, for the owner alone.

Owns who is let in, how many, and how long they may take; what is answered is `core.debug`'s, which
is imported when the first client is there. All in the shim's loop and its only thread: an answer
that watches for seconds is a timer's signal and a wait.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from mobyshell.core.linux.unix_sockets import allowed, bind
from mobyshell.core.tasks.loop import Loop, Timer, Watch

if TYPE_CHECKING:
    from mobyshell.core.debug.answers import Answers, Steps

_OUT_OF_FILES_PAUSE = 0.5


class DebugDoor:
    """The socket. `left` is called when a client has gone."""

    def __init__(self, loop: Loop, path: str, left: Callable[[], None]) -> None:
        self.loop = loop
        self.answers: Answers | None = None
        self.sessions: set[Session] = set()
        self._path = path
        self._left = left
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        bind(self._listener, path)
        self.renew()
        self._watch_door()

    def renew(self) -> None:
        """In a forked copy: clients shall see this process at the other end, not the parent."""
        self._listener.listen(128)

    def _watch_door(self) -> None:
        self._watch = self.loop.watch(self._listener.fileno(), self._welcome)

    def _welcome(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # out of descriptors: it stays readable, so not at once again
            self._watch.close()
            self.loop.call_later(_OUT_OF_FILES_PAUSE, self._watch_door)
            return
        from mobyshell.core.debug.answers import Answers
        from mobyshell.core.debug.request import AT_ONCE
        from mobyshell.core.debug.timer import sample

        if not allowed(peer) or len(self.sessions) >= AT_ONCE:
            peer.close()
            return
        if self.answers is None:
            self.answers = Answers(sample)
        self.sessions.add(Session(self, peer, self.answers))

    def gone(self, session: Session) -> None:
        """A client has gone."""
        self.sessions.discard(session)
        self._left()

    def hang_up(self) -> None:
        """On every client: what they watch with is not to be inherited."""
        for session in tuple(self.sessions):
            session.close()

    def close(self) -> None:
        """Take the socket away."""
        self.hang_up()
        self._watch.close()
        self._listener.close()
        with suppress(OSError):  # somebody removed the whole state root
            os.unlink(self._path)


class Session:
    """One client: a request, a wait, an answer. It is hung up on who is slow, or says more."""

    def __init__(self, door: DebugDoor, peer: socket.socket, answers: Answers) -> None:
        from mobyshell.core.debug.request import PATIENCE

        peer.setblocking(False)
        self._door = door
        self._peer = peer
        self._answers = answers
        self._patience = PATIENCE
        self._said = b""
        self._steps: Steps | None = None
        self._out = memoryview(b"")
        self._writing: Watch | None = None
        self._timer: Timer = door.loop.call_later(PATIENCE, self.close)
        self._reading = door.loop.watch(peer.fileno(), self._read)
        self.closed = False

    def _read(self) -> None:
        from mobyshell.core.debug.request import LONGEST, complete

        try:
            data = self._peer.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._said += data
        if not data or self._steps is not None or len(self._said) > LONGEST:
            self.close()
        elif complete(self._said):
            self._timer.cancel()
            self._steps = self._answers.to(self._said)
            self._go()

    def _go(self) -> None:
        assert self._steps is not None
        try:
            wait = next(self._steps)
        except StopIteration as stop:
            self._out = memoryview(stop.value)
            self._timer = self._door.loop.call_later(self._patience, self.close)
            self._write()
        except BaseException:
            self.close()
            raise
        else:
            self._timer = self._door.loop.call_later(wait, self._go)

    def _write(self) -> None:
        try:
            self._out = self._out[self._peer.send(self._out, socket.MSG_NOSIGNAL) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        if not self._out:
            self.close()
        elif self._writing is None:
            self._writing = self._door.loop.watch(self._peer.fileno(), self._write, write=True)

    def close(self) -> None:
        """Hang up; what was begun for the client ends."""
        if self.closed:
            return
        self.closed = True
        self._timer.cancel()
        self._reading.close()
        if self._writing is not None:
            self._writing.close()
        if self._steps is not None:
            self._steps.close()
        self._peer.close()
        self._door.gone(self)

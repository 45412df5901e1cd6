"""Sockets that are waited for no longer than agreed.

A socket's own timeout begins anew with every byte, so a server that sends one now and then is
never done. One thread looks at what is under way and shuts the socket of what is late; the thread
that waits on it then fails at once. Owns nothing else.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LOOK = 0.25  # seconds between two looks


class Wait:
    """Something that is waited for until `until` (monotonic seconds)."""

    __slots__ = ("late", "sock", "until")

    def __init__(self, sock: Callable[[], Any], until: float = math.inf) -> None:
        self.sock, self.until, self.late = sock, until, False

    def end(self) -> None:
        """Fail it now."""
        self.late = True
        shut(self.sock())

    def renew(self) -> None:
        """There is another socket now: fail that, if it has been ended by now."""
        if self.late:
            shut(self.sock())


def shut(sock: Any) -> None:
    """End a connection under whoever reads from it or writes to it."""
    sock = getattr(sock, "socket", sock)  # TLS within TLS, behind a proxy
    if isinstance(sock, socket.socket):
        try:
            socket.socket.shutdown(sock, socket.SHUT_RDWR)
        except OSError:
            pass


class Watch:
    """Looks at waits from a thread of its own, which lives as long as there are any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waits: set[Wait] = set()
        self._thread: threading.Thread | None = None

    @contextmanager
    def waiting(self, sock: Callable[[], Any], until: float) -> Iterator[Wait]:
        """Within, the socket is shut when it is `until`; the wait then says that it was late."""
        wait = Wait(sock, until)
        self.add(wait)
        try:
            yield wait
        finally:
            self.remove(wait)

    def add(self, wait: Wait) -> None:
        """Look at it from now on; its `until` may change."""
        with self._lock:
            self._waits.add(wait)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="registry-watch", daemon=True
                )
                self._thread.start()

    def remove(self, wait: Wait) -> None:
        """Look at it no more."""
        with self._lock:
            self._waits.discard(wait)

    def _look(self) -> None:
        while True:
            time.sleep(_LOOK)
            now = time.monotonic()
            with self._lock:
                if not self._waits:
                    self._thread = None
                    return
                late = [one for one in self._waits if one.until < now]
                self._waits.difference_update(late)
            for one in late:
                one.end()

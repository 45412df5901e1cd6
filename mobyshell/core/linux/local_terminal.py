"""A program in a terminal of its own, of which we have the other end (pty(7)).

Answers as an attachment of a task does (`core.tasks.service.Attachment`). The program is started
without a fork of ours; it makes the terminal its own itself (`enter` does). Closing hangs up.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import threading
import weakref
from collections.abc import Sequence

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import terminals

_CHUNK = 65536

_PATIENCE = 1.0
"""Seconds that a program which does not read may keep a writer waiting."""


class LocalTerminal:
    """Not thread-safe, but for `close`."""

    def __init__(self, command: Sequence[str], *, rows: int, columns: int) -> None:
        """Start it. SyscallFailed if it cannot be."""
        self._master, slave = os.openpty()
        self._woken, self._wake = os.pipe()
        self._closed = False
        # not by `close`: a thread may just be reading, and the number be another file's by then
        weakref.finalize(self, _close, self._master, self._woken, self._wake)
        os.set_blocking(self._master, False)
        try:
            terminals.set_size(slave, rows, columns)
            self._process = subprocess.Popen(
                list(command), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
            )
        except OSError as error:
            raise SyscallFailed.of(error, "execve", path=command[0]) from None
        finally:
            os.close(slave)
        threading.Thread(target=self._process.wait, daemon=True, name="local-terminal").start()

    @property
    def pid(self) -> int:
        """Of the program."""
        return self._process.pid

    @property
    def pending(self) -> bool:
        """Never: what there is to read, the descriptor tells."""
        return False

    def fileno(self) -> int:
        """The other end."""
        return self._master

    def read(self) -> tuple[str, bytes] | None:
        """What the program wrote, blocking; None when it is gone, or this was closed."""
        while not self._closed:
            ready, _, _ = select.select([self._master, self._woken], [], [])
            if self._woken in ready:
                return None
            try:
                data = os.read(self._master, _CHUNK)
            except BlockingIOError:
                continue
            except OSError:
                return None  # EIO: nobody has the terminal open any more
            return ("stdout", data) if data else None
        return None

    def write(self, data: bytes) -> None:
        """As from a keyboard. OSError if it is closed, or if the program does not read."""
        while data:
            if self._closed:
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            try:
                data = data[os.write(self._master, data) :]
            except BlockingIOError:
                if not select.select([], [self._master], [], _PATIENCE)[1]:
                    raise

    def close_stdin(self) -> None:
        """A terminal's end of input is a key: ctrl+d."""
        self.write(b"\x04")

    def resize(self, rows: int, columns: int) -> None:
        """Another size; the foreground is told. OSError if it is closed."""
        if self._closed:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        terminals.set_size(self._master, rows, columns)

    def close(self) -> None:
        """Hang up: the program gets SIGHUP, and so does what it runs when the last reader is gone."""
        if not self._closed:
            self._closed = True
            os.write(self._wake, b"x")
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGHUP)


def _close(*fds: int) -> None:
    for fd in fds:
        os.close(fd)

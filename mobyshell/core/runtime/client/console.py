"""The console socket: how a runtime hands over the terminal that it made for a container.

Owns the socket and the receiving of the descriptor (SCM_RIGHTS, unix(7)); runc's docs/terminals.md
is the contract. The socket is for its owner only, and takes one descriptor.
"""

from __future__ import annotations

import array
import os
import shutil
import socket
import stat
import tempfile

from mobyshell.core.errors import MobyshellError, SyscallFailed, TimedOut
from mobyshell.core.runtime.steps import Readable, Steps, run

_LONGEST = 107
"""Bytes of a path that fit into sun_path (unix(7))."""


class ConsoleSocket:
    """A Unix socket that waits for one terminal. `path` is for the runtime's `--console-socket`.

    It lies in `directory`, or in a temporary one of its own. Close it (or use `with`).
    """

    def __init__(self, directory: str | None = None) -> None:
        self._own = None if directory is not None else tempfile.mkdtemp(prefix="console-")
        where = directory if directory is not None else str(self._own)
        self._name = f"console-{os.urandom(4).hex()}.sock"
        self._file = os.path.join(where, self._name)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._parent = -1
        mask = os.umask(0o177)
        try:
            self._parent = os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._socket.bind(f"/proc/self/fd/{self._parent}/{self._name}")
            self._socket.listen(1)
        except OSError as error:
            self.close()
            raise SyscallFailed.of(error, "bind", path=self._file) from None
        finally:
            os.umask(mask)

    @property
    def path(self) -> str:
        """How the runtime reaches it: a path that fits into an address, while this is open."""
        if len(os.fsencode(self._file)) <= _LONGEST:
            return self._file
        return f"/proc/{os.getpid()}/fd/{self._parent}/{self._name}"

    def __enter__(self) -> ConsoleSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def receive(self, timeout: float | None = 60.0) -> int:
        """The master of the terminal, the caller's to close. TimedOut if none comes."""
        return run(self.receiving(timeout))

    def receiving(self, timeout: float | None = 60.0) -> Steps[int]:
        """`receive` in steps."""
        if not (yield Readable((self._socket.fileno(),), timeout)):
            raise TimedOut(f"no terminal came to the console socket within {timeout:g} s")
        peer, _ = self._socket.accept()
        with peer:
            if not (yield Readable((peer.fileno(),), timeout)):
                raise TimedOut(f"no terminal came to the console socket within {timeout:g} s")
            return _terminal_of(peer)

    def close(self) -> None:
        """Remove the socket. A terminal that was received stays open."""
        self._socket.close()
        if self._parent >= 0:
            try:
                os.unlink(self._name, dir_fd=self._parent)
            except FileNotFoundError:
                pass
            os.close(self._parent)
            self._parent = -1
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)


def _terminal_of(peer: socket.socket) -> int:
    """The one descriptor in the message, if it is a terminal."""
    room = socket.CMSG_SPACE(4 * array.array("i").itemsize)
    _, control, _, _ = peer.recvmsg(4096, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    if len(fds) == 1 and stat.S_ISCHR(os.fstat(fds[0]).st_mode) and os.isatty(fds[0]):
        return fds[0]
    for fd in fds:
        os.close(fd)
    raise MobyshellError("what came to the console socket is no terminal")

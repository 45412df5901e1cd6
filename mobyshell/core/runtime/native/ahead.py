"""A network namespace made ahead, while nobody waits for it.

Of all that a new container needs of the kernel it takes longest. So whoever makes many has the next one
made while a processor is idle: by a short-lived process that shares our memory and our descriptors,
goes into a new namespace, brings its loopback device up (a child sees that, and leaves it alone) and
opens it; the descriptor stays, with us, and is all that there is of it.
Nobody was ever in it but that process. Source: clone(2), setns(2), namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import struct
import time
from collections.abc import Callable, Sequence

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import AT_FDCWD, CLONE_NEWNET, SIOCSIFFLAGS
from mobyshell.core.linux.syscalls import number
from mobyshell.core.runtime.program import HAS_RESULT, MASK, REPORT, WORDS

CLONE_FILES = 0x400
_RECORD = struct.Struct(f"={WORDS}Q")
_LOOPBACK = b"lo".ljust(16, b"\0") + struct.pack("=H", 0x41).ljust(24, b"\0")
"""struct ifreq: IFF_UP | IFF_RUNNING (netdevice(7))."""
_SOCKET, _NAMESPACE = 0, 1
_AF_INET, _SOCK_DGRAM_CLOEXEC = 2, 0x80002


def _record(name: str, *args: int, cells: int = 0, result: int | None = None) -> bytes:
    """A call; `cells`: which arguments are cells, as bits; `result`: the cell that it goes into."""
    control = cells if result is None else cells | HAS_RESULT | result << 40
    words = [one & MASK for one in (*args, *[0] * (6 - len(args)))]
    return _RECORD.pack(number(name), *words, control, 0, 0)


class Walking:
    """A process of ours that walks `records` in our memory: `memory` has them, then the reports and
    the cells."""

    def __init__(self, pidfd: int, memory: ctypes.Array[ctypes.c_char], length: int) -> None:
        self._pidfd, self._memory, self._length = pidfd, memory, length

    def ended(self) -> bool:
        """Whether it is through."""
        try:
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PIDFD, self._pidfd, how) is not None
        except ChildProcessError:
            return True

    def cells(self, count: int) -> Sequence[int]:
        """What its cells are at its end, which is waited for."""
        try:
            os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        except ChildProcessError:
            pass  # somebody who reaps whatever dies was first: then it is dead, too
        finally:
            os.close(self._pidfd)
        at = self._length * (WORDS + REPORT) * 8
        return struct.unpack_from(f"={count}q", self._memory, at)


Walk = Callable[[bytes, int, int], Walking]
"""Start a process with additional flags of clone that walks records with a number of cells."""


class Ahead:
    """At most one network namespace. `walk` starts the process that makes it."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._path = ctypes.create_string_buffer(b"/proc/self/ns/net")
        self._request = ctypes.create_string_buffer(_LOOPBACK, len(_LOOPBACK))
        self._records = b"".join((
            _record("unshare", CLONE_NEWNET),
            _record("socket", _AF_INET, _SOCK_DGRAM_CLOEXEC, 0, result=_SOCKET),
            _record("ioctl", 0, SIOCSIFFLAGS, ctypes.addressof(self._request), cells=1),
            _record("close", 0, cells=1),
            _record("openat", AT_FDCWD, ctypes.addressof(self._path), os.O_RDONLY | os.O_CLOEXEC,
                    result=_NAMESPACE),
        ))  # fmt: skip
        self._maker: Walking | None = None
        self._fd = -1
        self._refused = False
        self._made = 0.0

    def make(self) -> bool:
        """Have one made, unless there is one; whether there is, or will be. Where it is refused once,
        never again."""
        if self._maker is None and self._fd < 0 and not self._refused:
            self._made = time.monotonic()
            try:
                self._maker = self._walk(self._records, 2, CLONE_FILES)
            except SyscallFailed:
                self._refused = True
        return not self._refused

    def take(self) -> int:
        """Its descriptor, now the caller's; -1 if there is none."""
        self._finish()
        fd, self._fd = self._fd, -1
        return fd

    def rest(self, seconds: float) -> bool:
        """Let go of one that nobody has wanted for so long, and of who has made it; whether there
        still is one."""
        if self._maker is not None and self._maker.ended():
            self._finish()
        if time.monotonic() - self._made >= seconds:
            fd = self.take()
            if fd >= 0:
                os.close(fd)
        return self._maker is not None or self._fd >= 0

    def _finish(self) -> None:
        maker, self._maker = self._maker, None
        if maker is None:
            return
        # where it failed its socket may be open still, or closed and its number somebody else's by now:
        # it is left alone, for that happens once at most
        self._fd = maker.cells(2)[_NAMESPACE]
        self._refused = self._fd < 0

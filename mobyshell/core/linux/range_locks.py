"""Locks by number, of one file: as many as are wanted, with nothing to remove afterwards.

Open file description locks (fcntl(2)): of whoever has the file open, be it a thread, and gone with
that, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path

from mobyshell.core.errors import SyscallFailed, TimedOut

_SET = 37  # F_OFD_SETLK, include/uapi/asm-generic/fcntl.h
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_LONGEST_PAUSE = 0.05
_HOLDER = struct.Struct("<I")
_PLACES = 1024
"""So many numbers share the file's bytes that tell who holds them: the last one is told."""


class RangeLocks:
    """Some locks of a file. Close it (or use `with`), which gives them back."""

    def __init__(self, path: Path) -> None:
        """The file is made if it is missing. SyscallFailed."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=str(path)) from error

    def take(self, names: Iterable[str], patience: float, what: str) -> None:
        """Take the locks of all these names, waiting while others have one. All who take several at
        once take them in the same order, so nobody waits in a ring; so this is called once.

        Raises TimedOut after `patience` seconds; it says which process has `what`.
        """
        deadline = time.monotonic() + patience
        for number in sorted({_number(one) for one in names}):
            pause = 0.001
            while not self._try(number):
                if time.monotonic() > deadline:
                    raise self._held(number, what)
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
            # the kernel does not say who has such a lock (it is not a process that has it)
            os.pwrite(self._fd, _HOLDER.pack(os.getpid()), _place(number))

    def _held(self, number: int, what: str) -> TimedOut:
        data = os.pread(self._fd, _HOLDER.size, _place(number))
        pid = _HOLDER.unpack(data)[0] if len(data) == _HOLDER.size else 0
        who = f"process {pid}" if pid else "another process"
        return TimedOut(f"{what}: {who} is at it, and does not end",
                        hint=f"look at it: ps -fp {pid}" if pid else "")  # fmt: skip

    def _try(self, number: int) -> bool:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, number, 1, 0)
        try:
            fcntl.fcntl(self._fd, _SET, wanted)
        except (BlockingIOError, PermissionError):
            return False
        except OSError as error:
            raise SyscallFailed.of(error, "fcntl", path="a lock of the store") from error
        return True

    def close(self) -> None:
        """Give all back."""
        os.close(self._fd)

    def __enter__(self) -> RangeLocks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _place(number: int) -> int:
    return number % _PLACES * _HOLDER.size


def _number(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") >> 2

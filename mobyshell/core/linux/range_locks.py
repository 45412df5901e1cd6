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

from mobyshell.core.errors import SyscallFailed

_SET = 37  # F_OFD_SETLK, include/uapi/asm-generic/fcntl.h
_FLOCK = struct.Struct("hhqqi4x")  # struct flock: type, whence, start, length, pid
_LONGEST_PAUSE = 0.05


class RangeLocks:
    """Some locks of a file. Close it (or use `with`), which gives them back."""

    def __init__(self, path: Path) -> None:
        """The file is made if it is missing. SyscallFailed."""
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=str(path)) from error

    def take(self, names: Iterable[str]) -> None:
        """Take the locks of all these names, waiting as long as others have one: for as long as they
        live. All who take several at once take them in the same order, so nobody waits in a ring;
        so this is called once."""
        for number in sorted({_number(one) for one in names}):
            pause = 0.001
            while not self._try(number):
                time.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)

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


def _number(name: str) -> int:
    return int.from_bytes(sha256(name.encode()).digest()[:8], "big") >> 2

"""Terminals: their size, and who is in the foreground (ioctl_tty(2), termios(3)).

Owns the requests' numbers and the bytes they take, for plans as for this process.
"""

from __future__ import annotations

import fcntl
import struct

TIOCSCTTY, TIOCGPGRP, TIOCGWINSZ, TIOCSWINSZ = 0x540E, 0x540F, 0x5413, 0x5414
TIOCSPTLCK, TIOCGPTPEER = 0x40045431, 0x5441

UNLOCKED = b"\0\0\0\0"
"""What TIOCSPTLCK takes, so that the other end can be opened."""


def pack_size(rows: int, columns: int) -> bytes:
    """struct winsize."""
    return struct.pack("=HHHH", rows, columns, 0, 0)


def size(fd: int) -> tuple[int, int]:
    """(rows, columns). OSError if `fd` is no terminal."""
    rows, columns, _, _ = struct.unpack("=4H", fcntl.ioctl(fd, TIOCGWINSZ, b"\0" * 8))
    return rows, columns


def set_size(fd: int, rows: int, columns: int) -> None:
    """Resize; the foreground's processes get SIGWINCH if that is a change. OSError."""
    fcntl.ioctl(fd, TIOCSWINSZ, pack_size(rows, columns))


def foreground(fd: int) -> int:
    """The process group in the foreground; 0 if there is none, or none that we see. OSError."""
    (group,) = struct.unpack("=i", fcntl.ioctl(fd, TIOCGPGRP, b"\0" * 4))
    return int(group)

"""Events that are yet to be written, where a shim that is killed does not take them along.

A mapped file in the state root: to put an event there is a copy in memory, no system call. Owns what
is in it, and telling what of it a dead shim had written before it died. Kernel calls are not kept
here: there are hundreds of them for each container.
"""

from __future__ import annotations

import mmap
import os
import struct

BYTES = 256 << 10
_HEAD = struct.Struct("=Q")
"""How many bytes of lines follow."""
_TAIL = 1 << 20
"""What of a file is looked at: a page of lines is much less."""


class Pending:
    """The page of the shim of one state root, in the file `path`."""

    def __init__(self, path: str) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, BYTES)
            self._page = mmap.mmap(fd, BYTES)
        finally:
            os.close(fd)
        (self._end,) = _HEAD.unpack_from(self._page)

    def add(self, line: str) -> bool:
        """Keep a line until `clear`; False if there is no room."""
        data = line.encode() + b"\n"
        at = _HEAD.size + self._end
        if at + len(data) > BYTES:
            return False
        self._page[at : at + len(data)] = data
        self._end += len(data)
        _HEAD.pack_into(self._page, 0, self._end)  # last, so that what counts is complete
        return True

    def clear(self) -> None:
        """All of it was written."""
        if self._end:
            self._end = 0
            _HEAD.pack_into(self._page, 0, 0)

    def lines(self) -> list[str]:
        """What was added and not cleared, in its order."""
        if not 0 < self._end <= BYTES - _HEAD.size:
            self._end = 0
            return []
        data = self._page[_HEAD.size : _HEAD.size + self._end]
        return data.decode(errors="replace").splitlines()

    def close(self) -> None:
        """Let go of the page; what is in it stays."""
        self._page.close()


def missing(path: str, lines: list[str]) -> list[str]:
    """Those of `lines` that are not among the last of the file `path`. A line that a dead writer
    left half written is cut off."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return lines
    try:
        size = os.fstat(fd).st_size
        start = max(0, size - _TAIL)
        data = os.pread(fd, _TAIL, start)
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            os.ftruncate(fd, start + whole)
        there = set(data[:whole].decode(errors="replace").splitlines())
    except OSError:
        return lines
    finally:
        os.close(fd)
    return [one for one in lines if one not in there]

"""From a task's FIFO into its log, each byte exactly once, whatever dies in between.

Owns the order of things. `kill -9` can come between reading bytes from a FIFO (gone from there)
and writing them to the log (not there yet), or in the middle of a write. So:

0. The page (a mapped file in the state root, which outlives everybody) says for which log, at
   which position of it, with which time.
1. `splice` moves the bytes into a staging pipe. The kernel moves whole buffers from pipe to pipe
   under both locks; the keeper holds the staging pipe too, so a dead shim does not lose it.
2. The page says how many; they are read from the staging pipe into the page's memory.
3. They are appended to the log, and the page is cleared.

A successor that finds the page filled cuts the log back to the position and writes it again with
the same time, so that a reader who already saw it sees the same bytes. Never in two threads; one
chunk is under way at a time.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import termios

from mobyshell.core.clock import Clock
from mobyshell.core.tasks.logs import LogWriter, encode

CHUNK = 64 << 10
_PAGE = 8192
_HEAD = struct.Struct("=II")
"""How many bytes are under way (0: none), and whether they are in the page's memory already."""
_WHERE = struct.Struct("=QQ6sH")
"""Position in the log, time, stream, length of the path; the path follows."""
_NONBLOCK = 0x02  # SPLICE_F_NONBLOCK


class Intake:
    """The one way of output into logs. `pipe` is the staging pipe (read end, write end)."""

    def __init__(self, path: str, pipe: tuple[int, int], clock: Clock) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.ftruncate(fd, _PAGE + CHUNK)
            self._page = mmap.mmap(fd, _PAGE + CHUNK)
        finally:
            os.close(fd)
        self._take_end, self._put_end = pipe
        self._clock = clock
        self._memory = memoryview(self._page)
        self._data = self._memory[_PAGE:]

    def take(self, fd: int, log: LogWriter, stream: str) -> int | None:
        """Move what `fd` (a FIFO, not blocking) has into `log`, at most a chunk.

        How many bytes were moved; 0 if there are none for now; None at the end of the stream.
        What a full disk does not take is dropped: the task goes on.
        """
        self._describe(log, stream)
        try:
            count = os.splice(fd, self._put_end, CHUNK, flags=_NONBLOCK)
        except BlockingIOError:
            return 0
        if count == 0:
            return None
        _HEAD.pack_into(self._page, 0, count, 0)
        os.readv(self._take_end, [self._data[:count]])
        _HEAD.pack_into(self._page, 0, count, 1)
        self._store(log, count)
        return count

    def _describe(self, log: LogWriter, stream: str) -> None:
        path = os.fsencode(log.directory)
        at = _HEAD.size + _WHERE.size
        _WHERE.pack_into(
            self._page, _HEAD.size, log.end, self._clock.now_ns(), stream.encode(), len(path)
        )
        self._page[at : at + len(path)] = path

    def _store(self, log: LogWriter, count: int) -> None:
        _, time_ns, stream, _ = _WHERE.unpack_from(self._page, _HEAD.size)
        try:
            log.append(encode(bytes(self._data[:count]), stream.rstrip(b"\0").decode(), time_ns))
        except OSError:
            pass  # no space left: the log has taken back what it had begun
        _HEAD.pack_into(self._page, 0, 0, 0)

    def recover(self, *, inherited: bool) -> None:
        """Finish what a dead shim had begun.

        `inherited`: the staging pipe is the one it used. With a new one (the keeper died too),
        a chunk that was still in the pipe, for some microseconds between 1 and 2, is lost.
        """
        count, filled = _HEAD.unpack_from(self._page, 0)
        position, _, _, length = _WHERE.unpack_from(self._page, _HEAD.size)
        waiting = struct.unpack("=i", fcntl.ioctl(self._take_end, termios.FIONREAD, b"\0" * 4))[0]
        if waiting:
            count = os.readv(self._take_end, [self._data])
        elif count and not filled and not inherited:
            count = 0
        at = _HEAD.size + _WHERE.size
        directory = os.fsdecode(bytes(self._page[at : at + length]))
        # the log may not have begun; but of a process that was deleted nothing is made anew
        if 0 < count <= CHUNK and os.path.isdir(os.path.dirname(directory)):
            log = LogWriter(directory)
            log.cut(position)
            self._store(log, count)
            log.close()
        _HEAD.pack_into(self._page, 0, 0, 0)

    def close(self) -> None:
        """Let go of the page (the pipe is its owner's)."""
        self._data.release()
        self._memory.release()
        self._page.close()

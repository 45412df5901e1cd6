"""Logs on disk: what a task wrote, with time and stream, in segments of bounded size.

Owns the format, the writer and the reader. A log is a directory of segments named by where they
begin in the log as a whole (20 digits), so a position is one number, rotation is the creation of
the next file, and a reader always knows whether it missed something. Lines are CRI's:

    2026-11-25T08:32:30.000000001Z stdout F text      F: a newline followed; P: none (yet)

P and F content strung together, with a newline after each F, is exactly what the task wrote,
whatever bytes it wrote. https://github.com/kubernetes/design-proposals-archive (kubelet-cri-logging)
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from mobyshell.core.tasks.service import LogLine

if TYPE_CHECKING:
    from collections.abc import Iterator

SEGMENT_BYTES = 8 << 20
SEGMENTS = 4


def segments(directory: str) -> list[int]:
    """The positions where the log's segments begin, oldest first; empty if there is no log."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if name.isdigit())


def segment_path(directory: str, start: int) -> str:
    return f"{directory}/{start:020d}"


def stamp(time_ns: int) -> bytes:
    """`time_ns` as RFC 3339 with nanoseconds, UTC; always 30 bytes."""
    seconds, nanos = divmod(time_ns, 1_000_000_000)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return b"%s.%09dZ" % (text.encode(), nanos)


def encode(data: bytes, stream: str, time_ns: int) -> bytes:
    """`data` as log lines, all with one time."""
    head = b"%s %s " % (stamp(time_ns), stream.encode())
    full = head + b"F "
    text = data.replace(b"\n", b"\n" + full)
    if data.endswith(b"\n"):
        return full + text[: len(text) - len(full)]
    start = text.rfind(b"\n") + 1
    if not start:
        return head + b"P " + text + b"\n"
    tail = text[start + len(full) :]
    return full + text[:start] + head + b"P " + tail + b"\n"


def decode(line: bytes) -> LogLine | None:
    """One line of a log (without its newline); None if it is damaged."""
    parts = line.split(b" ", 3)
    if len(parts) != 4:
        return None
    when = parse_stamp(parts[0])
    if when is None:
        return None
    return LogLine(when, parts[1].decode("latin-1"), parts[2] == b"P", parts[3])


def parse_stamp(text: bytes) -> int | None:
    """The time that `stamp` wrote."""
    if len(text) != 30 or text[29:] != b"Z" or not text[20:29].isdigit():
        return None
    try:
        year, month, day = int(text[:4]), int(text[5:7]), int(text[8:10])
        hour, minute, second = int(text[11:13]), int(text[14:16]), int(text[17:19])
    except ValueError:
        return None
    days = _days_since_epoch(year, month, day)
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000_000 + int(text[20:29])


def _days_since_epoch(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the proleptic Gregorian calendar (calendar and datetime cost ms)."""
    year -= month <= 2
    era, of_era = divmod(year, 400)
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


class LogWriter:
    """The shim's end. Appends whole lines; rotates; can be cut back to an earlier position.

    `fresh`: there is no log there yet, and there will be none before the first line.
    """

    def __init__(
        self, directory: str, *, segment_bytes: int = SEGMENT_BYTES, keep: int = SEGMENTS,
        fresh: bool = False,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._limit = segment_bytes
        self._keep = keep
        self._start = self._size = 0
        self._starts = [0]
        self._fd = -1
        self._fresh = fresh
        if not fresh:
            self._begin()

    def _begin(self) -> None:
        self._fresh = False
        os.makedirs(self._directory, 0o700, exist_ok=True)
        self._starts = segments(self._directory) or self._starts
        self._start = self._starts[-1]
        self._fd = self._open(self._start)
        self._size = os.fstat(self._fd).st_size

    @property
    def end(self) -> int:
        """The position after the last byte."""
        return self._start + self._size

    @property
    def directory(self) -> str:
        return self._directory

    def _open(self, start: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(segment_path(self._directory, start), flags, 0o600)

    def append(self, lines: bytes) -> None:
        """Write `lines` (complete ones), in a new segment if this one would grow past its size.

        OSError if the disk takes no more; then nothing of `lines` is kept.
        """
        if self._fresh:
            self._begin()
        before = self.end
        try:
            if self._size and self._size + len(lines) > self._limit:
                self._rotate()
            view = memoryview(lines)
            while view:
                written = os.write(self._fd, view)
                self._size += written
                view = view[written:]
        except OSError:
            self.cut(before)
            raise

    def _rotate(self) -> None:
        start = self.end
        fd = self._open(start)
        os.close(self._fd)
        self._fd, self._start, self._size = fd, start, 0
        self._starts.append(start)
        while len(self._starts) > self._keep:
            os.unlink(segment_path(self._directory, self._starts.pop(0)))

    def cut(self, position: int) -> None:
        """Forget what comes after `position`, as far as it is in the newest segment."""
        if self._fresh:
            return
        size = max(0, min(self._size, position - self._start))
        os.ftruncate(self._fd, size)
        self._size = size

    def close(self) -> None:
        """Close the log; what is written stays."""
        self._fresh = False
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class LogReader:
    """Anybody's end: reads from a position on, across rotations, never waits.

    `lost` counts bytes of the log (times and tags included) that were rotated away unread.
    """

    def __init__(self, directory: str, position: int = 0) -> None:
        self._directory = directory
        self._fd = -1
        self._start = 0
        self._stamp, self._time_ns = b"", 0
        self.position = position
        self.lost = 0

    def read(self, size: int = 64 << 10) -> list[LogLine]:
        """The next lines, about `size` bytes of them; empty when there are none for now."""
        while True:
            if self._fd < 0 and not self._enter():
                return []
            data = os.pread(self._fd, size, self.position - self._start)
            end = data.rfind(b"\n") + 1
            if end:
                self.position += end
                return self._decode(data[: end - 1])
            if len(data) == size:  # a line longer than asked for
                size *= 2
                continue
            self._stay_inside()
            if not self._newer():
                return []
            # complete now: nothing is appended to a segment once the next one exists
            rest = os.pread(self._fd, 1 << 20, self.position - self._start)
            if b"\n" not in rest:
                self.position += len(rest)
                self.close()

    def at_end(self) -> bool:
        """Whether everything that was written up to now has been read."""
        found = segments(self._directory)
        if not found or found[-1] > self.position:
            return not found
        try:
            size = os.stat(segment_path(self._directory, found[-1])).st_size
        except FileNotFoundError:
            return False
        return self.position >= found[-1] + size

    def _enter(self) -> bool:
        """Open the segment that holds `position`, or the oldest after it."""
        found = segments(self._directory)
        if not found:
            return False
        start = max((one for one in found if one <= self.position), default=found[0])
        try:
            self._fd = os.open(segment_path(self._directory, start), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # rotated away in this moment
            return self._enter()
        if start > self.position:
            self.lost += start - self.position
            self.position = start
        self._start = start
        size = os.fstat(self._fd).st_size
        if self.position > start + size and start != found[-1]:
            following = min(one for one in found if one > start)
            self.lost += max(0, following - self.position)
            self.position = max(self.position, following)
            self.close()
            return self._enter()
        return True

    def _stay_inside(self) -> None:
        """A full disk makes the writer take back what it had begun."""
        self.position = min(self.position, self._start + os.fstat(self._fd).st_size)

    def _newer(self) -> bool:
        return any(start > self._start for start in segments(self._directory))

    def _decode(self, data: bytes) -> list[LogLine]:
        lines = []
        for raw in data.split(b"\n"):
            when, _, rest = raw.partition(b" ")
            if when != self._stamp:
                found = parse_stamp(when)
                if found is None:
                    continue
                self._stamp, self._time_ns = when, found
            stream, _, rest = rest.partition(b" ")
            lines.append(
                LogLine(self._time_ns, stream.decode("latin-1"), rest[:1] == b"P", rest[2:])
            )
        return lines

    def align(self) -> None:
        """Move on to where a line begins."""
        if self.position and self._enter() and self.position > self._start:
            before = os.pread(self._fd, 1 << 20, self.position - self._start - 1)
            self.position += max(0, before.find(b"\n"))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def tail_position(directory: str, lines: int) -> int:
    """Where the last `lines` lines begin (a line in parts counts once). Reads no more than that."""
    found = segments(directory)
    wanted, at_end = lines, True
    position = found[-1] if found else 0
    for start in reversed(found):
        try:
            fd = os.open(segment_path(directory, start), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            break
        try:
            for begin, line in _backwards(fd):
                if at_end:
                    position = start + begin + len(line)
                if at_end or line.split(b" ", 3)[2:3] == [b"F"]:
                    if wanted == 0:
                        return position
                    wanted -= 1
                at_end = False
                position = start + begin
        finally:
            os.close(fd)
    return position


def _backwards(fd: int, block: int = 64 << 10) -> Iterator[tuple[int, bytes]]:
    """The complete lines of a file with the offsets where they begin, the last first."""
    at = os.fstat(fd).st_size
    data, end = b"", 0

    def earlier() -> None:
        nonlocal at, data, end, block
        size = min(block, at)
        at -= size
        data = os.pread(fd, size, at) + data[:end]
        end = len(data)
        block *= 2  # a line that is longer than a block

    while (found := data.rfind(b"\n", 0, end)) < 0 and at:
        earlier()
    end = found + 1
    while end:
        begin = data.rfind(b"\n", 0, end - 1) + 1
        if not begin and at:
            earlier()
            continue
        yield at + begin, data[begin:end]
        end = begin


def content(line: LogLine) -> bytes:
    """What the task wrote, of which `line` is the record."""
    return line.data if line.partial else line.data + b"\n"


class Joiner:
    """Makes lines whole that were logged in parts, a stream at a time; bounded."""

    MAX = 256 << 10

    def __init__(self) -> None:
        self._parts: dict[str, list[LogLine]] = {}

    def feed(self, lines: list[LogLine]) -> list[LogLine]:
        """The lines that are complete (or long enough to be shown as they are)."""
        whole = []
        for line in lines:
            parts = self._parts.get(line.stream)
            if parts is None:
                if not line.partial:
                    whole.append(line)
                    continue
                parts = self._parts[line.stream] = []
            parts.append(line)
            if not line.partial or sum(len(one.data) for one in parts) > self.MAX:
                del self._parts[line.stream]
                whole.append(_join(parts))
        return whole

    def rest(self) -> list[LogLine]:
        """What is not complete, when there is no more for now."""
        left = [_join(parts) for parts in self._parts.values()]
        self._parts.clear()
        return left


def _join(parts: list[LogLine]) -> LogLine:
    """One line of several; its time is when it began."""
    first, last = parts[0], parts[-1]
    data = b"".join(one.data for one in parts)
    return LogLine(first.time_ns, first.stream, last.partial, data)

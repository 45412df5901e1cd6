"""Reading a process's log from disk, to its end or as it grows.

Owns when to look again. Never asks the shim: who reads says when the process is over.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.inotify import Watch
from mobyshell.core.tasks.logs import Joiner, LogReader, tail_position

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobyshell.core.tasks.service import LogLine

_PAUSE = 0.5
"""Seconds after which a follower looks whether it is to end, though nothing was written."""
_GATHER = 0.01
"""Seconds in which what is written is gathered: a task that writes much makes no storm of reads."""


def read_log(
    directory: str, tail: int | None, *, follow: bool, over: Callable[[], bool],
    left: Callable[[], bool],
) -> Iterator[LogLine]:  # fmt: skip
    """The lines of the process whose files are in `directory`; of its past, the last `tail`.

    With `follow`, ends when the process is `over` and all was read, or the reader has `left`. Lines
    that were written in parts are whole again, as far as they are there.
    """
    logs = f"{directory}/logs"
    reader = LogReader(logs, tail_position(logs, tail) if tail is not None else 0)
    pause = _Pause(directory, logs) if follow else None
    try:
        ended, joiner = not follow, Joiner()
        while True:
            lines = reader.read()
            yield from joiner.feed(lines) if lines else joiner.rest()
            if lines:
                continue
            if ended or left():
                return
            ended = over()
            if not ended and pause is not None:
                pause.wait()
    finally:
        reader.close()
        if pause is not None:
            pause.close()


class _Pause:
    """A follower's pause until there is something to read, or something else has happened."""

    def __init__(self, *directories: str) -> None:
        self._directories = directories
        self._watch: Watch | None = None
        try:
            self._watch = Watch()
            self._add()
        except SyscallFailed:  # no watch is left for this user: look again and again
            self.close()

    def _add(self) -> None:
        for one in self._directories:
            if self._watch is not None:
                self._watch.add(one)

    def wait(self) -> None:
        if self._watch is None:
            time.sleep(_GATHER * 5)
        elif self._watch.wait(_PAUSE):
            time.sleep(_GATHER)
            self._add()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

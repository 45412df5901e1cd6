"""What the next process will need, made while nobody waits: a directory with its streams.

Owns one such directory in `.making`, which becomes a process's by a rename. It is not lost with a
shim that dies: its successor clears `.making` away before it begins.
"""

from __future__ import annotations

import os
import shutil

from mobyshell.core.clock import Clock
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.tasks.loop import Loop, Timer
from mobyshell.core.tasks.paths import LOGS, MAKING
from mobyshell.core.tasks.streams import Ends, Outputs, make_outputs, open_ends

_KEPT = 30.0
"""Seconds for which something is kept that nobody takes."""


class Stock:
    """At most one directory."""

    def __init__(self, state: str, loop: Loop, clock: Clock) -> None:
        self._state, self._loop, self._clock = state, loop, clock
        self._ready: tuple[str, Outputs, Ends] | None = None
        self._us = os.geteuid(), os.getegid()
        self._timer: Timer | None = None

    def take(self, *, terminal: bool, stdin: bool, owner: tuple[int, int]) -> tuple[str, Ends]:
        """A directory in `.making` with what `open_ends` makes, now the caller's. SyscallFailed or
        OSError."""
        outputs: Outputs | None = None
        if not (terminal or stdin) and (ready := self.take_ready(owner)) is not None:
            return ready
        if self._ready is not None and not terminal:
            (directory, outputs, _), self._ready = self._ready, None
        else:
            directory = self._directory()
        try:
            return directory, open_ends(
                directory, terminal=terminal, stdin=stdin, owner=owner, outputs=outputs
            )
        except OSError:
            shutil.rmtree(directory, ignore_errors=True)
            raise

    def take_ready(self, owner: tuple[int, int]) -> tuple[str, Ends] | None:
        """`take` what lies ready, for a process without a terminal and without input; None if nothing
        does."""
        if self._ready is None:
            return None
        (directory, _, ends), self._ready = self._ready, None
        if owner != self._us:
            ends.give(owner)
        return directory, ends

    def _directory(self) -> str:
        directory = f"{self._state}/{MAKING}/{self._clock.new_id()}"
        try:
            os.mkdir(directory, 0o700)
            os.mkdir(f"{directory}/{LOGS}", 0o700)
        except OSError as error:
            raise SyscallFailed.of(error, "mkdir", path=directory) from None
        return directory

    def fill(self) -> None:
        """Make the next one, if it is not there; who has just taken one may want another soon."""
        if self._ready is None:
            try:
                directory = self._directory()
                outputs = make_outputs(directory)
                self._ready = directory, outputs, outputs.ends()
            except (OSError, SyscallFailed):
                return  # whoever needs it will be told why
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(_KEPT, self.clear)

    def clear(self) -> None:
        """Have nothing."""
        if self._ready is not None:
            (directory, outputs, _), self._ready = self._ready, None
            outputs.close()
            shutil.rmtree(directory, ignore_errors=True)

"""What was deleted is removed a moment later: nobody waits for that.

Owns the places in `.making` where directories are put that nobody will look at again. They are not
lost: a successor clears `.making` away before it begins.
"""

from __future__ import annotations

import os
import shutil

from mobyshell.core.tasks.loop import Loop, Timer
from mobyshell.core.tasks.paths import MAKING

_MOMENT = 0.02
_MOST = 32


class Broom:
    """Sweeps when the loop has been left alone for a moment, or there is much to sweep."""

    def __init__(self, state: str, loop: Loop) -> None:
        self._state, self._loop = state, loop
        self._number = 0
        self._waiting: list[str] = []
        self._timer: Timer | None = None

    def place(self) -> str:
        """A name in `.making`; what is renamed to it at once will be removed."""
        if len(self._waiting) >= _MOST:
            self.sweep()
        self._number += 1
        path = f"{self._state}/{MAKING}/gone-{os.getpid()}-{self._number}"
        self._waiting.append(path)
        if self._timer is None:
            self._timer = self._loop.call_later(_MOMENT, self.sweep)
        return path

    def sweep(self) -> None:
        """Remove everything now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for path in waiting:
            shutil.rmtree(path, ignore_errors=True)

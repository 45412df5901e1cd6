"""Descriptors kept free for taking everything back, should the limit be reached meanwhile."""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import SyscallFailed

_NUMBER = 8


class Spare:
    """Some descriptors that are open for nothing: taken before a container is made, and given back
    at its end, or before it is undone. `later` calls back after a while: until then they are kept
    for the next container."""

    def __init__(self, later: Callable[[Callable[[], None]], object] | None = None) -> None:
        self._later, self._called = later, False
        self._open: list[int] = []

    def take(self) -> None:
        """Have all of them. SyscallFailed if there are not so many."""
        try:
            while len(self._open) < _NUMBER:
                self._open.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
        except OSError as error:
            self.free()
            raise SyscallFailed.of(error, "open", path="/") from None

    def done(self) -> None:
        """All went well."""
        if self._later is None:
            self.free()
        elif not self._called:
            self._called = True
            self._later(self._after_a_while)

    def _after_a_while(self) -> None:
        self._called = False
        self.free()

    def free(self) -> None:
        """Now they are needed."""
        while self._open:
            os.close(self._open.pop())

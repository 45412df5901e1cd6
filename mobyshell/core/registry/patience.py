"""Trying again: how often, and after how long."""

from __future__ import annotations

import random
import time
from email.utils import mktime_tz, parsedate_tz

from mobyshell.core.errors import MobyshellError
from mobyshell.core.registry.progress import Progress, Retrying
from mobyshell.core.registry.stop import Stop
from mobyshell.core.registry.transport import NoSuchHost
from mobyshell.core.registry.values import Limits


class Patience:
    """The tries that one piece of work has. `spend` one, and wait; the last error is raised."""

    def __init__(
        self, limits: Limits, stop: Stop, progress: Progress, what: str, *, patient: bool = True
    ) -> None:
        self._limits, self._stop, self._progress, self._what = limits, stop, progress, what
        self._left = limits.attempts if patient else 1
        self._spent = 0

    def spend(self, error: MobyshellError, pause: float | None = None) -> None:
        """That try failed. Wait `pause` seconds, or longer each time; raise it if it was the last.

        A server that wants us to wait longer than we ever do has said no, as has a name without a host.
        """
        self._left -= 1
        self._spent += 1
        final = isinstance(error, NoSuchHost) or (pause or 0) > self._limits.longest_backoff
        if self._left <= 0 or final:
            raise error
        seconds = self._limits.backoff * 2 ** (self._spent - 1) * random.uniform(0.75, 1.25)
        seconds = min(max(seconds, pause or 0), self._limits.longest_backoff)
        self._progress(Retrying(self._what, self._spent, seconds, error.message))
        self._stop.sleep(seconds)

    def refresh(self) -> None:
        """The last try brought enough: count anew."""
        self._left, self._spent = self._limits.attempts, 0


def pause_of(value: str) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3); None where it says nothing."""
    if value.isascii() and value.isdecimal() and len(value) < 10:
        return float(value)
    moment = parsedate_tz(value[:64]) if value else None
    if moment is None:
        return None
    try:
        return max(0.0, mktime_tz(moment) - time.time())
    except (OverflowError, ValueError):
        return None

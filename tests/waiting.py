"""How tests wait: for a condition, with a limit that only a fault reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    what: Callable[[], T], seconds: float = 90, *, seen: Callable[[], str] = lambda: "it is not so"
) -> T:
    """What `what` answers, as soon as that is true; `seen` says what there was instead."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not within {seconds:g} s: {seen()}"
        time.sleep(0.02)
    return found

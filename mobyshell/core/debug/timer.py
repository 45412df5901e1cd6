"""Sampling a process without threads: a timer's signal, and a handler that only reads frames.

setitimer(2): ITIMER_PROF runs while the process uses a processor, ITIMER_REAL always. Children do
not inherit a timer, and a handled signal is the default again in what they execute. A process that
does nothing is not disturbed: no processor time, no signal.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Generator
from types import FrameType

from mobyshell.core.debug.request import Request
from mobyshell.core.debug.values import MOST_STACKS, Codes, Profile, codes_of, stacks_of

_MAIN = "main"


def sample(request: Request) -> Generator[float, None, Profile]:
    """Watch this process for `request.seconds`. In its only thread, one at a time."""
    if request.clock == "cpu":
        timer, number, clock = signal.ITIMER_PROF, signal.SIGPROF, time.process_time_ns
    else:
        timer, number, clock = signal.ITIMER_REAL, signal.SIGALRM, time.monotonic_ns
    times: Counter[Codes] = Counter()
    seen = [clock(), 0, 0]  # when, how often, the time of what is dropped

    def rang(number: int, frame: FrameType | None) -> None:
        at = clock()
        codes = codes_of(frame)
        # by the clock, not by the ring: several rings during one call into C are one
        if codes in times or len(times) < MOST_STACKS:
            times[codes] += at - seen[0]
        else:
            seen[2] += at - seen[0]
        seen[0], seen[1] = at, seen[1] + 1

    before = signal.signal(number, rang)
    signal.siginterrupt(number, False)
    begun = time.monotonic()
    signal.setitimer(timer, 1 / request.hertz, 1 / request.hertz)
    try:
        yield request.seconds
    finally:
        signal.setitimer(timer, 0)
        signal.signal(number, before or signal.SIG_DFL)
    stacks = stacks_of({(_MAIN, codes): ns for codes, ns in times.items()})
    return Profile(request.clock, time.monotonic() - begun, seen[1], stacks, seen[2])

"""pause and resume: freeze a container, and let it run again."""

from __future__ import annotations

from mobyshell.core.events import discard
from mobyshell.core.runtime.pause import pause, resume
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call


def run(call: Call) -> int:
    """`pause` or `resume`."""
    verb = pause if call.command == "pause" else resume
    steps(verb(call.root(), call.id, sink=discard))
    return 0

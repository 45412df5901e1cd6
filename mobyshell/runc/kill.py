"""kill: a signal to a container's init."""

from __future__ import annotations

import signal

from mobyshell.core.events import discard
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import kill
from mobyshell.core.runtime.steps import run as steps
from mobyshell.core.runtime.values import Status
from mobyshell.runc.call import Call, Failure

_LAST = 64
"""SIGRTMAX, signal(7)."""


def run(call: Call) -> int:
    """`kill`."""
    words, root = call.flags.words, call.root()
    number = parse_signal((words[1] if len(words) > 1 else "") or "SIGTERM")
    if not 0 <= number <= _LAST:
        state = states.read(root, call.id)
        stopped = states.status(root, state) is Status.STOPPED
        raise Failure("container not running" if stopped
                      else "unable to signal init: invalid argument")  # fmt: skip
    everybody = call.flags.on("all")
    if number == signal.SIGKILL and "pid" not in states.read(root, call.id).namespaces:
        # there is no process 1 of their own, whose death would take the others along
        everybody = True
    steps(kill(root, call.id, number, all_processes=everybody, sink=discard))
    return 0


def parse_signal(word: str) -> int:
    """A number, whether there is such a signal or not, or a name in any case with or without SIG. Failure
    for other words."""
    try:
        number = int(word)
    except ValueError:
        name = word.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        found = signal.Signals.__members__.get(name)
        if found is None:
            raise Failure(f'unknown signal "{word}"') from None
        return int(found)
    return number

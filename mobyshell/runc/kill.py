"""kill: a signal to a container's init."""

from __future__ import annotations

import signal

from mobyshell.core.events import discard
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import kill
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call, Failure


def run(call: Call) -> int:
    """`kill`."""
    words, root = call.flags.words, call.root()
    number = parse_signal(words[1] if len(words) > 1 else "SIGTERM")
    everybody = call.flags.on("all")
    if number == signal.SIGKILL and "pid" not in states.read(root, call.id).namespaces:
        # there is no process 1 of their own, whose death would take the others along
        everybody = True
    steps(kill(root, call.id, number, all_processes=everybody, sink=discard))
    return 0


def parse_signal(word: str) -> int:
    """A number, or a name in any case with or without SIG. Failure if it is none."""
    try:
        number = int(word)
    except ValueError:
        name = word.upper()
        name = name if name.startswith("SIG") else f"SIG{name}"
        found = signal.Signals.__members__.get(name)
        if found is None:
            raise Failure(f'unknown signal "{word}"') from None
        return int(found)
    if not 0 <= number <= 64:
        raise Failure(f'unknown signal "{word}"')
    return number

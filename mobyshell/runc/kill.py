"""kill: a signal to a container's init."""

from __future__ import annotations

import signal

from mobyshell.core.runtime.kill import kill
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc.call import Call, Failure


def run(call: Call) -> int:
    """`kill`."""
    from mobyshell.core.events import discard

    words = call.flags.words
    number = parse_signal(words[1] if len(words) > 1 else "SIGTERM")
    steps(
        kill(call.root(), call.id, number, all_processes=call.flags.on("all"), sink=discard)
    )  # fmt: skip
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

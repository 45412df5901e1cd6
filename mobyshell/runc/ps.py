"""ps: the processes of a container, by the host's numbers."""

from __future__ import annotations

import json
import subprocess
import sys

from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.kill import members
from mobyshell.runc.call import Call, Failure


def run(call: Call) -> int:
    """`ps`."""
    form = call.flags.text("format", "table")
    if form not in ("table", "json"):
        raise Failure("invalid format option")
    state = states.read(call.root(), call.id)
    pids = members(state)
    if form == "json":
        sys.stdout.write(json.dumps(pids or None, separators=(",", ":")) + "\n")
        return 0
    sys.stdout.write(_chosen(call.flags.words[1:] or ["-ef"], set(pids)))
    return 0


def _chosen(options: list[str], pids: set[int]) -> str:
    """The lines of the machine's own ps(1) for these processes."""
    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Failure('exec: "ps": executable file not found in $PATH') from None
    if done.returncode != 0:
        raise Failure(
            f"{done.stderr.strip() or done.stdout.strip()}: exit status {done.returncode}"
        )
    lines = done.stdout.splitlines()
    if not lines or "PID" not in lines[0].split():
        raise Failure("couldn't find PID field in ps output")
    column = lines[0].split().index("PID")
    kept = [lines[0]]
    for line in lines[1:]:
        words = line.split()
        if len(words) > column and words[column].isdecimal() and int(words[column]) in pids:
            kept.append(line)
    return "".join(f"{line}\n" for line in kept)

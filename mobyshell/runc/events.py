"""events: what the cgroups of a container count, and that it ran out of memory."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path
from typing import Any

from mobyshell.core.errors import NotFound
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.linux import resctrl
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Status
from mobyshell.runc import classes
from mobyshell.runc.call import Call, Failure
from mobyshell.runc.counters import counted, oom_kills

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


def run(call: Call) -> int:
    """`events`."""
    flags = call.flags
    interval = duration(flags.text("interval", "5s"))
    if interval <= 0:
        raise Failure("duration interval must be greater than 0")
    root = call.root()
    state = states.read(root, call.id)
    if states.status(root, state) is Status.STOPPED:
        raise Failure(f"container with id {call.id} is not running")
    if flags.on("stats"):
        _say(state, "stats", _counted(root, state))
        return 0
    _follow(root, state, interval)
    return 0


def _counted(root: Path, state: State) -> dict[str, Any]:
    there = resctrl.detect()
    return {**counted(state.cgroups), "intel_rdt": classes.counted(root, state.id, there)}


def _follow(root: Path, state: State, interval: float) -> None:
    """Counters at once and then every `interval` seconds; each kill for want of memory."""
    try:
        init = pidfds.open_verified(state.pid, state.pid_start)
    except NotFound:
        return
    poller = select.poll()
    poller.register(init, select.POLLIN)
    killed = oom_kills(state.cgroups)
    due = time.monotonic() + interval
    try:
        while True:
            # neither hierarchy tells through one kind of descriptor: looked at ten times a second
            ended = poller.poll(max(0, min(100, int((due - time.monotonic()) * 1000))))
            now = oom_kills(state.cgroups)
            if now > killed:
                killed = now
                _say(state, "oom", None)
            if ended:
                return
            if time.monotonic() >= due:
                due += interval
                _say(state, "stats", _counted(root, state))
    finally:
        os.close(init)


def _say(state: State, kind: str, data: object) -> None:
    document: dict[str, object] = {"type": kind, "id": state.id}
    if data is not None:
        document["data"] = data
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def duration(word: str) -> float:
    """Seconds in Go's writing: 5s, 1m30s, 200ms. Failure if it is none."""
    rest, total = word if word != "0" else "", 0.0
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(digits) :]
        unit = rest[: len(rest) - len(rest.lstrip("hmsuµn"))]
        rest = rest[len(unit) :]
        try:
            total += float(digits) * _UNITS[unit]
        except (ValueError, KeyError):
            raise Failure(f'invalid value "{word}" for flag -interval: parse error') from None
    return total

"""What happened, from the recorded events: one row a kernel call."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mobyshell.core.events import CallDone, Event, HookDone


def call_rows(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The calls and hooks in `events`, as the values of rows; `ns` is the time inside the call."""
    rows: list[dict[str, Any]] = []
    for event in events:
        one = event.payload
        if isinstance(one, CallDone):
            rows.append(
                {
                    "time_ns": event.time_ns, "operation": one.operation + 1, "actor": one.actor,
                    "title": one.title, "call": f"{one.name}({', '.join(one.args)})",
                    "result": one.errno or str(one.result), "errno": one.errno,
                    "ns": one.duration_ns, "man": one.man, "spec": one.spec,
                }
            )  # fmt: skip
        elif isinstance(one, HookDone):
            words = " ".join(one.args) or one.path
            rows.append(
                {
                    "time_ns": event.time_ns, "operation": None, "actor": "hook",
                    "title": f"{one.kind} hook", "call": words,
                    "result": str(one.exit_status),
                    "errno": "" if one.exit_status == 0 else str(one.exit_status),
                    "ns": one.duration_ns, "man": "", "spec": "config.md#posix-platform-hooks",
                }
            )  # fmt: skip
    return rows

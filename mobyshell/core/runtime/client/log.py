"""What a runtime says of its failures: its JSON log, its standard error; and the error it means.

Owns the reading of log lines and the one table from runtimes' words to the project's errors. The
words are those that containerd and podman match, too; see `docs/engines.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    RuntimeFailed,
    Unsupported,
    WrongState,
)

_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A line of a runtime's log. `time` as RFC 3339."""

    level: str
    message: str
    time: str = ""


_MEANINGS: tuple[tuple[type[MobyshellError], tuple[str, ...]], ...] = (
    (AlreadyExists, ("already exists",)),
    (WrongState, (
        "not running", "not paused", "is not stopped", "has stopped", "stopped container",
        "already running", "paused container", "already finished", "no such process",
        "is paused", "already paused", "is stopped", "in state stopped", "/exec.fifo`: no such file",
        "is not in `created` or `stopped` state",
    )),
    (NotFound, ("does not exist", "/status`: no such file", "cannot open directory")),
    (Unsupported, (
        "no help topic for", "unknown command", "criu", "unknown option", "unrecognized option",
        "flag provided but not defined",
    )),
)  # fmt: skip


def parse(data: bytes) -> list[LogEntry]:
    """The entries of a JSON log; a line that is none becomes an entry of level `unknown`."""
    entries = []
    for line in data.decode(errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            document = json.loads(line)
            entries.append(
                LogEntry(
                    str(document["level"]), str(document["msg"]), str(document.get("time", ""))
                )
            )
        except (ValueError, KeyError, TypeError):
            entries.append(LogEntry("unknown", line[:_LONGEST]))
    return entries


def last_error(entries: list[LogEntry]) -> str:
    """The message of the last entry of level error (or worse), which is why it failed; or empty."""
    for entry in reversed(entries):
        if entry.level in ("error", "fatal", "panic"):
            return entry.message
    return ""


def failure(
    runtime: str, command: str, status: int, entries: list[LogEntry], stderr: bytes
) -> MobyshellError:
    """The error of a call that ended with `status`: NotFound, AlreadyExists, WrongState or
    Unsupported by the words of the last error, else RuntimeFailed."""
    said = stderr.decode(errors="replace").strip()
    message = last_error(entries) or (said.splitlines()[-1] if said else "")
    text = message[:_LONGEST] or f"it ended with status {status} and said nothing"
    whole = f"{runtime} {command}: {text}"
    lowered = message.lower()
    for kind, marks in _MEANINGS:
        if any(mark in lowered for mark in marks):
            return kind(whole)
    return RuntimeFailed(
        whole, runtime=runtime, command=command, exit_status=status, said=message[:_LONGEST]
    )

"""What happened, from the recorded events: kept in a file, read back, one row a kernel call.

Owns the file's form (one JSON object a line) for whoever has no shim to write it, and the reading,
which copes with what a killed writer leaves: a last line that is cut off, lines of a later version.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from mobyshell.core.clock import Clock
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import CallDone, Event, HookDone, Payload
from mobyshell.core.runtime.small_files import read_small

LARGEST = 4 << 20
"""Bytes of a trace; past it no more kernel calls are added, only what is about the container."""
CALLS = "/runtime/calls"
"""The topic of a line that has all calls of a run, as numbers (`lines.Run.data`)."""


def form_path(directory: str, name: str) -> str:
    """Where the form `name` is, with which numbers in a trace of `directory` are read."""
    return f"{directory}/form-{name}"


class EventFile:
    """A sink that appends to `path`: what came in between two `flush`es is one write(2).

    Emitting never raises: a full disk costs the trace, not the container. Use as a context
    manager, or call `close`.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, clock: Clock, namespace: str = "",
        limit: int = LARGEST,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._namespace = namespace
        self._limit = limit
        self._waiting: list[Event] = []
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=os.fspath(path)) from None

    def __call__(self, id: str, payload: Payload, /) -> None:
        """Take an event."""
        self._waiting.append(Event(self._clock.now_ns(), self._namespace, id, payload))

    def flush(self) -> None:
        """Write what waits."""
        events, self._waiting = self._waiting, []
        if os.fstat(self._fd).st_size > self._limit:
            events = [one for one in events if not isinstance(one.payload, CallDone)]
        if not events:
            return
        lines = [json.dumps(one.to_json(), separators=(",", ":")) + "\n" for one in events]
        try:
            os.write(self._fd, "".join(lines).encode(errors="surrogateescape"))
        except OSError:
            pass  # no space left

    def close(self) -> None:
        """Write what waits, and close the file."""
        try:
            self.flush()
        finally:
            os.close(self._fd)

    def __enter__(self) -> EventFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_events(path: str | os.PathLike[str], *, limit: int = 4 * LARGEST) -> list[Event]:
    """The events in a file, at most the first `limit` bytes; none if it is not there.

    Lines that are cut off, foreign or of a later version are passed over.
    """
    try:
        with open(path, "rb") as file:
            lines = file.read(limit).split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise SyscallFailed.of(error, "read", path=os.fspath(path)) from None
    found, forms = [], _Forms(os.path.dirname(os.fspath(path)))
    for line in lines:
        try:
            document = json.loads(line)
            events = forms.calls(document) if document["topic"] == CALLS else [document]
            for one in events:
                event = Event.from_json(one)
                if type(event.time_ns) is int and isinstance(event.id, str):
                    found.append(event)
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
    return found


class _Forms:
    """The forms beside a trace, read when they are first needed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._known: dict[str, bytes] = {}

    def calls(self, document: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of calls that were recorded as numbers. ValueError where their form is lost."""
        data, name = document["data"], document["data"]["form"]
        if not isinstance(name, str) or not name.isalnum():
            raise ValueError("not the name of a form")
        if name not in self._known:
            try:
                self._known[name] = read_small(Path(self._directory), f"form-{name}")
            except OSError as error:
                raise ValueError("its form is lost") from error
        from mobyshell.core.runtime.lines import read

        for line in read(self._known[name], data, document["id"]):
            yield document | {"topic": CallDone.topic, "data": json.loads(line)}


def call_rows(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The calls and hooks in `events`, as the values of rows; `ns` is the time inside the call."""
    rows: list[dict[str, Any]] = []
    for event in events:
        one = event.payload
        if isinstance(one, CallDone):
            rows.append(
                {
                    "time_ns": event.time_ns, "operation": one.operation + 1, "actor": one.actor,
                    "phase": one.phase, "title": one.title,
                    "call": f"{one.name}({', '.join(one.args)})",
                    "result": one.errno or str(one.result), "errno": one.errno,
                    "ns": one.duration_ns, "man": one.man, "spec": one.spec,
                }
            )  # fmt: skip
        elif isinstance(one, HookDone):
            words = " ".join(one.args) or one.path
            rows.append(
                {
                    "time_ns": event.time_ns, "operation": None, "actor": "hook",
                    "phase": one.kind, "title": f"{one.kind} hook", "call": words,
                    "result": str(one.exit_status),
                    "errno": "" if one.exit_status == 0 else str(one.exit_status),
                    "ns": one.duration_ns, "man": "", "spec": "config.md#posix-platform-hooks",
                }
            )  # fmt: skip
    return rows

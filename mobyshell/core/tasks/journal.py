"""Events on their way: to the task's trace, to the namespace's recent events, to who listens.

Owns the order and the bounds. An event costs its sender an append to a list; it is written and
sent a moment later, in one piece per file: nobody waits for it, but `flush` when a reader asks.
Kernel calls are in the trace only and with listeners who keep up; the recent events of a
namespace are about tasks.
"""

from __future__ import annotations

import json
import os
from itertools import islice, takewhile
from typing import Protocol

from mobyshell.core.clock import Clock
from mobyshell.core.errors import UsageError
from mobyshell.core.events import Event, EventSink, Payload
from mobyshell.core.runtime.lines import Run
from mobyshell.core.runtime.trace import CALLS
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.forms import Forms
from mobyshell.core.tasks.loop import Loop
from mobyshell.core.tasks.paths import EVENTS, PENDING, check_name, container_dir
from mobyshell.core.tasks.pending import Pending, missing
from mobyshell.core.values import value

RECENT_BYTES = 256 << 10
"""Per namespace, in `events.jsonl`; as much again in `events.jsonl.1`."""
TRACE_BYTES = 4 << 20
"""Per task; past it only what is about the task is added, no more kernel calls."""
LISTENER_BYTES = 1 << 20
EVERYWHERE = ""
"""What a listener listens to who listens to all namespaces."""
_CALL_TOPICS = "/runtime/call"
_SOME = 8
"""Events of the runtime's, of which some are a program's calls."""
_MOMENT = 0.1
"""Seconds until events are written, where nobody listens. Of kernel calls, a shim that is killed loses
as much; all others are `pending` until then."""


class Listener(Protocol):
    """A client that wants events."""

    @property
    def backlog(self) -> int: ...

    def send(self, data: bytes) -> None: ...


@value
class _Promise:
    """Kernel calls that are not written out yet."""

    time_ns: int
    namespace: str
    id: str
    run: Run


@value
class _Line:
    """One event as it will be written, or several. `call`: it is about a kernel call."""

    namespace: str
    id: str
    text: str
    call: bool


class _Sink:
    """What the runtime of a namespace puts its events into."""

    def __init__(self, journal: Journal, namespace: str) -> None:
        self._journal, self._namespace = journal, namespace

    def __call__(self, id: str, payload: Payload, /) -> None:
        self._journal.emit(self._namespace, id, payload)

    def later(self, id: str, run: Run) -> None:
        """Take kernel calls that need not be written out now."""
        self._journal.emit_later(self._namespace, id, run)


class Journal:
    """Where the shim and the runtimes put their events."""

    def __init__(self, state: str, loop: Loop, clock: Clock) -> None:
        self._state = state
        self._loop = loop
        self._clock = clock
        self._waiting: list[_Line | _Promise] = []
        self._pending = Pending(f"{state}/{PENDING}")
        self._forms = Forms(state)
        self._making: dict[tuple[str, str], list[_Line]] = {}
        self.listeners: dict[Listener, str] = {}
        """Who listens, and to which namespace; or EVERYWHERE."""

    def sink(self, namespace: str) -> EventSink:
        """The sink for the runtime of `namespace`."""
        return _Sink(self, namespace)

    def emit(self, namespace: str, id: str, payload: Payload) -> None:
        """Take an event; it is written and sent in a moment."""
        self._wake()
        text = encode(Event(self._clock.now_ns(), namespace, id, payload))
        call = payload.topic == _CALL_TOPICS
        if not (call or self._pending.add(text)):
            self._loop.call_soon(self.flush)
        self._waiting.append(_Line(namespace, id, text, call))

    def emit_later(self, namespace: str, id: str, run: Run) -> None:
        """Take kernel calls that are only written out when they are written or sent."""
        self._wake()
        self._waiting.append(_Promise(self._clock.now_ns(), namespace, id, run))

    def _wake(self) -> None:
        if not self._waiting:
            if self.listeners:
                self._loop.call_soon(self.flush)
            else:
                self._loop.call_later(_MOMENT, self.flush)

    def _made(self, waiting: list[_Line | _Promise]) -> list[_Line]:
        """The events that wait. The calls of a task that is gone already are not worth it, nor those
        that its trace has no room for."""
        found: list[_Line] = []
        wanted: dict[tuple[str, str], bool] = {}
        for one in waiting:
            namespace, id = one.namespace, one.id
            if isinstance(one, _Line):
                found.append(one)
                continue
            if (namespace, id) not in wanted:
                wanted[namespace, id] = bool(self.listeners) or self._wanted(namespace, id)
            if wanted[namespace, id]:
                head = _head(one.time_ns, namespace, _CALL_TOPICS, id)
                kept = None if self.listeners else self._forms.keep(namespace, id, one.run)
                if kept is not None:  # they only go into one file
                    head = _head(one.time_ns, namespace, CALLS, id)
                    found.append(_Line(namespace, id, f"{head}{kept}}}", True))
                else:
                    lines = one.run.lines()
                    found += [_Line(namespace, id, f"{head}{it}}}", True) for it in lines]
        return found

    def _wanted(self, namespace: str, id: str) -> bool:
        if (namespace, id) in self._making:
            return True
        directory = container_dir(self._state, namespace, id)
        try:
            return os.stat(f"{directory}/{EVENTS}").st_size <= TRACE_BYTES
        except OSError:
            return os.path.isdir(directory)

    def begin(self, namespace: str, id: str) -> None:
        """`id` is being made: keep its trace until it has a directory."""
        self._making[namespace, id] = []

    def made(self, namespace: str, id: str, *, kept: bool) -> None:
        """`id` has a directory now, or will never have one."""
        events = self._making.pop((namespace, id), [])
        if kept and events:
            self._trace(namespace, id, events)

    def flush_some(self) -> None:
        """Write about as much as one container makes: for moments in which nobody waits for us."""
        if not self.listeners:
            # not of a task that is being made: it may be gone when its turn comes
            made = takewhile(lambda one: (one.namespace, one.id) not in self._making, self._waiting)
            self._put(list(islice(made, _SOME)))

    def flush(self) -> None:
        """Write and send what waits."""
        self._put(self._waiting)

    def _put(self, waiting: list[_Line | _Promise]) -> None:
        self._waiting = self._waiting[len(waiting) :]
        tasks: dict[tuple[str, str], list[_Line]] = {}
        recent: dict[str, list[_Line]] = {}
        for line in self._made(waiting):
            tasks.setdefault((line.namespace, line.id), []).append(line)
            if not line.call:
                recent.setdefault(line.namespace, []).append(line)
            if self.listeners:
                self._tell(line)
        for (namespace, id), group in tasks.items():
            if (namespace, id) in self._making:
                self._making[namespace, id] += group
            else:
                self._trace(namespace, id, group)
        for namespace, group in recent.items():
            self._keep_recent(namespace, group)
        if not self._waiting:
            self._pending.clear()

    def close(self) -> None:
        """Write what waits, and leave nothing that only a shim needs."""
        self.flush()
        self._forms.clear()

    def recover(self) -> None:
        """Write what a predecessor had not written when it died."""
        self._forms.clear()
        tasks: dict[tuple[str, str], list[str]] = {}
        recent: dict[str, list[str]] = {}
        for text in self._pending.lines():
            try:
                document = json.loads(text)
                namespace, id = check_name(document["namespace"], "namespace"), document["id"]
                tasks.setdefault((namespace, check_name(id)), []).append(text)
            except (ValueError, KeyError, TypeError, UsageError):
                continue  # nobody can read it
            recent.setdefault(namespace, []).append(text)
        for (namespace, id), texts in tasks.items():
            path = f"{container_dir(self._state, namespace, id)}/{EVENTS}"
            _append(path, [_Line(namespace, id, one, False) for one in missing(path, texts)])
        for namespace, texts in recent.items():
            path = f"{self._state}/{namespace}/{EVENTS}"
            left = missing(f"{path}.1", missing(path, texts))
            self._keep_recent(namespace, [_Line(namespace, "", one, False) for one in left])
        self._pending.clear()

    def _tell(self, line: _Line) -> None:
        limit = LISTENER_BYTES // 2 if line.call else LISTENER_BYTES
        data = b""
        for listener, namespace in tuple(self.listeners.items()):
            if namespace in (line.namespace, EVERYWHERE) and listener.backlog < limit:
                data = data or wire.frame(wire.MESSAGE, f'{{"event":{line.text}}}'.encode())
                listener.send(data)

    def _trace(self, namespace: str, id: str, lines: list[_Line]) -> None:
        directory = container_dir(self._state, namespace, id)
        path = f"{directory}/{EVENTS}"
        try:
            full = os.stat(path).st_size > TRACE_BYTES
        except OSError:
            full = False
        _append(path, [one for one in lines if not (full and one.call)])

    def _keep_recent(self, namespace: str, lines: list[_Line]) -> None:
        path = f"{self._state}/{namespace}/{EVENTS}"
        try:
            if os.stat(path).st_size > RECENT_BYTES:
                os.rename(path, f"{path}.1")
        except OSError:
            pass  # the first one
        _append(path, lines)


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode(event: Event) -> str:
    """The JSON of `Event.to_json`, without copying what is inside."""
    payload = event.payload
    names: tuple[str, ...] = payload.__match_args__
    data = _encode({name: getattr(payload, name) for name in names})
    return f"{_head(event.time_ns, event.namespace, payload.topic, event.id)}{data}}}"


def _head(time_ns: int, namespace: str, topic: str, id: str) -> str:
    """An event's JSON up to its data."""
    names = f'"namespace":{_encode(namespace)},"topic":"{topic}","id":{_encode(id)}'
    return f'{{"time_ns":{time_ns},{names},"data":'


def _append(path: str, lines: list[_Line]) -> None:
    """Add a line each; nothing where there is no directory (any more) or no space."""
    if not lines:
        return
    data = "\n".join([*[line.text for line in lines], ""]).encode()
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.write(fd, data)
    except OSError:
        pass  # no space left
    finally:
        os.close(fd)

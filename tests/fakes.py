"""Tasks in memory, for tests whose subject is the screen."""

from __future__ import annotations

import queue
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

from mobyshell.core.clock import ManualClock
from mobyshell.core.errors import NotFound, WrongState
from mobyshell.core.events import CallDone, Event, TaskExited, TaskStarted
from mobyshell.core.tasks.service import (
    Difference,
    ExecInfo,
    LogLine,
    ProcessInfo,
    Stats,
    Status,
    TaskInfo,
)  # fmt: skip

SECOND = 1_000_000_000


class FakeAttachment:
    """A terminal that says what it is told to, and remembers what it gets."""

    def __init__(self, greeting: bytes = b"") -> None:
        self._ours, self._theirs = socket.socketpair()
        self.written = bytearray()
        self.sizes: list[tuple[int, int]] = []
        if greeting:
            self.say(greeting)

    def say(self, data: bytes) -> None:
        self._theirs.sendall(data)

    def end(self) -> None:
        self._theirs.shutdown(socket.SHUT_WR)

    def fileno(self) -> int:
        return self._ours.fileno()

    @property
    def pending(self) -> bool:
        return False

    def read(self) -> tuple[str, bytes] | None:
        data = self._ours.recv(65536)
        return ("stdout", data) if data else None

    def write(self, data: bytes) -> None:
        self.written += data

    def close_stdin(self) -> None:
        self.written += b"<eof>"

    def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    def close(self) -> None:
        for one in (self._ours, self._theirs):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            one.close()


class FakeTasks:
    """A `Tasks` without a kernel. `calls` remembers what was asked for."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.tasks: dict[str, TaskInfo] = {}
        self.lines: dict[str, list[LogLine]] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.attachment = FakeAttachment(b"/ # ")
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._closed = False

    def add(self, id: str, status: Status = Status.RUNNING, **more: Any) -> TaskInfo:
        """A task that is there."""
        now = self.clock.now_ns()
        number = len(self.tasks) + 1
        info = TaskInfo(
            id=id, namespace="default", status=status,
            pid=0 if status is Status.STOPPED else 1000 + number, bundle=f"/srv/bundles/{id}",
            created_ns=now - 100 * SECOND, started_ns=now - 90 * SECOND,
            exited_ns=now - 10 * SECOND if status is Status.STOPPED else 0,
            args=("sleep", str(number)),
        )  # fmt: skip
        self.tasks[id] = info = replace(info, **more)
        self.lines.setdefault(
            id,
            [
                LogLine(now - (5 - i) * SECOND, "stdout", False, f"{id} line {i}".encode())
                for i in range(3)
            ],
        )
        return info

    def happen(self, id: str, payload: Any) -> None:
        self._events.put(Event(self.clock.now_ns(), "default", id, payload))

    def close(self) -> None:
        self._closed = True
        self._events.put(None)
        self.attachment.close()

    def _set(self, id: str, **changes: Any) -> TaskInfo:
        self.tasks[id] = replace(self.get(id), **changes)
        return self.tasks[id]

    def create(
        self,
        id: str,
        bundle: str = "",
        *,
        args: Sequence[str] | None = None,
        terminal: bool | None = None,
        **more: Any,
    ) -> TaskInfo:
        self.calls.append(("create", id, bundle, args, terminal))
        return self.add(id, Status.CREATED, bundle=bundle)

    def runner(self) -> AbstractContextManager[None]:
        """As a shim that has none."""
        return nullcontext()

    def start(self, id: str) -> TaskInfo:
        self.calls.append(("start", id))
        info = self._set(id, status=Status.RUNNING)
        self.happen(id, TaskStarted(pid=info.pid))
        return info

    def ls(self) -> list[TaskInfo]:
        return list(self.tasks.values())

    def get(self, id: str) -> TaskInfo:
        if id not in self.tasks:
            raise NotFound(f"container does not exist: {id}")
        return self.tasks[id]

    def exec(self, id: str, args: Sequence[str], **more: Any) -> ExecInfo:
        self.calls.append(("exec", id, tuple(args)))
        return ExecInfo(id, "e1", 4242, True)

    def attach(self, id: str, *, exec_id: str = "") -> FakeAttachment:
        self.calls.append(("attach", id, exec_id))
        return self.attachment

    def wait(self, id: str, *, exec_id: str = "", timeout: float | None = None) -> int:
        return self.get(id).exit_status or 0

    def kill(self, id: str, signal: int, *, all_processes: bool = False, exec_id: str = "") -> None:
        self.calls.append(("kill", id, signal))
        if self.get(id).status is Status.STOPPED:
            raise WrongState(f"container not running: {id}", hint="it has ended")
        if signal == 9:
            self._set(
                id, status=Status.STOPPED, exit_status=137, exited_ns=self.clock.now_ns(), pid=0
            )
            self.happen(id, TaskExited(pid=1, exit_status=137))

    def pause(self, id: str) -> None:
        self.calls.append(("pause", id))
        self._set(id, status=Status.PAUSED)

    def resume(self, id: str) -> None:
        self.calls.append(("resume", id))
        self._set(id, status=Status.RUNNING)

    def delete(self, id: str, *, force: bool = False) -> int:
        self.calls.append(("delete", id, force))
        status = self.get(id).exit_status or 0
        del self.tasks[id]
        return status

    def set_restart_policy(self, id: str, policy: str, *, store: str = "") -> TaskInfo:
        self.calls.append(("policy", id, policy))
        return self._set(id, restart="" if policy == "no" else policy)

    def networked(
        self, id: str, network: str, interface: str, *, joined: bool, addresses: Sequence[str] = ()
    ) -> None:
        self.calls.append(("networked", id, network, joined))

    def restart(self, id: str) -> TaskInfo:
        self.calls.append(("restart", id))
        return self._set(id, status=Status.RUNNING)

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        self.calls.append(("update", id, dict(resources)))

    def ps(self, id: str) -> list[ProcessInfo]:
        info = self.get(id)
        return [ProcessInfo(info.pid, 1, 1, 0, "S", 1 << 20, 2_000_000, " ".join(info.args))]

    def stats(self, id: str) -> Stats:
        self.get(id)
        return Stats(self.clock.now_ns(), 5_000_000, 0, 3 << 20, 0, 4 << 20, 2, 0, 0, 0)

    def logs(self, id: str, *, follow: bool = False, tail: int | None = None,
             since_ns: int = 0) -> Iterator[LogLine]:  # fmt: skip
        yield from (line for line in self.lines[id] if line.time_ns >= since_ns)

    def trace(self, id: str) -> list[Event]:
        call = CallDone("child", 0, 0, "pivot", "pivot_root", ['"."', '"."'], 0, "", 21_000,
                        "pivot_root(2)", "config.md#root")  # fmt: skip
        return [Event(self.clock.now_ns(), "default", id, call)]

    def diff(self, id: str) -> list[Difference]:
        return [
            Difference("process.user.uid", "0", "0", True),
            Difference("hostname", "runc", "?", None, "only inside"),
            Difference("mounts[3] /tmp", "tmpfs ro", "tmpfs rw", False),
        ]

    def recent_events(self, *, everywhere: bool = False) -> list[Event]:
        return [Event(self.clock.now_ns(), "default", id, TaskStarted(pid=1)) for id in self.tasks]

    def events(
        self, subscribed: Callable[[], object] | None = None, *, everywhere: bool = False
    ) -> Iterator[Event]:
        """As after `reconnect`, a None in the queue is a gap; `close` ends it."""
        while not self._closed:
            if subscribed is not None:
                subscribed()
            while (event := self._events.get()) is not None:
                yield event

    def reconnect(self) -> None:
        """The shim dies, and its successor is found."""
        self._events.put(None)


class FakeStoreEvents:
    """What happens in a store, as a test says it."""

    def __init__(self) -> None:
        self._told: queue.Queue[Event | None] = queue.Queue()

    def happen(self, namespace: str, id: str, payload: Any) -> None:
        self._told.put(Event(0, namespace, id, payload))

    def __call__(
        self, subscribed: Callable[[], object], stopped: Callable[[], bool]
    ) -> Iterator[Event]:
        subscribed()
        while not stopped():
            try:
                event = self._told.get(timeout=0.1)
            except queue.Empty:
                continue
            if event is not None:
                yield event


def three_tasks() -> FakeTasks:
    """A running, a paused and a failed one."""
    tasks = FakeTasks()
    tasks.add("web")
    tasks.add("paused", Status.PAUSED)
    tasks.add("worker", Status.STOPPED, exit_status=1)
    return tasks

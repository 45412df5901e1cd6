"""Tasks as every face sees them: the values, and the `Tasks` protocol.

`client.TaskClient` is the real one; tests of screens use a fake. Every method may block (the
faces call them from worker threads) and raises the tree of `core.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mobyshell.core.runtime.values import Difference, ProcessInfo, RootMount, Stats, Status
from mobyshell.core.values import field, value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from mobyshell.core.events import Event

__all__ = [
    "Attachment",
    "Difference",
    "Ended",
    "ExecInfo",
    "LogLine",
    "ProcessInfo",
    "Runner",
    "Stats",
    "Status",
    "TaskInfo",
    "Tasks",
]


@value
class TaskInfo:
    """One task now. Times are ns since the epoch (0: not yet); pid is 0 once it has stopped.

    `exit_status`: None while it lives, -1 if nobody could learn it, else the code or 128+signal.
    `restart`: its policy (`restarts.parse`), "" for none; `restarts`: how often it was started again;
    `restart_ns`: when it will be next. `health`: starting, healthy or unhealthy by its health check, ""
    without one.
    """

    id: str
    namespace: str
    status: Status
    pid: int
    bundle: str
    created_ns: int
    started_ns: int = 0
    exited_ns: int = 0
    exit_status: int | None = None
    terminal: bool = False
    args: tuple[str, ...] = ()
    runtime: str = "mobyshell"
    annotations: Mapping[str, str] = field(default_factory=dict)
    restart: str = ""
    restarts: int = 0
    restart_ns: int = 0
    health: str = ""


@value
class ExecInfo:
    """A further process in a task."""

    task_id: str
    exec_id: str
    pid: int
    terminal: bool


@value
class LogLine:
    """A line a task wrote. `partial`: no newline followed (yet). `data` without the newline."""

    time_ns: int
    stream: str
    partial: bool
    data: bytes


@value
class Ended:
    """How a task has ended, and all that it has said."""

    exit_status: int
    lines: tuple[LogLine, ...]


class Attachment(Protocol):
    """The live standard streams of a task or exec. Not thread-safe, but for `close`."""

    def fileno(self) -> int:
        """A descriptor that is readable when `read` has something that is not `pending` already."""
        ...

    @property
    def pending(self) -> bool:
        """Whether `read` has something that came together with what it returned before."""
        ...

    def read(self) -> tuple[str, bytes] | None:
        """The next `(stream, data)`, blocking; stream is stdout, stderr or `lost` (data: how many
        bytes, decimal, were dropped because this client did not read). None: the task's end."""
        ...

    def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def resize(self, rows: int, columns: int) -> None: ...

    def close(self) -> None:
        """Detach. The task lives on."""
        ...


class Runner(Protocol):
    """A task from its making to its removal (`Tasks.runner`), by the steps below in their order."""

    def create(self, id: str, spec: str, rootfs: RootMount | None) -> None:
        """Have it made, as `Tasks.create` does; not waited for."""
        ...

    def start(self) -> None:
        """Let its program run, once it is made; not waited for."""
        ...

    def wait(self) -> Ended | None:
        """Its end; None if it says more than is told here, and is to be read and deleted as any other
        task. What has gone wrong since `create` is raised here: then it is removed."""
        ...

    def removed(self) -> None:
        """Wait until nothing is left of it."""
        ...


class Tasks(Protocol):
    """What can be done with tasks."""

    def create(
        self,
        id: str,
        bundle: str = "",
        *,
        args: Sequence[str] | None = None,
        terminal: bool | None = None,
        stdin: bool = False,
        rows: int = 0,
        columns: int = 0,
        runtime: str = "mobyshell",
        spec: str = "",
        rootfs: RootMount | None = None,
        restart: str = "",
        store: str = "",
    ) -> TaskInfo:
        """Make a container from `bundle`, up to the point before its program runs; or from a spec
        (as JSON) and what its root filesystem is to be mounted from. `restart`: the policy by which
        it is started again (`restarts.parse`); `store`: the root of the store that its container is
        in, where it is remembered that somebody has stopped it.

        `args` and `terminal` replace the spec's for this task. Without `stdin` it is /dev/null.
        `runtime`: what runs it, our own or the name or path of an OCI runtime's program.
        """
        ...

    def runner(self) -> AbstractContextManager[Runner | None]:
        """For one task from its making to its removal, in one conversation; what is not over when the
        block ends was not wanted, if it has not started. None from a shim of an older version."""
        ...

    def start(self, id: str) -> TaskInfo: ...

    def ls(self) -> list[TaskInfo]: ...

    def get(self, id: str) -> TaskInfo: ...

    def exec(
        self,
        id: str,
        args: Sequence[str],
        *,
        exec_id: str = "",
        terminal: bool = False,
        stdin: bool = False,
        env: Sequence[str] = (),
        cwd: str = "",
        user: str = "",
        rows: int = 0,
        columns: int = 0,
    ) -> ExecInfo: ...

    def attach(self, id: str, *, exec_id: str = "") -> Attachment: ...

    def wait(self, id: str, *, exec_id: str = "", timeout: float | None = None) -> int:
        """The exit status; TimedOut if it does not come in `timeout` seconds. Of a task that is
        started again by its policy, it is that of the run that ends next, or ended last."""
        ...

    def kill(
        self, id: str, signal: int, *, all_processes: bool = False, exec_id: str = ""
    ) -> None: ...

    def pause(self, id: str) -> None: ...

    def resume(self, id: str) -> None: ...

    def delete(self, id: str, *, force: bool = False) -> int:
        """Forget a stopped task (`force`: kill it first) and return its exit status."""
        ...

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """Change limits; `resources` is `linux.resources` of the runtime-spec, as JSON values."""
        ...

    def restart(self, id: str) -> TaskInfo:
        """Run a task again that has ended: a new process, in what it had. WrongState while it runs."""
        ...

    def set_restart_policy(self, id: str, policy: str, *, store: str = "") -> TaskInfo:
        """From now on `policy` says whether the task is started again; see `create`."""
        ...

    def networked(
        self, id: str, network: str, interface: str, *, joined: bool, addresses: Sequence[str] = ()
    ) -> None:
        """Let everybody hear that a task has joined a network, or left it."""
        ...

    def ps(self, id: str) -> list[ProcessInfo]: ...

    def stats(self, id: str) -> Stats: ...

    def logs(
        self, id: str, *, follow: bool = False, tail: int | None = None, since_ns: int = 0
    ) -> Iterator[LogLine]: ...

    def trace(self, id: str) -> list[Event]:
        """The recorded events of a task, oldest first."""
        ...

    def diff(self, id: str) -> list[Difference]: ...

    def events(
        self, subscribed: Callable[[], object] | None = None, *, everywhere: bool = False
    ) -> Iterator[Event]:
        """Every event from now on, of this namespace or `everywhere`; ends when the caller closes
        the iterator.

        `subscribed` is called once nothing is missed any more: when the following has begun, and
        again after each gap (the shim died, its successor was found). Who shows a state reads it
        then.
        """
        ...

    def recent_events(self, *, everywhere: bool = False) -> list[Event]:
        """What happened in this namespace (`everywhere`: in each) lately, not the kernel calls;
        of a namespace, the oldest first."""
        ...

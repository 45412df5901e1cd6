"""The real `Tasks`: asks the shim, reads from disk what is there, and starts a shim where needed.

Owns the choice between the three. Importing this costs little; what talks to the shim is imported
when it is needed.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mobyshell.core.errors import NotFound, ShimLost, TimedOut
from mobyshell.core.tasks import view
from mobyshell.core.tasks.exec_head import ExecHead
from mobyshell.core.tasks.paths import (
    EVENTS,
    NETWORKS,
    check_name,
    container_dir,
    default_namespace,
    process_dir,
)
from mobyshell.core.tasks.paths import (
    state_root as default_root,
)
from mobyshell.core.tasks.pool import COME_BACK, Pool
from mobyshell.core.tasks.records import read_record
from mobyshell.core.tasks.service import ExecInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from mobyshell.core.events import Event
    from mobyshell.core.runtime import Runtime
    from mobyshell.core.runtime.values import Difference, ProcessInfo, RootMount, Stats
    from mobyshell.core.tasks.connect import Connection
    from mobyshell.core.tasks.runner import Runner
    from mobyshell.core.tasks.service import Attachment, LogLine, TaskInfo


class TaskClient:
    """Tasks of one namespace below one state root. Close it (or use `with`) to let the shim go.

    Threads may share one: what they ask for is under way at once, and a container is made while
    another sets itself up.

    Every method raises the tree of `core.errors`; ShimLost when the shim went away during a call
    whose outcome is not known then. Waiting and reading go on with the shim's successor.
    """

    def __init__(
        self, state_root: str | os.PathLike[str] | None = None, namespace: str | None = None
    ) -> None:
        chosen = os.fspath(state_root) if state_root is not None else default_root()
        self.state = os.path.abspath(chosen)
        self.namespace = check_name(namespace or default_namespace(), "namespace")
        self._pool = Pool(self.state)
        self._library: Runtime | None = None
        self._exec_head = ExecHead(self.namespace)

    def __enter__(self) -> TaskClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up, also on calls under way in other threads: followers end, others get ShimLost.

        Tasks live on. The client can be used again.
        """
        self._pool.close()

    def _call(self, verb: str, timeout: float | None = None, **args: Any) -> Any:
        return self._pool.call(verb, self.namespace, args, timeout)

    # from disk

    def ls(self) -> list[TaskInfo]:
        """All tasks of the namespace, by id."""
        return view.list_tasks(self.state, self.namespace)

    def everywhere(self) -> list[TaskInfo]:
        """All tasks of all namespaces of this state root."""
        names = view.namespaces(self.state)
        return [task for name in names for task in view.list_tasks(self.state, name)]

    def get(self, id: str) -> TaskInfo:
        """One task. NotFound."""
        return view.info_of(view.require(self.state, self.namespace, id), self.namespace)

    def health_log(self, id: str) -> list[dict[str, Any]]:
        """What the last health checks of a task have said, the latest last; times in ns since the
        epoch. NotFound."""
        from mobyshell.core.tasks.healthchecks import read_log

        view.require(self.state, self.namespace, id)
        return read_log(process_dir(self.state, self.namespace, id, ""))

    def trace(self, id: str) -> list[Event]:
        """See `service.Tasks.trace`."""
        view.require(self.state, self.namespace, id)
        self._sync()
        from mobyshell.core.runtime.trace import read_events

        return read_events(f"{container_dir(self.state, self.namespace, id)}/{EVENTS}")

    def recent_events(self, *, everywhere: bool = False) -> list[Event]:
        """See `service.Tasks.recent_events`."""
        self._sync()
        from mobyshell.core.runtime.trace import read_events

        names = view.namespaces(self.state) if everywhere else [self.namespace]
        paths = [f"{self.state}/{name}/{EVENTS}" for name in names]
        return [event for path in paths
                for event in (*read_events(f"{path}.1"), *read_events(path))]  # fmt: skip

    def _sync(self) -> None:
        """Have a living shim write what it has not written yet; a dead one has nothing."""
        from mobyshell.core.tasks.connect import dial

        connection = dial(self.state)
        if connection is not None:
            try:
                connection.request("sync", self.namespace, {})
            except ShimLost:
                pass  # it has nothing any more
            finally:
                connection.close()

    def logs(
        self, id: str, *, follow: bool = False, tail: int | None = None, since_ns: int = 0,
        exec_id: str = "",
    ) -> Iterator[LogLine]:  # fmt: skip
        """See `service.Tasks.logs`. With `follow`, ends when the process has, and all was read."""
        from mobyshell.core.tasks.follow import read_log

        view.require(self.state, self.namespace, id, exec_id)
        directory, closings = (
            process_dir(self.state, self.namespace, id, exec_id),
            self._pool.closings,
        )
        for line in read_log(
            directory, tail, follow=follow, over=lambda: self._over(directory),
            left=lambda: closings != self._pool.closings,
        ):  # fmt: skip
            if line.time_ns >= since_ns:
                yield line

    def _over(self, directory: str) -> bool:
        """Whether a process has ended and its log is complete. A shim is started if one is needed
        for that: what ended without one may have left output behind."""
        record = read_record(directory)
        if record is not None and record.restart_ns:
            if record.restart_ns < time.time_ns():
                self._pool.dial().close()  # if nobody is there to start it again, somebody is now
            return False
        if record is None or record.exit_status is not None:
            return True
        live = view.read_live(directory)
        if live is not None and live.exit_status is not None:
            self._pool.dial().close()
        return False

    # by the shim

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
        """See `service.Tasks.create`. Unsupported if there is no such runtime."""
        from mobyshell.core.tasks.runtimes import find_program

        program = find_program(runtime)
        return view.info_of_document(
            self._call(
                "create", id=check_name(id), bundle=os.path.abspath(bundle), terminal=terminal,
                args=None if args is None else list(args), stdin=stdin, rows=rows,
                columns=columns, runtime=os.path.abspath(runtime) if "/" in runtime else runtime,
                runtime_path=program, spec=spec,
                rootfs=[rootfs.type, rootfs.source, *rootfs.options] if rootfs else None,
                restart=restart, store=store,
            ),
            self.namespace,
        )  # fmt: skip

    @contextmanager
    def runner(self) -> Iterator[Runner | None]:
        """See `service.Tasks.runner`."""
        from mobyshell.core.tasks.runner import Runner

        connection, sound = self._pool.take(), False
        closings = self._pool.closings
        try:
            if connection.version < Runner.SPOKEN_SINCE:
                sound = True
                yield None
            else:
                yield (runner := Runner(connection, self.namespace))
                sound = runner.over
        finally:
            self._pool.give(connection, pool=sound and closings == self._pool.closings)

    def start(self, id: str) -> TaskInfo:
        """Let the program of a created task run. WrongState if it is not created."""
        return view.info_of_document(self._call("start", id=check_name(id)), self.namespace)

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
    ) -> ExecInfo:
        """See `service.Tasks.exec`. `user`: as `users.resolve` has it."""
        if exec_id:
            check_name(exec_id, "name of a process")
        head = self._exec_head.of(
            id, tuple(args), terminal, stdin, tuple(env), cwd, user, rows, columns
        )
        found = self._pool.ask(lambda one: one.send_named(head, exec_id), task=id)
        return ExecInfo(id, found["exec_id"], found["pid"], found["terminal"])

    def attach(self, id: str, *, exec_id: str = "") -> Attachment:
        """See `service.Tasks.attach`."""
        from mobyshell.core.tasks.attachment import LogAttachment, TerminalAttachment

        check_name(id)

        def attach(how: str) -> tuple[Connection, dict[str, Any]]:
            connection = self._pool.dial()
            try:
                args = {"id": id, "exec_id": exec_id, **({how: True} if how else {})}
                return connection, connection.request("attach", self.namespace, args)
            except BaseException:
                connection.close()
                raise

        connection, told = attach("")
        if told["terminal"]:
            return TerminalAttachment(attach, connection)
        return LogAttachment(attach, connection, told)

    def wait(self, id: str, *, exec_id: str = "", timeout: float | None = None) -> int:
        """See `service.Tasks.wait`. A shim's death in between is waited out."""
        until = None if timeout is None else time.monotonic() + timeout
        closings = self._pool.closings
        directory = process_dir(self.state, self.namespace, check_name(id), exec_id)
        if exec_id:
            check_name(exec_id, "name of a process")
        look = not self._pool.warm  # a shim that is there knows best
        while True:
            record = read_record(directory) if look else None
            if look and record is None:
                view.require(self.state, self.namespace, id, exec_id)
            # only what a shim wrote is the last word: it has then logged all output, too
            if record is not None and record.exit_status is not None:
                return record.exit_status
            looked, look = look, True
            left = None if until is None else max(0.0, until - time.monotonic())
            try:
                status: int | None = self._pool.end((id, exec_id), left) if exec_id else None
                if status is None:
                    status = self._call("wait", left, id=id, exec_id=exec_id)["exit_status"]
                return status
            except NotFound:
                if looked:
                    raise
            except ShimLost:
                if closings != self._pool.closings:
                    raise
                time.sleep(COME_BACK)
            except TimedOut:
                what = f"process {exec_id} of task {id}" if exec_id else f"task {id}"
                raise TimedOut(
                    f"{what} has not ended within {timeout:g} s", hint="it goes on running"
                ) from None

    def kill(self, id: str, signal: int, *, all_processes: bool = False, exec_id: str = "") -> None:
        """Send `signal` to a task's init (or all its processes), or to a further process. If it is one
        that ends tasks, the task is not started again, whatever its restart policy."""
        answer = self._call(
            "kill", id=check_name(id), signal=int(signal), all=all_processes, exec_id=exec_id
        )
        self._stopped(id, answer)

    def _stopped(self, id: str, answer: Mapping[str, Any]) -> None:
        """What must be known after the machine was off is the store's to remember."""
        if answer.get("store"):
            from mobyshell.core.tasks.stopped import mark

            mark(answer["store"], self.namespace, id)

    def pause(self, id: str) -> None:
        """Freeze a running task."""
        self._call("pause", id=check_name(id))

    def resume(self, id: str) -> None:
        """Thaw a paused task."""
        self._call("resume", id=check_name(id))

    def delete(self, id: str, *, force: bool = False) -> int:
        """See `service.Tasks.delete`."""
        answer = self._call("delete", id=check_name(id), force=force)
        status: int = answer["exit_status"]
        self._stopped(id, answer)
        if os.path.isdir(f"{self.state}/{NETWORKS}/{self.namespace}/{id}"):
            from mobyshell.core.tasks.surroundings import let_go

            let_go(self.state, self.namespace, id)
        return status

    def update(self, id: str, resources: Mapping[str, Any]) -> None:
        """See `service.Tasks.update`. Asked again of the successor if the shim dies meanwhile."""
        try:
            self._call("update", id=check_name(id), resources=dict(resources))
        except ShimLost:
            self._call("update", id=check_name(id), resources=dict(resources))

    def restart(self, id: str) -> TaskInfo:
        """See `service.Tasks.restart`."""
        return view.info_of_document(self._call("restart", id=check_name(id)), self.namespace)

    def set_restart_policy(self, id: str, policy: str, *, store: str = "") -> TaskInfo:
        """See `service.Tasks.set_restart_policy`."""
        answer = self._call("policy", id=check_name(id), policy=policy, store=store)
        return view.info_of_document(answer, self.namespace)

    def networked(
        self, id: str, network: str, interface: str, *, joined: bool, addresses: Sequence[str] = ()
    ) -> None:
        """See `service.Tasks.networked`."""
        self._call("networked", id=check_name(id), network=network, interface=interface,
                   joined=joined, addresses=list(addresses))  # fmt: skip

    def events(
        self, subscribed: Callable[[], object] | None = None, *, everywhere: bool = False
    ) -> Iterator[Event]:
        """See `service.Tasks.events`. Goes on with the successor if the shim dies. Unsupported if
        a shim of an older version, which tells one namespace only, is asked for all."""
        from mobyshell.core.tasks.subscription import subscribe

        return subscribe(self._pool, self.namespace, subscribed, everywhere=everywhere)

    # by the runtime, in this process: they only read

    def _runtime(self) -> Runtime:
        if self._library is None:
            from pathlib import Path

            from mobyshell.core.runtime import Runtime

            self._library = Runtime(Path(self.state) / self.namespace)
        return self._library

    def ps(self, id: str) -> list[ProcessInfo]:
        """The processes of a task."""
        view.require(self.state, self.namespace, id)
        return list(self._runtime().ps(id))

    def stats(self, id: str) -> Stats:
        """What the cgroups of a task count."""
        view.require(self.state, self.namespace, id)
        return self._runtime().stats(id)

    def diff(self, id: str) -> list[Difference]:
        """The spec against what the kernel says now."""
        view.require(self.state, self.namespace, id)
        return list(self._runtime().diff(id))

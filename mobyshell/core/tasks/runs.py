"""run: a task from its making to its removal, for a client that stays on the line.

Owns the order. `run` makes the task, `go` lets it start: in between the client writes down what it
is for, while the container sets itself up. The answer to `run` is how it ended, with what it said;
the answer to `go`, that nothing of it is left. Who hangs up before `go` has wanted nothing, and who
does so later leaves a task like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from mobyshell.core.errors import UsageError
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks.deleting import Deleting
from mobyshell.core.tasks.making import start_task
from mobyshell.core.tasks.paths import check_name
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.server import Connection
from mobyshell.core.tasks.tables import Tables
from mobyshell.core.tasks.words import Words
from mobyshell.core.values import field, variable

MOST = 64 << 10
"""Bytes of a log that are sent with the answer; whoever says more is read and deleted by its client."""

Reply: TypeAlias = Callable[[Any, BaseException | None], None]


@variable
class Runs:
    """Answers `run` and `go` for `verbs`: one at a time on a connection."""

    house: House
    tables: Tables
    runtimes: Runtimes
    deleting: Deleting
    create: Callable[[str, Words], Steps[Any]]
    _runs: dict[Connection, _Run] = field(default_factory=dict)

    def run(self, namespace: str, words: Words, connection: Connection, reply: Reply) -> None:
        """Make the task; its end is the answer."""
        if connection in self._runs:
            raise UsageError("this connection runs a task already")
        run = _Run(self, namespace, check_name(words.text("id")), connection, reply)
        self._runs[connection] = run
        connection.cleanups.add(run.hung_up)
        self.house.loop.drive(self.create(namespace, words), run.made)

    def go(self, connection: Connection, reply: Reply) -> None:
        """Let the task of this connection start; its removal is the answer."""
        run = self._runs.get(connection)
        if run is None or run.going:
            raise UsageError("this connection runs no task")
        run.go(reply)

    def over(self, run: _Run) -> None:
        """The connection is free for another."""
        self._runs.pop(run.connection, None)
        run.connection.cleanups.discard(run.hung_up)


class _Run:
    """One of them. Attached to its process, to hear when that has said too much for an answer."""

    def __init__(
        self, runs: Runs, namespace: str, id: str, connection: Connection, ended: Reply
    ) -> None:
        self._runs, self._namespace, self._id = runs, namespace, id
        self.connection = connection
        self._tell_end: Reply | None = ended
        self._tell_removal: Reply | None = None
        self._process: Process | None = None
        self._failed: BaseException | None = None
        self._left = self._removing = False

    @property
    def going(self) -> bool:
        """Whether the client has said so."""
        return self._tell_removal is not None

    def made(self, _: Any, error: BaseException | None) -> None:
        """The container is there, or will not be."""
        if error is not None:
            self._failed = error
            self._end(None, error)
            if self.going:
                self._over()
            return
        self._process = self._runs.tables.process(self._namespace, self._id)
        if self._left:
            self._remove()
        elif self.going:
            self._start()

    def go(self, removed: Reply) -> None:
        """The client has done its part."""
        self._tell_removal = removed
        if self._failed is not None:
            self._over()
        elif self._process is not None:
            self._start()

    def _start(self) -> None:
        runs, process = self._runs, self._process
        assert process is not None
        process.waiters.append(self._ended)
        process.attached.append(self)
        steps = runs.tables.alone(
            self._namespace, self._id, "start",
            lambda: start_task(runs.house, runs.runtimes.of(process.record), process),
        )  # fmt: skip
        runs.house.loop.drive(steps, self._started)

    def _started(self, _: Any, error: BaseException | None) -> None:
        if error is not None:
            self._let_go()
            self._end(None, error)
            self._remove()

    def _ended(self, status: int) -> None:
        assert self._process is not None
        said = self._process.said(MOST)
        self._let_go()
        if said is None:
            self._leave_it()
            return
        self._end({"exit_status": status, "log": said.decode("latin-1")}, None)
        self._runs.house.loop.call_soon(self._remove)

    def _leave_it(self) -> None:
        """It says much: its client reads the log, and deletes it in the end."""
        self._end({"exit_status": None}, None)
        self._over()

    def _remove(self) -> None:
        if self._removing:
            return
        self._removing = True
        steps = self._runs.deleting.delete(self._namespace, self._id, force=True)
        self._runs.house.loop.drive(steps, self._removed)

    def _removed(self, _: Any, error: BaseException | None) -> None:
        self._failed = error
        self._over()

    def hung_up(self) -> None:
        """The client is gone."""
        self._left = True
        self._tell_end = None
        self._let_go()
        self._runs.over(self)
        if not self.going and self._process is not None:
            self._remove()

    # what is told

    def _end(self, result: Any, error: BaseException | None) -> None:
        tell, self._tell_end = self._tell_end, None
        if tell is not None:
            tell(result, error)

    def _over(self) -> None:
        self._runs.over(self)
        if self._tell_removal is not None and not self._left:
            self._tell_removal({}, self._failed)

    # attached

    def _let_go(self) -> None:
        process = self._process
        if process is not None:
            process.detach(self)
            if self._ended in process.waiters:
                process.waiters.remove(self._ended)

    def grown(self, end: int) -> None:
        """The log now ends at `end`."""
        if end > MOST:
            self._let_go()
            self._leave_it()

    def data(self, data: bytes) -> None:
        """Live output: all of it is in the log."""

    def drained(self) -> None:
        """Nothing was held back."""

    def end(self, status: int) -> None:
        """It was told already."""

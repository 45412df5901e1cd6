"""exec: the verb that puts one more process into a task; and the same one again, on the shortest way.

A request that is asked again differs in two places, the name of the process and its own number. So by
the bytes of all the rest it is known again, with everything that was found out when it was asked
first; what may have changed since is looked at each time. Between its coming in and the order to the
container's usher nothing else is done: records, events and the answer are beside the process's own way.

Owns the words of the verb, and what is remembered of its requests.
"""

from __future__ import annotations

import shutil
from functools import partial
from typing import Any

from mobyshell.core.errors import MobyshellError, UsageError, WrongState
from mobyshell.core.events import ExecAdded, ExecStarted
from mobyshell.core.oci import Process as SpecProcess
from mobyshell.core.oci import Spec, load_kept_spec
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.exec import Ordered, Repeat
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks import users, wire
from mobyshell.core.tasks.executing import Coming, make_exec
from mobyshell.core.tasks.loop import Timer
from mobyshell.core.tasks.making import owner_of
from mobyshell.core.tasks.paths import check_name, container_dir
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import Record, fixed_but_name
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.server import Connection
from mobyshell.core.tasks.streams import Ends
from mobyshell.core.tasks.tables import PAUSE, Tables, Task
from mobyshell.core.tasks.words import Words
from mobyshell.core.values import replace, value

_SOON = 0.002
"""Seconds, in which many a process ends: the end is told first."""
_KEPT_PROCESSES = 8
_KEPT_REQUESTS = 16


@value
class _Request:
    """A request that was answered, and by what it is answered again. `owner`: of the streams;
    `fixed`: see `records.fixed_but_name`."""

    namespace: str
    id: str
    task: Task
    process: SpecProcess
    owner: tuple[int, int]
    runtime: Runtime
    what: Repeat
    ends: bool
    fixed: tuple[str, str]


class ExecVerb:
    """Answers `exec` for `verbs`."""

    def __init__(self, house: House, tables: Tables, runtimes: Runtimes) -> None:
        self._house, self._tables, self._runtimes = house, tables, runtimes
        self._processes: list[tuple[Spec, object, SpecProcess]] = []
        self._requests: dict[bytes, _Request] = {}
        self._last: _Request | None = None
        self._timer: Timer | None = None
        house.endings.append(self._ended)

    def exec(self, namespace: str, words: Words, connection: Connection) -> Steps[Any]:
        """One more process in a task; with the word `ends`, its client is told when that has ended."""
        id = words.text("id")
        task = self._tables.task(namespace, id)
        exec_id = check_name(
            words.text("exec_id", "") or self._house.clock.new_id(), "name of a process"
        )
        args = words.texts("args")
        if not args:
            raise UsageError("args must not be empty")
        rows, columns = words.size("rows"), words.size("columns")
        spec = load_kept_spec(container_dir(self._house.state, namespace, id))
        process = self._process(spec, args, words, task.init.record)
        record = Record(
            id, namespace, exec_id, stdin=words.flag("stdin"), terminal=bool(process.terminal),
            args=list(args),
        )  # fmt: skip
        self._tables.reserve(namespace, id, exec_id)
        try:
            made, what = yield from make_exec(
                self._house, self._tables, self._runtimes.of(task.init.record), record, process, spec,
                rows=rows, columns=columns,
            )  # fmt: skip
        finally:
            self._tables.release(namespace, id, exec_id)
        if what is not None and words.head and not words.text("user", "") and not record.stdin:
            self._remember(words.head, _Request(
                namespace, id, task, process, owner_of(spec, process.user),
                self._runtimes.own(namespace), what, words.flag("ends"), fixed_but_name(record),
            ))  # fmt: skip
        return self._executed(made, connection if words.flag("ends") else None)

    def _executed(self, process: Process, connection: Connection | None) -> dict[str, Any]:
        """Its program runs: everybody hears of it, and this is the answer. `connection`: on which its
        end is told later."""
        record = process.record
        self._tables.forget_old_execs(record.namespace, record.id)
        self._runtimes.executed()
        if self._timer is None:
            self._timer = self._house.loop.call_later(_SOON, self.make_ready)
        emit = self._house.journal.emit
        emit(record.namespace, record.id, ExecAdded(record.exec_id))
        emit(record.namespace, record.id, ExecStarted(record.exec_id, record.pid, record.args))
        answer = {"exec_id": record.exec_id, "pid": record.pid, "terminal": record.terminal}
        if connection is not None:
            begin = wire.ended(record.id, record.exec_id)
            connection.hear_end(
                process, lambda status: connection.send(wire.ended_frame(begin, status))
            )
            answer["ends"] = True
        return answer

    def _process(
        self, spec: Spec, args: tuple[str, ...], words: Words, init: Record
    ) -> SpecProcess:  # fmt: skip
        """The process that a request wants in a task of `spec`: the same value for the same words, so
        that what was prepared for it is found again."""
        if spec.process is None:
            raise WrongState(f"task {init.id} has no process to take the environment from")
        env = words.texts("env") or ()
        terminal, cwd = words.flag("terminal"), words.text("cwd", "")
        user = words.text("user", "")
        asked = (args, env, terminal, cwd)
        for base, words_before, process in self._processes:
            if base is spec and words_before == asked and not user:
                return process
        process = replace(
            spec.process, args=args, terminal=terminal, cwd=cwd or spec.process.cwd,
            env=_merged(spec.process.env or (), env),
            user=users.resolve(user, spec.process.user, users.inside(init.pid)),
        )  # fmt: skip
        if not user:  # whom a name means may change
            self._processes = [*self._processes[1 - _KEPT_PROCESSES :], (spec, asked, process)]
        return process

    # the same again

    def again(self, head: bytes, name: str, connection: Connection) -> Steps[Any] | None:
        """What was asked before and can be done at once: it is under way then, and these steps go on with
        it. `head`: all of the request but the name of the process and its number."""
        request = self._requests.get(head)
        if request is None or request.task.busy == PAUSE:
            return None
        house, tables = self._house, self._tables
        exec_id = name or house.clock.new_id()
        try:
            tables.reserve(request.namespace, request.id, check_name(exec_id))
        except MobyshellError:
            return None  # which will be said on the long way
        steps = None
        try:
            ready = house.stock.take_ready(request.owner)
            if ready is not None:
                directory, ends = ready
                ordered = request.runtime.order(request.what, Stdio(*ends.theirs))
                if ordered is None:
                    ends.close()
                    shutil.rmtree(directory, ignore_errors=True)
                else:
                    steps = self._go_on(request, exec_id, directory, ends, ordered, connection)
        finally:
            if steps is None:
                tables.release(request.namespace, request.id, exec_id)
        if request.what.known.closed:
            del self._requests[head]
        return steps

    def _go_on(
        self, request: _Request, exec_id: str, directory: str, ends: Ends, ordered: Ordered,
        connection: Connection,
    ) -> Steps[Any]:  # fmt: skip
        """What is to be done for a process that is under way."""
        process, task = request.process, request.task
        self._last = request
        task.beginning += 1
        record = Record(request.id, request.namespace, exec_id, args=list(process.args or ()))
        record.fixed = exec_id.join(request.fixed)
        coming = Coming(self._house, self._tables, task, record, directory, ends)
        try:
            execute = partial(request.runtime.exec, ordered=ordered)
            made = yield from coming.steps(execute, process)
        finally:
            self._tables.release(record.namespace, record.id, record.exec_id)
        return self._executed(made, connection if request.ends else None)

    def make_ready(self) -> None:
        """Have ready what the next one needs that asks for the same as the last: for moments in which
        nobody waits for us, after the end of a process, or when that takes longer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._house.stock.fill()
        if self._last is not None:
            last, self._last = self._last, None
            last.runtime.make_ready(last.what)

    def _remember(self, head: bytes, request: _Request) -> None:
        self._requests.pop(head, None)
        self._requests[head] = self._last = request
        while len(self._requests) > _KEPT_REQUESTS:
            del self._requests[next(iter(self._requests))]

    def _ended(self, record: Record) -> None:
        """A task that has ended is asked nothing any more; what runs under its name next is another."""
        if record.exec_id:
            if self._timer is not None:  # it took less than a moment, as the next one may
                self._house.loop.call_soon(self.make_ready)
        else:
            place = record.namespace, record.id
            self._requests = {
                head: one
                for head, one in self._requests.items()
                if (one.namespace, one.id) != place
            }


def _merged(base: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    """The environment `base` with the settings of `more` in place of its own."""
    names = {one.partition("=")[0] for one in more}
    return (*(one for one in base if one.partition("=")[0] not in names), *more)

"""What a request means: one method per verb, each checks its words and starts the work.

Owns the translation between the shim's language, the runtime's verbs and the tables. A verb that
takes time is driven by the loop beside everything else; verbs that change one task come one after
the other, but `kill` always gets through.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any, TypeAlias

from mobyshell.core.errors import (
    SyscallFailed,
    UsageError,
    WrongState,
)
from mobyshell.core.events import (
    NetworkConnected,
    NetworkDisconnected,
    TaskSignalled,
)
from mobyshell.core.oci import Spec, load_spec, parse_spec
from mobyshell.core.runtime.pause import PATIENCE
from mobyshell.core.runtime.steps import Steps
from mobyshell.core.tasks.deleting import Deleting
from mobyshell.core.tasks.exec_verb import ExecVerb
from mobyshell.core.tasks.journal import EVERYWHERE
from mobyshell.core.tasks.making import adapted, make_task, start_task
from mobyshell.core.tasks.paths import check_name, container_dir
from mobyshell.core.tasks.process import House
from mobyshell.core.tasks.records import Record
from mobyshell.core.tasks.restart_verbs import RestartVerbs
from mobyshell.core.tasks.restarting import Restarter
from mobyshell.core.tasks.restarts import parse
from mobyshell.core.tasks.runs import Runs
from mobyshell.core.tasks.runtimes import OWN, Runtimes, TaskRuntime
from mobyshell.core.tasks.server import Connection
from mobyshell.core.tasks.strays import Strays
from mobyshell.core.tasks.tables import PAUSE, Tables
from mobyshell.core.tasks.words import Words

Reply: TypeAlias = Callable[[Any, BaseException | None], None]
_KEPT_SPECS = 32


class Verbs:
    """Answers requests with the runtimes of all namespaces."""

    def __init__(
        self, house: House, tables: Tables, runtimes: Runtimes, restarter: Restarter,
        strays: Strays,
    ) -> None:  # fmt: skip
        self._house = house
        self._tables = tables
        self._runtimes = runtimes
        self._restarter = restarter
        self._again = RestartVerbs(house, tables, runtimes, restarter)
        self._deleting = Deleting(house, tables, runtimes, restarter)
        self._runs = Runs(house, tables, runtimes, self._deleting, self._create)
        self._strays = strays
        self._exec = ExecVerb(house, tables, runtimes)
        self.again = self._exec.again
        """See `server.Desk`."""
        self._specs: dict[str, Spec] = {}
        self._driven: dict[str, Callable[[str, Words], Steps[Any]]] = {
            "create": self._create,
            "start": self._start,
            "kill": self._kill,
            "pause": self._pause,
            "resume": self._resume,
            "delete": self._delete,
            "update": self._update,
            "policy": self._again.policy,
            "restart": self._again.restart,
            "networked": self._networked,
            "sync": self._sync,
        }

    def _runtime(self, namespace: str, id: str) -> TaskRuntime:
        """What runs a task. NotFound if there is none."""
        return self._runtimes.of(self._tables.task(namespace, id).init.record)

    def ask(
        self, verb: str, namespace: str, args: dict[str, Any], connection: Connection,
        reply: Reply, head: bytes = b"",
    ) -> None:  # fmt: skip
        """Do what is asked; `reply` once, now or later."""
        words = Words(args, head)
        try:
            check_name(namespace, "namespace")
            if verb == "wait":
                self._wait(namespace, words, connection, reply)
            elif verb == "attach":
                self._attach(namespace, words, connection, reply)
            elif verb == "run":
                self._runs.run(namespace, words, connection, reply)
            elif verb == "go":
                self._runs.go(connection, reply)
            elif verb == "events":
                self._house.journal.flush()  # what was before is nobody's news
                everywhere = words.flag("everywhere")
                self._house.journal.listeners[connection] = EVERYWHERE if everywhere else namespace
                reply({"everywhere": everywhere}, None)
            elif verb == "exec":
                self._house.loop.drive(self._exec.exec(namespace, words, connection), reply)
            elif verb in self._driven:
                self._house.loop.drive(self._driven[verb](namespace, words), reply)
            else:
                raise UsageError(
                    f"the shim knows no verb {verb!r:.40}",
                    hint="it may be of an older version: it leaves when its last task is gone",
                )
        except Exception as error:
            reply(None, error)

    # making

    def _create(self, namespace: str, words: Words) -> Steps[Any]:
        id = check_name(words.text("id"))
        bundle, text, rootfs = words.text("bundle", ""), words.text("spec", ""), words.rootfs()
        rows, columns = words.size("rows"), words.size("columns")
        args, terminal, stdin = words.texts("args"), words.maybe("terminal"), words.flag("stdin")
        name, program = words.text("runtime", OWN), words.text("runtime_path", "")
        policy = parse(words.text("restart", ""))
        if rootfs is not None:
            bundle = container_dir(self._house.state, namespace, id)
        elif not os.path.isabs(bundle):
            raise UsageError(f"the bundle's path must be absolute: {bundle!r:.200}")
        if program and not os.path.isabs(program):
            raise UsageError(f"the runtime's path must be absolute: {program!r:.200}")
        self._tables.reserve(namespace, id)
        if not program:
            self._runtimes.foresee(namespace)
        self._house.journal.begin(namespace, id)
        made = False
        try:
            spec = adapted(self._spec(text) if text else load_spec(bundle), args, terminal)
            process = spec.process
            record = Record(
                id, namespace, bundle=bundle, created_ns=self._house.clock.now_ns(), stdin=stdin,
                terminal=bool(process and process.terminal),
                args=list((process.args if process else None) or ()),
                annotations=dict(spec.annotations or {}), runtime=name, runtime_path=program,
                restart=str(policy) if policy else "", store=words.text("store", ""),
                rootfs=[rootfs.type, rootfs.source, *rootfs.options] if rootfs and policy else [],
            )  # fmt: skip
            if program:
                self._strays.begin()
            runtime = self._runtimes.of(record)
            yield from make_task(
                self._house, self._tables, runtime, record, spec, rows=rows, columns=columns,
                rootfs=rootfs,
            )  # fmt: skip
            made = True
        finally:
            self._tables.release(namespace, id)
            self._house.journal.made(namespace, id, kept=made)
        return record.to_json()

    def _spec(self, text: str) -> Spec:
        """The spec that a client sent: the same value for the same text, as with a bundle's, so that
        what was made of it is found again."""
        found = self._specs.pop(text, None) or parse_spec(text)
        self._specs[text] = found
        while len(self._specs) > _KEPT_SPECS:
            del self._specs[next(iter(self._specs))]
        return found

    # changing

    def _start(self, namespace: str, words: Words) -> Steps[Any]:
        id = words.text("id")
        process = self._tables.process(namespace, id)
        if process.record.restart_ns:  # it need not wait for its time
            yield from self._restarter.now(process)
            return self._tables.process(namespace, id).record.to_json()

        def steps() -> Steps[Any]:
            process = self._tables.process(namespace, id)
            process.record.stopped = False
            yield from start_task(self._house, self._runtime(namespace, id), process)
            return process.record.to_json()

        return (yield from self._tables.alone(namespace, id, "start", steps))

    def _pause(self, namespace: str, words: Words) -> Steps[Any]:
        return self._set_paused(namespace, words, True)

    def _resume(self, namespace: str, words: Words) -> Steps[Any]:
        return self._set_paused(namespace, words, False)

    def _set_paused(self, namespace: str, words: Words, paused: bool) -> Steps[Any]:
        id = words.text("id")

        def steps() -> Steps[Any]:
            runtime = self._runtime(namespace, id)
            process = self._tables.process(namespace, id)
            if paused:
                yield from self._tables.begun(namespace, id, PATIENCE)
            yield from (runtime.pause(id) if paused else runtime.resume(id))
            if process.alive:
                process.record.paused = paused
                process.save()
            return {}

        verb = PAUSE if paused else "resume"
        return (yield from self._tables.alone(namespace, id, verb, steps))

    def _update(self, namespace: str, words: Words) -> Steps[Any]:
        id, resources = words.text("id"), words.table("resources")

        def steps() -> Steps[Any]:
            yield from self._runtime(namespace, id).update(id, resources)
            return {}

        return (yield from self._tables.alone(namespace, id, "update", steps))

    def _kill(self, namespace: str, words: Words) -> Steps[Any]:
        id, exec_id, number = words.text("id"), words.text("exec_id", ""), words.number("signal")
        if not 0 <= number <= signal.SIGRTMAX:
            raise UsageError(f"there is no signal {number}")
        if not exec_id:
            return (yield from self._again.kill(namespace, id, number, words.flag("all")))
        process = self._tables.process(namespace, id, exec_id)
        if not process.alive or process.pidfd < 0:
            raise WrongState(f"{process.label} has ended")
        try:
            signal.pidfd_send_signal(process.pidfd, number)
        except OSError as error:
            raise SyscallFailed.of(error, "pidfd_send_signal", path=process.label) from None
        self._emit(namespace, id, TaskSignalled(_signal_name(number), exec_id=exec_id))
        return {}

    def _delete(self, namespace: str, words: Words) -> Steps[Any]:
        return self._deleting.delete(namespace, words.text("id"), force=words.flag("force"))

    def _emit(self, namespace: str, id: str, payload: Any) -> None:
        self._house.journal.emit(namespace, id, payload)

    def _networked(self, namespace: str, words: Words) -> Steps[Any]:
        """A client has changed a task's networks: everybody hears of it."""
        process = self._tables.process(namespace, words.text("id"))
        network, interface = words.text("network"), words.text("interface")
        if words.flag("joined"):
            addresses = list(words.texts("addresses") or ())
            process.announce(NetworkConnected(network, interface, addresses))
        else:
            process.announce(NetworkDisconnected(network, interface))
        yield from ()
        return {}

    def _sync(self, namespace: str, words: Words) -> Steps[Any]:
        """Everything that has happened is in the files once this is answered."""
        self._house.journal.flush()
        yield from ()  # in steps, as all verbs: this one never waits
        return {}

    # clients that stay

    def _wait(self, namespace: str, words: Words, connection: Connection, reply: Reply) -> None:
        process = self._tables.process(namespace, words.text("id"), words.text("exec_id", ""))
        if process.record.exit_status is not None:
            reply({"exit_status": process.record.exit_status}, None)
            return

        connection.hear_end(process, lambda status: reply({"exit_status": status}, None))
        if process.record.exec_id:
            self._exec.make_ready()  # nobody waits for us now, but for the process

    def _attach(self, namespace: str, words: Words, connection: Connection, reply: Reply) -> None:
        process = self._tables.process(namespace, words.text("id"), words.text("exec_id", ""))
        if words.flag("input"):
            only = process.attach_input(connection)
            reply({}, None)
            connection.attach(process, only)
            return
        attached, told, first = process.attach(connection)
        reply(told, None)
        connection.attach(process, attached)
        if first and not words.flag("resume"):
            attached.data(first)
        if process.record.exit_status is not None:
            attached.end(process.record.exit_status)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)

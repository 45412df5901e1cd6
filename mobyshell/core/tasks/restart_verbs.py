"""The shim's verbs about tasks that are started again: policy, restart, and kill, which ends that.

Owns what they mean while a restart is due or under way. See `verbs` for all others.
"""

from __future__ import annotations

from typing import Any

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.runtime.steps import Sleep, Steps
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.restarting import VERB, Restarter
from mobyshell.core.tasks.restarts import is_stop, parse
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.tables import Tables
from mobyshell.core.tasks.words import Words

_PAUSE = 0.01


class RestartVerbs:
    """Answers these for `verbs`."""

    def __init__(
        self, house: House, tables: Tables, runtimes: Runtimes, restarter: Restarter
    ) -> None:
        self._house, self._tables = house, tables
        self._runtimes, self._restarter = runtimes, restarter

    def policy(self, namespace: str, words: Words) -> Steps[Any]:
        """Set the policy of a task; `no` also ends a pause before the next run."""
        id, policy = words.text("id"), parse(words.text("policy"))

        def steps() -> Steps[Any]:
            process = self._tables.process(namespace, id)
            record = process.record
            record.restart = str(policy) if policy else ""
            record.store = words.text("store", "") or record.store
            self._restarter.remember_root(process)
            if not policy:
                self._restarter.cancel(process)
            process.save()
            yield from ()  # in steps, as all verbs: this one never waits
            return record.to_json()

        return (yield from self._tables.alone(namespace, id, "update", steps))

    def restart(self, namespace: str, words: Words) -> Steps[Any]:
        """Run a task again that has ended."""
        id = words.text("id")

        def steps() -> Steps[Any]:
            yield from self._restarter.asked(self._tables.process(namespace, id))
            return self._tables.process(namespace, id).record.to_json()

        return (yield from self._tables.alone(namespace, id, VERB, steps))

    def kill(self, namespace: str, id: str, number: int, every: bool) -> Steps[Any]:
        """Signal the init, or all of a task. If that is to end it, its policy counts no more, and the
        answer says in which store that is to be remembered."""
        while self._tables.task(namespace, id).busy == VERB:  # whoever comes is meant, too
            yield Sleep(_PAUSE)
        process = self._tables.process(namespace, id)
        record = process.record
        stops = bool(record.restart) and is_stop(number, record.annotations)
        before, lived = record.stopped, process.alive
        if stops and not before:
            record.stopped = True  # before it ends of this, which may be at once
            process.save()
        if not (stops and self._restarter.cancel(process)):
            try:
                yield from self._runtimes.of(record).kill(id, number, all_processes=every)
            except MobyshellError:
                # it may have ended by itself in this moment: then it is not started again, as was meant
                if not (stops and lived and _has_ended(process)):
                    record.stopped = before
                    raise
        self._tables.look()
        return {"store": record.store} if stops else {}


def _has_ended(process: Process) -> bool:
    """Whether it has, be it written down or not."""
    return not process.alive or (process.pidfd >= 0 and pidfds.has_ended(process.pidfd))

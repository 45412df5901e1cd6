"""The shim's tables: which tasks and processes there are, and which are being made.

Owns membership and the look-up errors. Tasks that ended stay until they are deleted; further
processes too, but only the last ones.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mobyshell.core.errors import AlreadyExists, NotFound, WrongState
from mobyshell.core.runtime.steps import Sleep, Steps
from mobyshell.core.tasks.limits import make_room
from mobyshell.core.tasks.paths import LOGS
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import RECORD
from mobyshell.core.tasks.streams import OUTPUTS
from mobyshell.core.values import field, variable

T = TypeVar("T")

PAUSE = "pause"
"""The verb during which no further process begins."""
_BUSY_PAUSE = 0.01
_MOMENT = 0.001
"""Seconds, in which a process comes to its program."""
_EXECS_KEPT = 32
_LATER = 0.3
"""Seconds, which may be a few more processes."""
_DESCRIPTORS = 7
"""pidfd, up to three streams, the processes' ends of two, the log."""
_COUNTED = 8
"""Processes until it is counted again how many there are; there is room made for these, too."""


@variable
class Task:
    """A task: its init and its further processes. `busy`: the verb that changes it right now;
    `beginning`: how many further processes are on their way, whose programs do not run yet;
    `forgetting`: of those that are there the ones that ended long ago are forgotten in a moment."""

    init: Process
    execs: dict[str, Process] = field(default_factory=dict)
    busy: str = ""
    beginning: int = 0
    forgetting: bool = False


class Tables:
    """All tasks of a state root, by namespace and id. `changed` is called when one comes or ends,
    and before that `ended` with the process that ended."""

    def __init__(
        self, house: House, changed: Callable[[], None], ended: Callable[[Process], None]
    ) -> None:
        self._house = house
        self._changed = changed
        self._has_ended = ended
        self._tasks: dict[tuple[str, str], Task] = {}
        self._making: set[tuple[str, str, str]] = set()
        self._added = 0

    def processes(self) -> Iterator[Process]:
        """Every process of every task."""
        for task in self._tasks.values():
            yield task.init
            yield from task.execs.values()

    def ended(self, process: Process) -> None:
        """A process has ended and everybody was told."""
        self._has_ended(process)
        self._changed()

    def is_init(self, process: Process) -> bool:
        """Whether this is the init of a task that is there."""
        task = self._tasks.get((process.namespace, process.record.id))
        return task is not None and task.init is process

    def look(self) -> None:
        """Something about a task has changed that the tables do not see."""
        self._changed()

    def reserve(self, namespace: str, id: str, exec_id: str = "") -> None:
        """Take a name that is about to be made. AlreadyExists if it is taken."""
        key = (namespace, id, exec_id)
        task = self._tasks.get((namespace, id))
        taken = task is not None if not exec_id else task is not None and exec_id in task.execs
        if taken or key in self._making:
            what = f"process {exec_id} of task {id}" if exec_id else f"task {id}"
            raise AlreadyExists(f"{what} exists already", hint="choose another name, or delete it")
        self._making.add(key)

    def reserved(self, namespace: str, id: str) -> bool:
        """Whether somebody is at the making, or the unmaking, of a task of that name."""
        return (namespace, id, "") in self._making

    def release(self, namespace: str, id: str, exec_id: str = "") -> None:
        """It was made, or will not be."""
        self._making.discard((namespace, id, exec_id))

    def add(self, process: Process) -> None:
        """A process is there: a task's init (also one in the place of that before), or one more."""
        key = (process.namespace, process.record.id)
        if process.record.exec_id:
            self._tasks[key].execs[process.record.exec_id] = process
        elif key in self._tasks:
            self._tasks[key].init = process
        else:
            self._tasks[key] = Task(process)
        if self._added % _COUNTED == 0:
            alive = sum(1 for one in self.processes() if one.alive)
            make_room(_DESCRIPTORS * (alive + _COUNTED))
        self._added += 1
        self._changed()

    def has(self, namespace: str, id: str) -> bool:
        """Whether there is such a task, or one is being made."""
        return (namespace, id) in self._tasks or (namespace, id, "") in self._making

    def task(self, namespace: str, id: str) -> Task:
        """The task, or NotFound; WrongState while it is still being made."""
        task = self._tasks.get((namespace, id))
        if task is not None:
            return task
        if (namespace, id, "") in self._making:
            raise WrongState(f"task {id} is still being created", hint="wait for the create")
        others = sorted({space for space, name in self._tasks if name == id})
        hint = (
            f"there is one in namespace {', '.join(others)}"
            if others
            else "`mobyshell task ls` lists those there are"
        )
        raise NotFound(f"no task {id} in namespace {namespace}", hint=hint)

    def process(self, namespace: str, id: str, exec_id: str = "") -> Process:
        """A task's init, or a further process; NotFound."""
        task = self.task(namespace, id)
        if not exec_id:
            return task.init
        process = task.execs.get(exec_id)
        if process is None:
            raise NotFound(f"task {id} has no process {exec_id}")
        return process

    def alone(self, namespace: str, id: str, verb: str, steps: Callable[[], Steps[T]]) -> Steps[T]:
        """`steps`, made and driven once no other verb is changing the task. NotFound."""
        task = self.task(namespace, id)
        while task.busy:
            yield Sleep(_BUSY_PAUSE)
            task = self.task(namespace, id)
        task.busy = verb
        try:
            return (yield from steps())
        finally:
            task.busy = ""

    def begin(self, namespace: str, id: str) -> Steps[Task]:
        """The task, with one process more on its way: not while it is being paused, which would stop
        that somewhere in between. The caller takes it off `beginning` again. NotFound."""
        task = self.task(namespace, id)
        while task.busy == PAUSE:
            yield Sleep(_BUSY_PAUSE)
            task = self.task(namespace, id)
        task.beginning += 1
        return task

    def begun(self, namespace: str, id: str, patience: float) -> Steps[None]:
        """Wait until all that is on its way has come to its program, for so many seconds. NotFound."""
        until = time.monotonic() + patience
        while self.task(namespace, id).beginning and time.monotonic() < until:
            yield Sleep(_MOMENT)

    def remove(self, namespace: str, id: str) -> None:
        """A task was deleted: let go of all of it."""
        task = self._tasks.pop((namespace, id), None)
        if task is not None:
            for process in (*task.execs.values(), task.init):
                process.close()
        self._changed()

    def drop(self, process: Process) -> None:
        """Forget a further process that has ended, and its files."""
        task = self._tasks.get((process.namespace, process.record.id))
        if task is None or task.execs.get(process.record.exec_id) is not process:
            return  # the task was deleted, and all of it
        del task.execs[process.record.exec_id]
        process.close()
        _remove(process.directory)
        self._changed()

    def forget_old_execs(self, namespace: str, id: str) -> None:
        """Of the processes that ended, keep the last ones: later, when nobody waits for us."""
        task = self._tasks.get((namespace, id))
        if task is not None and not task.forgetting and len(task.execs) > _EXECS_KEPT:
            task.forgetting = True
            self._house.loop.call_later(_LATER, lambda: self._forget(namespace, id))

    def _forget(self, namespace: str, id: str) -> None:
        task = self._tasks.get((namespace, id))
        if task is None:
            return
        task.forgetting = False
        ended = [process for process in task.execs.values() if not process.alive]
        for process in ended[: max(0, len(ended) - _EXECS_KEPT)]:
            del task.execs[process.record.exec_id]
            process.close()
            _remove(process.directory)


def _remove(directory: str) -> None:
    """What is there of a process that ended. Usually that is little, and then taken away by name."""
    try:
        for name in (RECORD, *OUTPUTS):
            os.unlink(f"{directory}/{name}")
        os.rmdir(f"{directory}/{LOGS}")
        os.rmdir(directory)
    except OSError:
        shutil.rmtree(directory, ignore_errors=True)

"""The kernel's namespaces as a person looks at them: with the tasks that the processes belong to.

Owns the seam (`Kernel`) behind which screens look, and the words for one. Changes nothing; every
call may block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.namespaces.details import Fact, details, user_name
from mobyshell.core.linux.namespaces.survey import survey
from mobyshell.core.linux.namespaces.values import Namespace, Survey
from mobyshell.core.tasks.membership import owners
from mobyshell.core.values import field, value

if TYPE_CHECKING:
    from mobyshell.core.tasks.service import TaskInfo


@value
class Look:
    """What was seen at once: namespaces and processes, and the task of each process that has one.
    `untold` says why tasks are not known, "" if they are; `us` is the process that looked."""

    survey: Survey
    tasks: Mapping[int, TaskInfo]
    untold: str = ""
    us: int = field(default_factory=os.getpid)

    def tasks_in(self, one: Namespace) -> list[TaskInfo]:
        """The tasks that have processes in a namespace; none of one that we are in ourselves, which
        is the machine's and not a task's, whoever of them is in it."""
        if self.us in one.members:
            return []
        found = [self.tasks[pid] for pid in one.members if pid in self.tasks]
        return list({(task.namespace, task.id): task for task in found}.values())


class Kernel(Protocol):
    """What screens ask."""

    def look(self) -> Look:
        """All that can be seen now. MobyshellError, OSError."""
        ...

    def details(self, look: Look, one: Namespace) -> Sequence[Fact]:
        """What is inside one."""
        ...


class LiveKernel:
    """`Kernel` of this machine, with the tasks that `every_task` gives."""

    def __init__(self, every_task: Callable[[], Sequence[TaskInfo]]) -> None:
        self._every_task = every_task

    def look(self) -> Look:
        found = survey()
        try:
            return Look(found, owners(found, self._every_task()))
        except MobyshellError as error:
            return Look(found, {}, error.message)

    def details(self, look: Look, one: Namespace) -> Sequence[Fact]:
        return details(look.survey, one)


def kept_by(look: Look, one: Namespace) -> str:
    """Why a namespace is there, in a few words: its first process, or what else holds it."""
    first = look.survey.first(one)
    if first is not None:
        return first.command
    return ", ".join(str(hold) for hold in one.holds[:2])


def owner_name(look: Look, one: Namespace) -> str:
    """Who made the user namespace that owns this one (of a user namespace: who made it)."""
    if one.kind == "user":
        return user_name(one.owner_uid)
    owner = look.survey.find(one.owner)
    return user_name(owner.owner_uid) if owner is not None else ""

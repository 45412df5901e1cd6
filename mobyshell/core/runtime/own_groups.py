"""The cgroups of one container while it is being created: what of them is ours, and so ours to undo."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from mobyshell.core.linux import cgroups, resctrl
from mobyshell.core.runtime import groups
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.operations.cgroups import MAKING
from mobyshell.core.runtime.plan import Operation, Plan
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.program import ID, Program

# how often the way to our cgroups may be taken away while we make them
_PARENT_GONE = 5
_SECTIONS = ("config-linux.md#cgroups-path", "config-linux.md#control-groups")


class OwnGroups:
    """`paths`: controller → directory. `unit`: of systemd, or "". `levels`: directories on the way
    that are made, too, deepest first. `classes`: directories of resctrl that are its own."""

    def __init__(self, prepared: Prepared, id: str) -> None:
        self.classes: tuple[str, ...] = ()
        self.paths = prepared.cgroups(id)
        self.unit = prepared.unit(id)
        # a cgroupsPath may name groups that are somebody else's: those are not ours to remove.
        # Whose they are the kernel says when they are made; systemd makes its own behind our back
        there = os.path.lexists if self.unit else _nowhere
        self._foreign = {path for path in self.paths.values() if there(path)}
        self._own: frozenset[str] = frozenset()
        self._made = prepared.groups_made
        self._id = id
        made = [
            path
            for name, path in self.paths.items()
            if not self.unit or name in groups.UNMANAGED  # systemd keeps its slices itself
        ]
        self.levels = cgroups.missing_levels(made, prepared.firm)
        self._started = False

    def known(self) -> dict[str, object]:
        """What the next creator has to remove if this one is killed."""
        own = {f"resctrl {number}": path for number, path in enumerate(self.classes)}
        return {**self.paths, **own, states.LEVELS: self.levels}

    def make(
        self, executor: Executor, program: Program, plan: Plan, part: str = "prepare"
    ) -> int | None:
        """Run the program of a part that makes cgroups, as `Executor.run`; once more if the way to
        them is taken away meanwhile, by the delete of the last other container below a level that we
        share."""
        before = self._own
        failed = self._run(executor, program, part)
        for _ in range(_PARENT_GONE):
            if failed is None or program.report(failed)[1] != errno.ENOENT:
                break
            if plan.operations[program.origins[failed].operation].spec not in _SECTIONS:
                break
            # the child may be in those of another part already
            cgroups.remove(self._named(self._own - before))
            cgroups.remove_empty(self.levels)
            self._own = before
            missing = cgroups.missing_levels(self.paths.values())
            self.levels = tuple(dict.fromkeys((*missing, *self.levels)))
            failed = self._run(executor, program, part)
        return failed

    def _run(self, executor: Executor, program: Program, part: str) -> int | None:
        failed = executor.run(program)
        if not self.unit:
            ran = program.length if failed is None else failed
            self._own = self._own | {
                path
                for index, path in self._made(part, program)
                if index < ran and program.report(index)[1] == 0
            }
        return failed

    def _named(self, templates: Iterable[str]) -> list[str]:
        return [one.replace(ID, self._id) for one in templates]

    def start_unit(self, operation: Operation, pid: int) -> bool:
        """Have systemd start the unit around the child, if that is what `operation` is."""
        if not self.unit:
            return False
        from mobyshell.core.runtime import systemd
        from mobyshell.core.runtime.operations.units import START

        if not operation.calls or operation.calls[0].name != START:
            return False
        systemd.start(operation, pid)
        self._started = True
        return True

    def undo(self) -> None:
        """Remove what was made. The child must be gone. MobyshellError for what stays."""
        if self._started:
            from mobyshell.core.runtime import systemd

            systemd.stop(self.unit, owner=os.geteuid())
        self._remove()
        resctrl.remove(self.classes)

    def ours(self) -> list[str]:
        """Those of the groups that are nobody else's."""
        if not self.unit:
            return self._named(self._own)
        return [path for path in self.paths.values() if path not in self._foreign]

    def _remove(self) -> None:
        cgroups.remove(self.ours())
        cgroups.remove_empty(self.levels)


def hold_back(program: Program) -> None:
    """Have the child that will run `program` wait for its cgroups, if it is there before they are."""
    program.put(MAKING.name, b"\1")


def admit(program: Program) -> None:
    """They are made."""
    program.put(MAKING.name, b"")


def _nowhere(_: str) -> bool:
    return False

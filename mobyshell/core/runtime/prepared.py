"""Plans with their programs, made once for each spec and used for many containers.

Owns the memory: a program lies in a mapping of its own, is lent to one container at a time, and
comes back when that one has started (or failed). Only the id and the snapshot differ
between two containers of one spec, and they have their places in the programs' texts.
"""

from __future__ import annotations

from collections.abc import Mapping

from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.plan import SNAPSHOT, Actor, Operation, Phase, Plan, Text, named
from mobyshell.core.runtime.program import ID, Program
from mobyshell.core.values import replace

KEPT_PROGRAMS = 4
KEPT_PLANS = 32
KEPT_EXECS = 8

CHILD = (Phase.SETUP, Phase.PIVOT, Phase.WAIT, Phase.EXEC)


class Prepared:
    """A plan whose id is a placeholder, and the programs of its parts.

    `firm`: directories of cgroups that are there as long as we are.
    """

    def __init__(self, plan: Plan, firm: frozenset[str] = frozenset()) -> None:
        self.template, self.firm = plan, firm
        self._groups: dict[str, tuple[tuple[int, str], ...]] = {}
        self._calls: dict[str, frozenset[str]] = {}
        self._free: dict[str, list[Program]] = {}
        self._parts: dict[str, tuple[tuple[int, Operation], ...]] = {
            "prepare": plan.of(Actor.PARENT, Phase.PREPARE),
            "beside": plan.of(Actor.PARENT, Phase.BESIDE),
            "join": plan.of(Actor.CHILD, Phase.JOIN),
            "attach": plan.of(Actor.PARENT, Phase.ATTACH),
            "child": plan.of(Actor.CHILD, *CHILD),
        }

    def plan(self, id: str, snapshot: str = "") -> Plan:
        """The plan of container `id`, whose own layer is in the directory `snapshot`."""
        plan = replace(named(self.template, ID, id), id=id)
        return named(plan, SNAPSHOT, snapshot) if snapshot else plan

    def bundle(self, id: str) -> tuple[str, str]:
        """The bundle of container `id`, and its root filesystem."""
        return self.template.bundle.replace(ID, id), self.template.rootfs.replace(ID, id)

    def cgroups(self, id: str) -> dict[str, str]:
        """The cgroups of container `id`."""
        return {name: path.replace(ID, id) for name, path in self.template.cgroups.items()}

    def groups_made(self, part: str, program: Program) -> tuple[tuple[int, str], ...]:
        """Which records of the program of `part` make cgroups of the container's, and which of them."""
        if part not in self._groups:
            wanted, found = set(self.template.cgroups.values()), []
            for index, origin in enumerate(program.origins):
                calls = self.template.operations[origin.operation].calls
                call = calls[origin.call] if origin.call >= 0 else None
                if call is not None and call.name == "mkdirat":
                    path = call.args[1]
                    if isinstance(path, Text) and path.value in wanted:
                        found.append((index, path.value))
            self._groups[part] = tuple(found)
        return self._groups[part]

    def unit(self, id: str) -> str:
        """The unit of systemd of container `id`; "" if it has none."""
        return self.template.unit.replace(ID, id)

    def has(self, part: str) -> bool:
        """Whether the part has any operations."""
        return bool(self._parts[part])

    def calls(self, part: str) -> frozenset[str]:
        """The names of the calls of a part, pseudo calls among them."""
        found = self._calls.get(part)
        if found is None:
            names = (call.name for _, one in self._parts[part] for call in one.calls)
            found = self._calls[part] = frozenset(names)
        return found

    def take(self, part: str, values: Mapping[str, str]) -> Program:
        """A program of a part (prepare, beside, join, attach, child), filled with `values`, for one
        run."""
        program = self.borrow(part)
        program.fill(values)
        return program

    def borrow(self, part: str) -> Program:
        """A program of a part as it is, for one run."""
        free = self._free.setdefault(part, [])
        return free.pop() if free else assemble(self._parts[part])

    def operations(self, part: str) -> tuple[Operation, ...]:
        """The operations of a part."""
        return tuple(operation for _, operation in self._parts[part])

    def give(self, part: str, program: Program) -> None:
        """The program has run, and nobody will read its reports any more."""
        free = self._free.setdefault(part, [])
        if len(free) < KEPT_PROGRAMS:
            program.reset()
            free.append(program)
        else:
            program.close()

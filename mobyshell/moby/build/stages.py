"""Which stages of a build are needed, and which of them a word names. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mobyshell.core.errors import UsageError
from mobyshell.moby.build.steps import Copy, Run, Stage


def wanted(stages: Sequence[Stage], target: str) -> list[int]:
    """The stages that are needed, in their order: what nothing asks for is not built."""
    by_name = {one.name: index for index, one in enumerate(stages) if one.name}
    last = len(stages) - 1
    if target:
        number = by_name.get(target.lower(), int(target) if target.isdecimal() else -1)
        if not 0 <= number < len(stages):
            raise UsageError(f"there is no stage {target:.40}",
                             hint=f"there are: {', '.join(by_name) or 'none with a name'}")  # fmt: skip
        last = number
    needed, pending = {last}, [last]
    while pending:
        index = pending.pop()
        one = stages[index]
        asked = [one.base]
        for step in one.steps:
            if isinstance(step, Copy):
                asked.append(step.source)
            elif isinstance(step, Run):
                asked += [mount.base for mount in step.mounts]
        for word in asked:
            found = stage_of(word, by_name, index)
            if found is not None and found not in needed:
                needed.add(found)
                pending.append(found)
    return sorted(needed)


def stage_of(word: str, by_name: Mapping[str, int], before: int) -> int | None:
    """The number of the stage that `word` names, by its name or number; only earlier ones count."""
    found = by_name.get(word.lower()) if word else None
    if found is None and word.isdecimal():
        found = int(word)
    return found if found is not None and found < before else None

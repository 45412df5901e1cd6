"""Experiments 1 and 3: kill -9 at each step of what changes the store, by the program itself.

What was said to be there is there, whole; nothing is half there; the same command succeeds; when it
is taken back, nothing is left. strace counts for each thread, and there are several: the program's,
the worker's that unpacks, the shim's and the container's of a build.
"""

from __future__ import annotations

import pytest

from tests.faults.record import note
from tests.faults.scenes import ACTS, Act, Judge, Stage
from tests.faults.strace import CHANGES, points, some, strike

pytestmark = [pytest.mark.root, pytest.mark.peer]

SAMPLE = 2


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_killed_at_each_step(stage: Stage, act: Act) -> None:
    judge = Judge(stage, act)
    first = stage.place()
    log = stage.directory / "log"
    every = points(judge.words(first), CHANGES, log, first.env)
    stage.forget(first)
    wrong: dict[str, list[str]] = {}
    tried = 0
    chosen = some(every, SAMPLE)
    for point in chosen:
        place = stage.place()
        struck = strike(judge.words(place), point, "signal=KILL", log, place.env)
        tried += struck.hit
        if found := judge.wrong(place, done=struck.done.returncode == 0):
            wrong[str(point)] = found
        else:
            stage.forget(place)
    note(act.experiment, f"kill -9 in {act.name}", tried, len(wrong), judge.worst)
    assert wrong == {}
    assert tried > len(chosen) // 2

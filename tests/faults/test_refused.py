"""Experiments 4 and 10: each call that changes the disk is refused once (EIO, ENOSPC), or from some
moment on (a full disk), and calls that wait are interrupted again and again (EINTR).

The program ends with a message of a line and its hint, or succeeds; the store is sound; the same
command succeeds when there is room again, and nothing is left of the first.
"""

from __future__ import annotations

import pytest

from tests.faults.record import note
from tests.faults.scenes import ACTS, Act, Judge, Stage
from tests.faults.strace import ALL, DISK, NAMES, Point, Struck, points, some, strike

pytestmark = [pytest.mark.root, pytest.mark.peer]

SAMPLE = 2
WRITING = (*NAMES, *DISK, "copy_file_range", "sendfile")
WAITING = ("flock", "recvmsg", "sendmsg", "poll", "epoll_wait", "waitid", "wait4")
"""Those that a signal can interrupt here: reads and writes of files on a disk never are (signal(7))."""
FAULTS = ("error=ENOSPC", "error=ENOSPC+", "error=EIO")
SPACE = ("space", "disk", "ENOSPC", "full")


def told(struck: Struck, fault: str) -> list[str]:
    """What is wrong with how it said that it failed."""
    done = struck.done
    if not struck.clean:
        return [f"a traceback: {done.stderr}"]
    if done.returncode == 0:
        return []
    lines = [line for line in done.stderr.splitlines() if line.startswith("mobyshell: ")]
    if len(lines) != 1:
        return [f"said: {done.stderr}"]
    if "ENOSPC" in fault and not any(word in done.stderr for word in SPACE):
        return [f"does not name the space: {done.stderr}"]
    return []


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.name)
def test_refused_at_each_step(stage: Stage, act: Act) -> None:
    judge = Judge(stage, act)
    first = stage.place()
    log = stage.directory / "log"
    every = points(judge.words(first), WRITING, log, first.env)
    stage.forget(first)
    wrong: dict[str, list[str]] = {}
    tried = 0
    # one kind of fault for each act in every run, all kinds in a sweep
    faults = FAULTS if ALL else [FAULTS[ACTS.index(act) % len(FAULTS)]]
    for number, fault in enumerate(faults):
        for point in some(every[number:], SAMPLE):
            place = stage.place()
            struck = strike(judge.words(place), point, fault, log, place.env)
            tried += struck.hit
            found = told(struck, fault) if struck.hit else []
            found += judge.wrong(place, done=struck.done.returncode == 0)
            if found:
                wrong[f"{point} {fault}"] = found
            else:
                stage.forget(place)
    note(4, f"calls refused in {act.name}", tried, len(wrong), judge.worst)
    assert wrong == {}
    assert tried > 0


@pytest.mark.parametrize("act", [one for one in ACTS if ALL or one.name == "pull"],
                         ids=lambda act: act.name)  # fmt: skip
def test_interrupted_again_and_again(stage: Stage, act: Act) -> None:
    judge = Judge(stage, act)
    wrong: dict[str, list[str]] = {}
    tried = 0
    for call in WAITING if ALL else WAITING[:2]:
        place = stage.place()
        struck = strike(judge.words(place), Point(call, 3), "error=EINTR+2",
                        stage.directory / "log", place.env)  # fmt: skip
        tried += struck.hit
        found = [] if struck.done.returncode == 0 else [struck.done.stderr]
        found += judge.wrong(place, done=struck.done.returncode == 0)
        if found:
            wrong[call] = found
        else:
            stage.forget(place)
    note(10, f"interrupted in {act.name}", tried, len(wrong), judge.worst)
    assert wrong == {}

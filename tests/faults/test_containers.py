"""Experiment 2: kill -9 at each step of a container's life, of whoever is at it: the command, the
keeper, the shim, the container's own init before it is what it shall be.

Afterwards a task is created, running, stopped or absent; what is left is deleted by force, with its
processes, cgroups and mounts; and all can be done again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.core.runtime.conftest import cgroups_left
from tests.faults.living import clear
from tests.faults.record import note
from tests.faults.scenes import Place, Stage, findings, listing, mounts_below, quiet
from tests.faults.strace import HERE, NAMES, Point, points, some

pytestmark = [pytest.mark.root, pytest.mark.peer]

SAMPLE = 3
CALLS = (*NAMES, "mount", "move_mount", "umount2", "pivot_root", "sethostname", "execve", "sendmsg",
         "fdatasync")  # fmt: skip


def life(place: Place) -> list[str]:
    return [sys.executable, "-m", "tests.faults.living", str(place.root), str(place.state)]


def killed(place: Place, point: Point, log: Path) -> bool:
    """Live it, with a death at this point; whether anybody died. strace is not waited for, as it
    stays with a shim that stays with a task; and it is ended, since it counts anew in each process
    and would kill every successor."""
    words = ["strace", "-DDD", "-f", "-q", "-o", str(log), "-e", f"trace={point.call}",
             "-e", f"inject={point.call}:signal=KILL:when={point.number}", *life(place)]  # fmt: skip
    with open(os.devnull, "r+") as null:
        subprocess.run(words, cwd=HERE, env=place.env, stdin=null, stdout=null, stderr=null,
                       timeout=180, check=False)  # fmt: skip
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                running = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if running[0] == b"strace" and bytes(log) in running:
                os.kill(int(entry.name), signal.SIGKILL)
    return any(line.endswith("= ?") for line in log.read_text(errors="replace").splitlines())


def wrong(place: Place, before: set[str]) -> list[str]:
    """What is wrong then."""
    found = clear(str(place.root), str(place.state))
    found += [f"a process stays: {one}" for one in quiet(place)]
    found += [f"a cgroup stays: {one}" for one in cgroups_left(place.state / "demo")]
    found += [f"mounted: {one}" for one in mounts_below(place.directory)]
    found += findings(place.root)
    found += [f"other files: {one}" for one in sorted(before ^ listing(place.root))[:5]]
    again = subprocess.run(life(place), cwd=HERE, env=place.env, capture_output=True, text=True,
                           timeout=120, check=False)  # fmt: skip
    if again.stdout.split()[-1:] != ["deleted"]:
        found.append(f"again: {again.stdout} {again.stderr}")
    return found + [f"a process stays: {one}" for one in quiet(place)]


def test_killed_at_each_step_of_a_life(stage: Stage) -> None:
    first = stage.place()
    before = listing(first.root)
    log = stage.directory / "log"
    every = points(life(first), CALLS, log, first.env)
    stage.forget(first)
    failed: dict[str, list[str]] = {}
    tried, worst = 0, 0.0
    # among its cgroups, before there is a record of it
    chosen = [Point("mkdirat", 3), *some(every, SAMPLE)]
    for number, point in enumerate(chosen):
        place = stage.place()
        tried += killed(place, point, stage.directory / f"log-{number}")
        began = time.monotonic()
        if found := wrong(place, before):
            failed[str(point)] = found
        else:
            stage.forget(place)
        worst = max(worst, time.monotonic() - began)
    note(2, "kill -9 in a container's life", tried, len(failed), worst)
    assert failed == {}
    assert tried > SAMPLE // 2

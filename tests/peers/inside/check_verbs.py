"""start, state, kill and delete by a container's record, without Python, on cgroup v2 alone."""

from __future__ import annotations

import json
import os
import subprocess

from mobyshell.core.runtime.state import read
from mobyshell.core.runtime.state import status as now
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from mobyshell.runc import verbs
from tests.core.runtime.conftest import House
from tests.waiting import eventually

PYTHON = 98


def call(house: House, verb: str, number: int = 9) -> subprocess.CompletedProcess[str]:
    """The program as scripts/mobyshell-runc calls it, with an end of its own instead of Python."""
    end = house.runtime.root / "end"
    end.write_text(f"#!/bin/sh\nexit {PYTHON}\n")
    end.chmod(0o755)
    words = [str(verbs.TARGET), verb, str(house.runtime.root), "c", str(number), "", str(end)]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    finally:
        end.unlink()


def status(house: House) -> str:
    done = call(house, "state")
    assert done.returncode == 0
    state = read(house.runtime.root, "c")
    said = str(json.loads(done.stdout)["status"])
    assert said == "stopped" or said == str(now(house.runtime.root, state))
    return said


def test_a_whole_life_by_the_record(house: House) -> None:
    container = house.create("c", house.spec(None, "sleep", "1000"))
    os.close(container.pidfd)
    groups = read(house.runtime.root, "c").cgroups
    assert list(groups) == [""]
    assert status(house) == "created"
    assert call(house, "start").returncode == 0
    assert call(house, "start").returncode == PYTHON
    assert status(house) == "running"
    run(house.runtime.pause("c"))
    assert status(house) == "paused"
    assert call(house, "delete").returncode == PYTHON
    assert call(house, "kill").returncode == 0
    eventually(lambda: status(house) == "stopped")
    assert call(house, "kill-all").returncode == 0
    assert call(house, "delete").returncode == 0
    assert not os.path.exists(groups[""])


def test_everybody_is_killed_by_the_record(house: House) -> None:
    for verb in ("kill-all", "delete-force"):
        words = ("sh", "-c", "sleep 1000 & sleep 1000 & wait")
        container = house.create("c", house.spec(None, *words))
        os.close(container.pidfd)
        assert call(house, "start").returncode == 0
        group = read(house.runtime.root, "c").cgroups[""]
        inside = f"{group}/inside"
        os.mkdir(inside)
        assert call(house, "delete").returncode == PYTHON
        os.rmdir(inside)
        run(house.runtime.pause("c"))
        assert call(house, verb).returncode == 0
        if verb == "kill-all":
            eventually(lambda: status(house) == str(Status.STOPPED))
            assert call(house, "delete-force").returncode == 0
        assert not os.path.exists(group)
        assert call(house, "delete-force").returncode == 0

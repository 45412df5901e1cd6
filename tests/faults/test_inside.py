"""Experiment 9: what a container does to exhaust the machine stays its own affair. Meanwhile the
host's commands answer, and what it is can be ended.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.runtime.conftest import cgroups_left
from tests.faults.record import note
from tests.faults.scenes import Place, Stage, mounts_below, quiet
from tests.faults.strace import ALL, HERE

pytestmark = pytest.mark.root

LINES = 1_000_000 if ALL else 100_000
LONG = (100 if ALL else 10) << 20
MONITOR = 50 << 20
"""Bytes that keeper and shim may have in memory."""
PATIENCE = 60.0


@pytest.fixture
def place(stage: Stage) -> Iterator[Place]:
    place = stage.place()
    try:
        yield place
    finally:
        place.run("task", "delete", "--force", "box")
        assert quiet(place) == []
        assert cgroups_left(place.state / "demo") == []
        assert mounts_below(place.directory) == []


def start(place: Place, *words: str) -> None:
    place.ok("container", "run", "-d", "--name", "box", *words)


def monitors(place: Place) -> int:
    """Bytes in memory of the processes that watch."""
    most = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes()
                pages = int((entry / "statm").read_text().split()[1])
            except OSError:
                continue
            if b"tasks/shim.py" in words and bytes(place.state) in words:
                most = max(most, pages * 4096)
    return most


def answers(place: Place, name: str) -> None:
    """The host's commands work, the monitor is small, and the container is gone when told to."""
    began = time.monotonic()
    for words in (("task", "ls", "--json"), ("image", "ls"), ("task", "stats", "box")):
        place.ok(*words)
    answered = time.monotonic() - began
    grown = monitors(place)
    began = time.monotonic()
    place.ok("task", "delete", "--force", "box")
    deleted = time.monotonic() - began
    note(9, name, 1, 0, deleted)
    assert answered < PATIENCE
    assert deleted < PATIENCE
    assert 0 < grown < MONITOR, grown


def eventually(place: Place, question: str, *words: str) -> None:
    """Wait until the output of a command has something in it."""
    deadline = time.monotonic() + PATIENCE
    while question not in (said := place.ok(*words)):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)


def test_a_fork_bomb(place: Place) -> None:
    bomb = "(while :; do sleep 1000 & done) & exec sleep 1000"
    start(place, "--pids-limit", "64", "base", "--", "sh", "-c", bomb)
    deadline = time.monotonic() + PATIENCE
    while (json.loads(said := place.ok("task", "stats", "box", "--json"))["pids"] or 0) < 32:
        assert time.monotonic() < deadline, said
    answers(place, "fork bomb")


def test_memory_beyond_the_limit_is_said_to_be_that(place: Place) -> None:
    done = place.run("container", "run", "--name", "box", "--memory", "64m", "base", "--", "sh", "-c",
                     "exec busybox dd if=/dev/zero of=/dev/null bs=512M count=1")  # fmt: skip
    note(9, "memory", 1, 0)
    assert done.returncode == 137
    assert "memory" in done.stderr


def test_a_flood_of_lines_without_a_reader(place: Place) -> None:
    start(place, "base", "--", "sh", "-c", f"busybox yes 000 | busybox head -n {LINES}; sleep 1000")
    eventually(place, "000", "task", "logs", "--tail", "1", "box")
    answers(place, "flood of lines")


def test_a_line_without_an_end(place: Place) -> None:
    script = f"busybox head -c {LONG} /dev/zero; echo; echo over; sleep 1000"
    start(place, "base", "--", "sh", "-c", script)
    eventually(place, "over", "task", "logs", "--tail", "1", "box")
    answers(place, "line without an end")


def test_descriptors_without_end(place: Place) -> None:
    """Some thousand of them, by processes that only hold them."""
    start(place, "base", "--", "sh", "-c",
          "exec 3>/dev/null 4>/tmp/a 5>/tmp/b 6>/tmp/c 7>/tmp/d 8>/tmp/e 9>/tmp/f;"
          "n=0; while [ $n -lt 200 ]; do n=$((n+1)); sleep 1000 & done; echo all; wait")  # fmt: skip
    eventually(place, "all", "task", "logs", "--tail", "1", "box")
    answers(place, "descriptors")


def test_a_root_that_is_filled(stage: Stage, tmp_path: Path) -> None:
    """The store's disk is full because of it: it is told so, and all others go on."""
    (tmp_path / "small").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "small", str(tmp_path / "small")],
                   check=True)  # fmt: skip
    try:
        place = Place(tmp_path / "small" / "p", stage.env)
        place.directory.mkdir()
        source = stage.place()
        subprocess.run(["cp", "-a", str(source.root), str(place.root)], check=True, cwd=HERE)
        here = place.words("container", "run", "--name", "box", "base", "--", "sh", "-c",
                           "busybox dd if=/dev/zero of=/big bs=1M; echo status $?")  # fmt: skip
        state = here.index("--state") + 1
        here[state] = str(tmp_path / "state")
        done = subprocess.run(here, env=stage.env, cwd=HERE, capture_output=True, text=True,
                              timeout=120, check=False)  # fmt: skip
        note(9, "full root", 1, 0)
        assert "No space left" in done.stderr
        assert "status 1" in done.stdout
        for words in (("task", "delete", "--force", "box"), ("container", "rm", "box"),
                      ("store", "gc"), ("image", "ls")):  # fmt: skip
            line = place.words(*words)
            line[state] = str(tmp_path / "state")
            subprocess.run(line, env=stage.env, cwd=HERE, check=True, capture_output=True,
                           timeout=120)  # fmt: skip
        assert quiet(place) == []
    finally:
        subprocess.run(["umount", str(tmp_path / "small")], check=True)

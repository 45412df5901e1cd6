"""Experiment 10: what is around fails, lacks or hangs: descriptors, a writable store, the clock, who
holds a lock, the state root after a reboot. The error names the culprit, and all goes on afterwards.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mobyshell.core.clock import ManualClock
from mobyshell.core.errors import TimedOut
from mobyshell.core.store.database import Database
from mobyshell.core.store.store import Store
from tests.faults.record import note
from tests.faults.scenes import MADE, Place, Stage, findings, listing, quiet
from tests.faults.strace import ALL, HERE

pytestmark = pytest.mark.root

DAY = 24 * 3600


@pytest.fixture
def place(stage: Stage) -> Place:
    return stage.place()


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that says what failed."""
    assert "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("mobyshell: ")]
    return line


@pytest.mark.parametrize("limit", [12, 16, 20, 24, 28, 32, 48, 64] if ALL else [12, 20, 32])
def test_too_few_descriptors(stage: Stage, place: Place, limit: int) -> None:
    before = listing(place.root)

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    words = place.words("image", "import", str(stage.archive), "--name", "made")
    done = subprocess.run(words, env=place.env, cwd=HERE, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=120, preexec_fn=few)  # fmt: skip
    if done.returncode:
        assert "open files" in complaint(done)
    assert findings(place.root) == []
    place.ok("image", "import", str(stage.archive), "--name", "made")
    place.ok("image", "rm", "made")
    place.ok("store", "gc")
    note(10, f"{limit} descriptors", 1, 0)
    assert listing(place.root) == before


def test_a_store_that_cannot_be_written(stage: Stage, place: Place, tmp_path: Path) -> None:
    """Bound read only: what reads works, what writes says why it does not."""
    there = tmp_path / "there"
    there.mkdir()
    subprocess.run(["mount", "--bind", str(place.directory), str(there)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(there)], check=True)
        fixed = Place(there, place.env)
        done = fixed.run("image", "rm", "base")
        said = complaint(done) + done.stderr
        assert "read-only" in said.lower(), said
    finally:
        subprocess.run(["umount", str(there)], check=True)
    note(10, "read-only store", 1, 0)
    assert "base" in place.ok("image", "ls")


@pytest.mark.parametrize("days", [1, -1])
def test_a_clock_that_jumps_while_something_is_written(
    stage: Stage, place: Place, days: int
) -> None:
    """A collection with another time, at every step of an import: nothing of it is lost."""
    target = stage.place()
    process = subprocess.Popen(
        target.words("image", "import", str(stage.archive), "--name", "made"), env=target.env,
        cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    clock = ManualClock(time.time_ns() + days * DAY * 1_000_000_000)
    runs = 0
    with Store.open(target.root, clock=clock) as store:
        while process.poll() is None:
            store.collect()
            runs += 1
    assert process.stderr is not None
    said = process.stderr.read()
    process.stderr.close()
    note(10, f"clock {days:+} day, collections", runs, int(process.returncode != 0))
    assert process.returncode == 0, said
    with Store.open(target.root) as store:
        space = store.namespace("demo")
        for one in space.content.walk():
            space.content.verify(one.digest)
        assert space.images.get(MADE)
    assert findings(target.root) == []
    assert findings(place.root) == []


HOLD = """
import sys, time
from pathlib import Path
from mobyshell.core.store.store import Store
with Store.open(Path(sys.argv[1])) as store, store.database.write():
    print("held", flush=True)
    time.sleep(1000)
"""


def test_who_holds_the_lock_and_sleeps_is_named(place: Place) -> None:
    """Stopped by SIGSTOP: others wait, are told whom for, and go on when it is woken, or killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(place.root)], cwd=HERE, text=True,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    os.kill(process.pid, signal.SIGSTOP)
    try:
        with (
            Database(place.root / "meta.db", patience=0.5) as database,
            pytest.raises(TimedOut, match=f"process {process.pid}"),
            database.write(),
        ):
            raise AssertionError
        waiting: list[int] = []

        def remove() -> None:
            waiting.append(place.run("image", "rm", "base").returncode)

        thread = threading.Thread(target=remove)
        thread.start()
        time.sleep(0.2)
        assert waiting == []
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    thread.join()
    note(10, "stopped holder of the lock", 1, 0)
    assert waiting == [0]


def test_after_a_reboot(place: Place) -> None:
    """All processes gone, and the state root with them; the store is what it was."""
    place.ok("container", "run", "-d", "--name", "box", "base", "--", "sleep", "1000")
    (one,) = [json.loads(line) for line in place.ok("task", "ls", "--json").splitlines()]
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes()
            except OSError:
                continue
            if bytes(place.state) in words:
                os.kill(int(entry), signal.SIGKILL)
    os.kill(one["pid"], signal.SIGKILL)
    assert quiet(place) == []
    subprocess.run(["rm", "-rf", str(place.state)], check=True)
    assert place.ok("task", "ls", "--json") == ""
    assert "box" in place.ok("container", "ls", "--json")
    place.ok("container", "start", "-d", "box")
    (again,) = [json.loads(line) for line in place.ok("task", "ls", "--json").splitlines()]
    note(10, "reboot", 1, 0)
    assert again["status"] == "running"
    place.ok("task", "delete", "--force", "box")
    place.ok("container", "rm", "box")
    assert quiet(place) == []
    assert findings(place.root) == []


@pytest.mark.parametrize(
    ("script", "said"),
    [(None, "no runtime"), ("exit 3", "3"), ("kill -9 $$", "137"), ("echo '{' ; exit 0", "")],
)
def test_a_runtime_that_fails(place: Place, tmp_path: Path, script: str | None, said: str) -> None:
    """Missing, failing, killed, or talking nonsense."""
    program = tmp_path / "runtime"
    if script is not None:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    done = place.run("container", "run", "--rm", "--runtime", str(program), "--name", "box", "base",
                     "--", "true")  # fmt: skip
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert said in done.stderr or str(program) in done.stderr
    place.run("task", "delete", "--force", "box")
    place.run("container", "rm", "box")
    note(10, f"runtime: {script}", 1, 0)
    assert quiet(place) == []
    assert findings(place.root) == []
    assert place.ok("container", "ls", "--json") == ""

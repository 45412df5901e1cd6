"""kill -9 at any step of unpacking, of all its processes, and power cuts: what was said to be there
is there, whole; nothing is half there; whoever comes next finds no trace.

Some points in every run, all of them by `make sweep`.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.store.snapshots.choose import DRIVERS
from tests.core.store.unpack_actor import judge
from tests.faults.record import note

pytestmark = [pytest.mark.root, pytest.mark.peer]

CALLS = ("rename", "fsync", "fdatasync", "syncfs", "mkdir", "mkdirat", "mknodat", "rmdir",
         "unlinkat", "pwrite64", "ftruncate")  # fmt: skip
ALL = os.environ.get("MOBYSHELL_SWEEP") == "all"
POINTS, CUTS = (10_000, 30) if ALL else (4, 2)
HERE = Path(__file__).parents[3]
TOOLS = {**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
"""For programs that are only root's to find."""


@pytest.fixture(params=sorted(DRIVERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def strace(root: Path, name: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["strace", "-f", "-qq", *flags, sys.executable, "-m", "tests.core.store.unpack_actor",
         str(root), name, "1"],
        cwd=HERE, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def points(directory: Path, name: str) -> list[tuple[str, int]]:
    """Every call of a complete run that changes something, as (its name, the how manieth)."""
    log = directory / "log"
    done = strace(directory / "whole", name, "-o", str(log), "-e", f"trace={','.join(CALLS)}")
    assert done.stdout.split() == ["0"], done.stderr
    counted: Counter[str] = Counter()
    found = []
    for line in log.read_text().splitlines():
        call = line.split(None, 1)[1].partition("(")[0]
        if call in CALLS:
            counted[call] += 1
            found.append((call, counted[call]))
    return found


def test_killed_at_any_step(tmp_path: Path, name: str) -> None:
    every = points(tmp_path, name)
    assert len(every) > 100
    wrong = {}
    killed = 0
    chosen = every[:: max(1, len(every) // POINTS)]
    for call, number in chosen:
        root = tmp_path / f"{call}-{number}"
        done = strace(root, name, "-o", os.devnull, "-e", f"trace={call}",
                      "-e", f"inject={call}:signal=KILL:when={number}")  # fmt: skip
        killed += done.returncode != 0
        if found := judge(root, name, [int(one) for one in done.stdout.split()], 1):
            wrong[f"{call} {number}"] = found
    note(1, f"kill -9 in unpacking, {name}", killed, len(wrong))
    assert wrong == {}, f"{len(wrong)} of {len(chosen)} points"


def leave(place: Path) -> None:
    """Unmount it, once the workers of a dead actor are gone, too."""
    deadline = time.monotonic() + 60
    while subprocess.run(["umount", place], capture_output=True, check=False).returncode:
        assert time.monotonic() < deadline, f"{place} is in use"
        time.sleep(0.02)


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[Path]:
    """A disk of its own: what reaches it is what a power cut leaves, as nothing else is written
    back for a minute."""
    place.mkdir(exist_ok=True)
    loop = subprocess.run(["losetup", "-f", "--show", "--direct-io=on", image], check=True, env=TOOLS,
                          capture_output=True, text=True).stdout.strip()  # fmt: skip
    try:
        subprocess.run(["mount", "-o", "commit=60", loop, place], check=True)
    finally:  # it goes with the mount, however that ends
        subprocess.run(["losetup", "-d", loop], check=True, env=TOOLS)
    try:
        yield place
    finally:
        leave(place)


def test_the_power_is_cut(tmp_path: Path, name: str) -> None:
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(256 << 20)
    subprocess.run(["mkfs.ext4", "-q", image], check=True, env=TOOLS)
    chance = random.Random(5)
    cuts: list[tuple[Path, list[int]]] = []
    with mounted(image, tmp_path / "mnt") as place:
        said = tmp_path / "said"
        with said.open("w") as output:
            actor = subprocess.Popen(
                [sys.executable, "-m", "tests.core.store.unpack_actor", str(place / "s"), name,
                 "1000"],
                cwd=HERE, stdout=output, start_new_session=True,
            )  # fmt: skip
        try:
            for number in range(CUTS):
                heard = len(said.read_text().split())
                deadline = time.monotonic() + 60
                while len(said.read_text().split()) < heard + 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.1))
                os.kill(actor.pid, signal.SIGSTOP)  # while its disk is copied
                there = [int(one) for one in said.read_text().split()]
                copy = tmp_path / f"cut-{number}"
                subprocess.run(["cp", "--sparse=always", image, copy], check=True)
                cuts.append((copy, there))
                os.kill(actor.pid, signal.SIGCONT)
        finally:
            actor.kill()
            actor.wait()
    wrong = {}
    for copy, there in cuts:
        assert there
        with mounted(copy, tmp_path / "mnt") as place:
            if found := judge(place / "s", name, there, max(there) + 2):
                wrong[copy.name] = found
    note(6, f"power cuts in unpacking, {name}", len(cuts), len(wrong))
    assert wrong == {}

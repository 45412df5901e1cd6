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
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.store.snapshots.choose import DRIVERS
from tests.core.store.test_power_cut import cut
from tests.core.store.unpack_actor import judge
from tests.faults.record import note
from tests.faults.strace import ALL, HERE, points, some, strike

pytestmark = [pytest.mark.root, pytest.mark.peer]

CALLS = ("rename", "fsync", "fdatasync", "syncfs", "mkdir", "mkdirat", "mknodat", "rmdir",
         "unlinkat", "pwrite64", "ftruncate")  # fmt: skip
POINTS, CUTS = 4, 30 if ALL else 2
TOOLS = {**os.environ, "PATH": "/usr/sbin:/sbin:/usr/bin:/bin"}
"""For programs that are only root's to find."""


@pytest.fixture(params=sorted(DRIVERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def actor(root: Path, name: str, count: int) -> list[str]:
    return [sys.executable, "-m", "tests.core.store.unpack_actor", str(root), name, str(count)]


def test_killed_at_any_step(tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    every = points(actor(tmp_path / "whole", name, 1), CALLS, log, os.environ)
    assert len(every) > 100
    wrong = {}
    killed = 0
    chosen = every if ALL else some(every, POINTS)
    for point in chosen:
        root = tmp_path / f"{point.call}-{point.number}"
        struck = strike(actor(root, name, 1), point, "signal=KILL", log, os.environ)
        killed += struck.hit
        if found := judge(root, name, [int(one) for one in struck.done.stdout.split()], 1):
            wrong[str(point)] = found
    note(1, f"kill -9 in unpacking, {name}", killed, len(wrong))
    assert wrong == {}, f"{len(wrong)} of {len(chosen)} points"
    assert killed > len(chosen) // 2


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
            process = subprocess.Popen(
                actor(place / "s", name, 1000), cwd=HERE, stdout=output, start_new_session=True
            )
        try:
            for number in range(CUTS):
                heard = len(said.read_text().split())
                deadline = time.monotonic() + 60
                while len(said.read_text().split()) < heard + 2 and time.monotonic() < deadline:
                    time.sleep(0.01)
                time.sleep(chance.uniform(0, 0.1))
                os.kill(process.pid, signal.SIGSTOP)  # while its disk is copied
                there = [int(one) for one in said.read_text().split()]
                copy = tmp_path / f"cut-{number}"
                cut(image, copy)
                cuts.append((copy, there))
                os.kill(process.pid, signal.SIGCONT)
        finally:
            process.kill()
            process.wait()
    wrong = {}
    for copy, there in cuts:
        assert there
        with mounted(copy, tmp_path / "mnt") as place:
            if found := judge(place / "s", name, there, max(there) + 2):
                wrong[copy.name] = found
    note(6, f"power cuts in unpacking, {name}", len(cuts), len(wrong))
    assert wrong == {}

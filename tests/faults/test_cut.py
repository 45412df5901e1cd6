"""Experiment 6: the power goes while an image is imported, a snapshot committed, an image built, a
container run. The disk as it was at that moment is mounted again: what was acknowledged is whole,
nothing is half there, and the same command succeeds.

The store lies on an ext4 on a loop device with direct I/O, whose journal is written only when somebody
asks for it (`commit=600`): a copy of its file is what a power cut leaves.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.core.store.test_power_cut import cut, mounted, run
from tests.faults.record import note
from tests.faults.scenes import ACTS, Act, Judge, Place, Stage, quiet
from tests.faults.strace import ALL, Point, points, some, strike

pytestmark = [pytest.mark.root, pytest.mark.peer]

SAMPLE = 2
ASKING = ("fsync", "fdatasync", "syncfs")
ACTS_THAT_ADD = [act for act in ACTS if act.name in ("import", "commit", "build")]


def disk(path: Path) -> Path:
    with path.open("wb") as file:
        file.truncate(64 << 20)
    run("mkfs.ext4", "-q", "-F", str(path))
    return path


def settled(stage: Stage, mount: Path) -> Place:
    """A copy of the stage's store on the mounted disk, and all of it written."""
    place = Place(mount / "p", stage.env)
    place.directory.mkdir()
    source = stage.place()
    run("cp", "-a", str(source.root), str(place.root))
    stage.forget(source)
    run("sync", "-f", str(mount))
    return place


@pytest.mark.parametrize("act", ACTS_THAT_ADD if ALL else ACTS_THAT_ADD[1:],
                         ids=lambda act: act.name)  # fmt: skip
def test_what_was_acknowledged_is_whole(stage: Stage, act: Act, tmp_path: Path) -> None:
    judge = Judge(stage, act)
    first = stage.place()
    every = points(judge.words(first), ASKING, tmp_path / "log", first.env)
    stage.forget(first)
    last = Point("fsync", 10_000)  # nobody comes there: all has been said
    wrong: dict[str, list[str]] = {}
    chosen = [*some(every, SAMPLE - 1), last]
    blank, copy = disk(tmp_path / "blank"), tmp_path / "copy"
    for point in chosen:
        image = shutil.copyfile(blank, tmp_path / "disk")
        with mounted(image, tmp_path / "mnt") as mount:
            place = settled(stage, mount)
            struck = strike(judge.words(place), point, "signal=KILL", tmp_path / "log", place.env)
            cut(image, copy)
        with mounted(copy, tmp_path / "mnt") as mount:
            place = Place(mount / "p", stage.env)
            if found := judge.wrong(place, done=struck.done.returncode == 0):
                wrong[str(point)] = found
    note(6, f"power cuts in {act.name}", len(chosen), len(wrong), judge.worst)
    assert wrong == {}


def test_what_a_container_wrote_and_synced_is_there(stage: Stage, tmp_path: Path) -> None:
    """`run` and `snapshot commit` of what it left: two acknowledged steps, and a cut."""
    copy = tmp_path / "copy"
    image = disk(tmp_path / "disk")
    with mounted(image, tmp_path / "mnt") as mount:
        place = settled(stage, mount)
        place.state.mkdir(mode=0o700)
        place.ok("container", "run", "--name", "box", "base", "--", "sh", "-c", "echo mine > /mine")
        place.ok("snapshot", "commit", "saved", "box")
        cut(image, copy)
        place.ok("task", "delete", "--force", "box")
        assert quiet(place) == []
    with mounted(copy, tmp_path / "mnt") as mount:
        place = Place(mount / "p", stage.env)
        shutil.rmtree(place.state, ignore_errors=True)  # in memory, on a real machine
        listed = place.ok("snapshot", "diff", "saved")
    note(6, "power cut after run and commit", 1, 0)
    assert "/mine" in listed

"""Experiment 5: what lies on the disk is flipped, cut, zeroed or removed, one kind of file at a time. It
is found, by use or by `doctor --store`, named, and mended; what else there is goes on working.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mobyshell.core.store.store import Store
from mobyshell.core.store.walk import resolve
from tests.faults.record import note
from tests.faults.scenes import MADE, Place, Stage, chain_of, findings, listing, quiet
from tests.faults.strace import ALL

pytestmark = pytest.mark.root


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flip": flip, "cut": cut, "zero": zero, "remove": Path.unlink,
}  # fmt: skip


def victim(place: Place, kind: str) -> Path:
    """A file of this kind, of the image `made`."""
    with Store.open(place.root) as store:
        space = store.namespace("demo")
        target = space.images.get(MADE).target
        image = resolve(space.content, target)
        digest = {
            "manifest": target.digest, "config": image.manifest.config.digest,
            "layer": image.layers[0].digest,
        }.get(kind)  # fmt: skip
        if digest is not None:
            return store.root.blobs / digest.algorithm / digest.hex
        if kind == "file of a layer":
            below = space.snapshotter().directories(chain_of(space, MADE)).lowers[0]
            return Path(below) / "first" / "7"
        return store.database.path


KINDS = ("manifest", "config", "layer", "file of a layer", "database")
RECORDS = ("config.json", "state.json", "task/process.json")


def pairs(kinds: tuple[str, ...]) -> list[tuple[str, str]]:
    """Each damage to each kind in a sweep, else one to each."""
    ways = list(DAMAGES)
    if ALL:
        return [(kind, damage) for kind in kinds for damage in ways]
    return [(kind, ways[number % len(ways)]) for number, kind in enumerate(kinds)]


@pytest.mark.parametrize(("kind", "damage"), pairs(KINDS))
def test_it_is_found_named_and_mended(stage: Stage, kind: str, damage: str) -> None:
    place = stage.place()
    archive = str(stage.archive)
    place.ok("image", "import", archive)
    path = victim(place, kind)
    if path.stat().st_mode & 0o222 == 0:
        path.chmod(0o644)
    DAMAGES[damage](path)
    if kind == "database":
        for end in ("-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
    told = place.run("doctor", "--store")
    said = told.stdout + told.stderr
    assert "Traceback" not in said
    # a flipped bit of a database may be in a page that is not used
    harmless = kind == "database" and (damage == "remove" or told.returncode == 0)
    if not harmless:
        assert told.returncode == 1, said
        assert path.name in said or "/first/7" in said, said
    mended = place.run("doctor", "--store", "--repair")
    assert "Traceback" not in mended.stderr
    if "store adopt" in mended.stdout:  # what lost rows have named is kept
        before = listing(place.root)
        place.ok("store", "gc")
        assert listing(place.root) == before
        place.ok("store", "adopt")
        assert {one for one in before if one.startswith("content/blobs")} <= listing(place.root)
    # a layer that is lost has to come again, which takes a registry or a file
    place.ok("image", "import", archive)
    if kind == "database":
        place.ok("image", "import", str(stage.directory / "base.tar"), "--name", "base")
    assert place.run("doctor", "--store").stdout == ""
    place.ok("store", "gc")
    assert place.ok("run", "--rm", "--name", "box", "base", "--", "echo", "fine") == "fine\n"
    assert quiet(place) == []
    assert findings(place.root) == []
    note(5, f"{damage} a {kind}", 1, 0)
    stage.forget(place)


@pytest.mark.parametrize(("name", "damage"), pairs(RECORDS))
def test_a_tasks_record(stage: Stage, name: str, damage: str) -> None:
    """It can be deleted all the same, and its name used again."""
    place = stage.place()
    place.ok("run", "-d", "--name", "box", "base", "--", "sleep", "1000")
    (one,) = [json.loads(line) for line in place.ok("task", "ls", "--json").splitlines()]
    DAMAGES[damage](place.state / "demo" / "box" / name)
    for words in (("task", "ls"), ("task", "inspect", "box"), ("task", "ps", "box")):
        assert "Traceback" not in place.run(*words).stderr
    done = place.run("task", "delete", "--force", "box")
    assert done.returncode == 0, done.stderr
    assert not Path(f"/proc/{one['pid']}").exists() or not Path(f"/proc/{one['pid']}/exe").exists()
    place.ok("container", "rm", "box")
    assert place.ok("run", "--rm", "--name", "box", "base", "--", "echo", "fine") == "fine\n"
    assert quiet(place) == []
    note(5, f"{damage} a task's {name}", 1, 0)
    stage.forget(place)

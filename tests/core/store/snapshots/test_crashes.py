"""Snapshotters that are killed, and many at once: what was said to be there is, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots import rows
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.directories import Directories
from mobyshell.core.store.snapshots.protocol import Kind, Snapshotter, Usage
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
from tests.core.store.snapshots.conftest import layer, nothing, put, seen

pytestmark = pytest.mark.root

OPEN = """
import sys, os
from pathlib import Path
from mobyshell.core.errors import *
from mobyshell.core.store.database import Database
from mobyshell.core.store.identity import Marking
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
root = StoreRoot(Path(sys.argv[1]))
database = Database(root.database, marking=Marking(root))
snapshots = TreeSnapshotter(Scope(root, database, "test"), DRIVERS[sys.argv[2]]())
"""

WORK = (
    OPEN
    + """
for number in range(1_000_000):
    key = f"{sys.argv[3]}-{number}"
    snapshots.prepare(key, "base")
    (snapshots.layer_target(key).directory / "file").write_text(key)
    snapshots.commit(f"{key}-done", key)
    print("+", f"{key}-done", flush=True)
    if number % 3 == 0:
        print("?", f"{key}-done", flush=True)
        snapshots.remove(f"{key}-done")
        print("-", f"{key}-done", flush=True)
"""
)


def start(program: str, scope: Scope, name: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(scope.root.path), name, *words],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[4],
    )  # fmt: skip


def numbers(scope: Scope, name: str) -> set[str]:
    with scope.database.read() as sql:
        found = sql.execute("SELECT id FROM trees WHERE snapshotter = ?", (name,))
        return {str(one[0]) for one in found}


def test_killed_at_any_time(snapshots: Snapshotter, scope: Scope) -> None:
    layer(snapshots, "base", put(base="base"))
    there: set[str] = set()
    for round in range(5):
        worker = start(WORK, scope, snapshots.name, f"r{round}")
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(2 + 4 * round)]
        os.kill(worker.pid, signal.SIGKILL)
        lines += worker.stdout.readlines()
        worker.wait()
        worker.stdout.close()
        for line in lines:
            sign, name = line.split()
            there = there | {name} if sign == "+" else there - {name}
    found = {one.name: one for one in snapshots.walk()}
    assert there <= {name for name, one in found.items() if one.kind is Kind.COMMITTED}
    for name in there:
        assert seen(snapshots, name) == {"base": "base", "file": name.removesuffix("-done")}
    snapshots.cleanup()
    place = scope.root.snapshots / snapshots.name
    assert {one.name for one in place.iterdir()} == numbers(scope, snapshots.name)
    for name in reversed(found):
        snapshots.remove(name)  # all that is left can be used
    assert list(place.iterdir()) == []


class Crash(BaseException):
    """As if killed: nothing is tidied on its way."""


@pytest.mark.parametrize("step", ["make", "number", "insert", "measure", "make_committed",
                                  "exchange_tree", "delete", "discard"])  # fmt: skip
def test_every_step_that_is_the_last(
    snapshots: Snapshotter, scope: Scope, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    layer(snapshots, "base", put(base="base"))

    def crash(*_: object, **__: object) -> None:
        raise Crash

    driver = snapshots._driver  # type: ignore[attr-defined]
    owner = {"make": driver, "measure": driver, "number": Directories, "discard": Directories}
    with monkeypatch.context() as patch:
        patch.setattr(owner.get(step, rows), step, crash)
        patch.setattr(Directories, "_remove", lambda *_: Usage())
        try:
            snapshots.prepare("key", "base")
            snapshots.commit("next", "key")
            snapshots.remove("next")
        except Crash:
            pass
    found = {one.name: one.kind for one in snapshots.walk()}
    assert found["base"] is Kind.COMMITTED
    assert not {"key", "next"} <= set(found)
    snapshots.cleanup()
    place = scope.root.snapshots / snapshots.name
    assert {one.name for one in place.iterdir()} == numbers(scope, snapshots.name)
    for name in set(found) - {"base"}:
        snapshots.remove(name)
    snapshots.prepare("key", "base")
    snapshots.commit("next", "key")
    assert seen(snapshots, "next") == {"base": "base"}


RACE = (
    OPEN
    + """
won = []
print("ready", flush=True)
sys.stdin.readline()
for number in range(12):
    key = f"key-{number}"
    try:
        snapshots.prepare(key, "base")
        won.append(key)
    except AlreadyExists:
        pass
print(*won, flush=True)
sys.stdin.readline()
for key in won:
    (snapshots.layer_target(key).directory / "who").write_text(sys.argv[3])
    snapshots.commit(f"{key}-done", key)
    if int(key[4:]) % 2:
        snapshots.remove(f"{key}-done")
snapshots.cleanup()
"""
)


def tell(worker: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert worker.stdin is not None
    worker.stdin.write("go\n")
    worker.stdin.flush()


def answer(worker: subprocess.Popen[str]) -> list[str]:
    """The words of its next line."""
    assert worker.stdout is not None
    return worker.stdout.readline().split()


def test_eight_at_once(snapshots: Snapshotter, scope: Scope) -> None:
    layer(snapshots, "base", put(base="base"))
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, str(scope.root.path), snapshots.name, str(number)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[4],
        )
        for number in range(8)
    ]  # fmt: skip
    try:
        won: dict[str, str] = {}
        assert [answer(worker) for worker in workers] == [["ready"]] * 8
        for worker in workers:
            tell(worker)
        for number, worker in enumerate(workers):
            for key in answer(worker):
                assert key not in won, "two have made the same"
                won[key] = str(number)
        for worker in workers:
            tell(worker)
        assert [worker.wait(timeout=120) for worker in workers] == [0] * 8
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()
    assert set(won) == {f"key-{number}" for number in range(12)}
    for number in range(0, 12, 2):
        assert seen(snapshots, f"key-{number}-done")["who"] == won[f"key-{number}"]
    assert len(list(snapshots.walk())) == 7
    place = scope.root.snapshots / snapshots.name
    assert {one.name for one in place.iterdir()} == numbers(scope, snapshots.name)


def test_cleanup_leaves_alone_what_is_being_made(snapshots: Snapshotter, scope: Scope) -> None:
    place = scope.root.snapshots / snapshots.name
    with Directories(place).new() as new:
        (new / "file").write_bytes(b"x" * 5000)
        for name in ("99", "new-0123456789abcdef", "rm-0123456789abcdef"):
            (place / name / "fs").mkdir(parents=True)
            (place / name / "fs" / "file").write_bytes(b"x" * 5000)
        os.sync()
        freed = snapshots.cleanup()
        assert (freed.inodes, freed.size >= 3 * 5000) == (9, True)
        assert list(place.iterdir()) == [new]
    assert list(place.iterdir()) == []


def test_a_number_that_a_crash_has_used(snapshots: Snapshotter, scope: Scope) -> None:
    layer(snapshots, "a", nothing)
    left = scope.root.snapshots / snapshots.name / "2"
    left.mkdir()
    (left / "rubbish").touch()
    layer(snapshots, "b", put(b="b"))
    assert seen(snapshots, "b") == {"b": "b"}
    snapshots.cleanup()
    assert seen(snapshots, "b") == {"b": "b"}


def test_a_full_disk_leaves_nothing(scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    native = TreeSnapshotter(scope, DRIVERS["native"]())
    layer(native, "a", put(a="a"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("mobyshell.core.linux.files.copy", full)
        with pytest.raises(SyscallFailed, match="No space left") as caught:
            native.prepare("b", "a")
    assert "room" in caught.value.hint
    assert [one.name for one in native.walk()] == ["a"]
    assert len(list((scope.root.snapshots / "native").iterdir())) == 1


def test_a_removal_that_is_part_of_something_that_fails(
    snapshots: Snapshotter, scope: Scope
) -> None:
    layer(snapshots, "base", put(base="base"))
    snapshots.prepare("box", "base")

    def all_of_it(*, fails: bool) -> None:
        with scope.database.write():
            snapshots.remove("box")
            snapshots.remove("base")
            if fails:
                raise Crash

    with pytest.raises(Crash):
        all_of_it(fails=True)
    assert seen(snapshots, "base") == {"base": "base"}
    snapshots.layer_target("box").directory.joinpath("file").touch()
    all_of_it(fails=False)
    assert list((scope.root.snapshots / snapshots.name).iterdir()) == []

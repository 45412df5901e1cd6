"""Experiment 7: eight processes at one name. Exactly one wins, the others are told that it exists,
is busy or is gone; nothing of theirs is left; no error is SQLite's own.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

import pytest

from mobyshell.core.errors import ExitCode
from tests.faults.record import note
from tests.faults.scenes import BASE, MADE, Place, Stage, findings, listing, quiet
from tests.faults.strace import ALL, HERE, MOST

pytestmark = pytest.mark.root

MANY = 8
ROUNDS = min(50, MOST) if ALL else 1
POLITE = ("exists", "another", "busy", "no image", "no snapshot", "no container", "no task", "has a",
          "needs", "is running", "stopped", "created", "not in namespace", "in use", "being")  # fmt: skip


def at_once(
    place: Place, commands: Sequence[Sequence[str]]
) -> list[subprocess.CompletedProcess[str]]:
    """All of these at the same time."""
    started = [
        subprocess.Popen(place.words(*words), env=place.env, cwd=HERE, text=True,
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for words in commands
    ]  # fmt: skip
    done = []
    for one in started:
        out, err = one.communicate(timeout=180)
        done.append(subprocess.CompletedProcess(one.args, one.returncode, out, err))
    return done


def rude(done: list[subprocess.CompletedProcess[str]]) -> list[str]:
    """Losers that were not told why in words."""
    return [
        one.stderr for one in done
        if one.returncode and (
            "Traceback" in one.stderr or "SQLITE" in one.stderr.upper()
            or "database is locked" in one.stderr
            or not (one.returncode == ExitCode.STATE or any(word in one.stderr for word in POLITE))
        )
    ]  # fmt: skip


@pytest.fixture
def place(stage: Stage) -> Place:
    return stage.place()


def settled(place: Place, before: set[str]) -> list[str]:
    """What is wrong when all is over."""
    place.ok("store", "gc")
    found = [f"a process stays: {one}" for one in quiet(place)]
    return found + findings(place.root) + sorted(before ^ listing(place.root))[:5]


def test_one_id_is_created_once(place: Place) -> None:
    before = listing(place.root)
    wrong: list[str] = []
    for _ in range(ROUNDS):
        words = ("container", "create", "--name", "box", "base", "--", "true")
        done = at_once(place, [words] * MANY)
        if [one.returncode for one in done].count(0) != 1:
            wrong.append(f"winners: {[one.returncode for one in done]} {done[0].stderr}")
        wrong += rude(done)
        place.ok("container", "rm", "box")
    wrong += settled(place, before)
    note(7, "creates of one id", ROUNDS, len(wrong))
    assert wrong == [], "\n".join(wrong)


def test_a_start_and_deletes(place: Place) -> None:
    before = listing(place.root)
    wrong: list[str] = []
    for _ in range(ROUNDS):
        place.ok("container", "create", "--name", "box", "base", "--", "sleep", "1000")
        start = [("container", "start", "-d", "box")] * 3
        delete = [("task", "delete", "--force", "box"), ("container", "rm", "box")] * 2
        wrong += rude(at_once(place, [*start, *delete]))
        place.run("task", "delete", "--force", "box")
        place.run("container", "rm", "box")
        if "box" in place.ok("container", "ls", "--json"):
            wrong.append("it stays")
    wrong += settled(place, before)
    note(7, "starts against deletes", ROUNDS, len(wrong))
    assert wrong == [], "\n".join(wrong)


def test_an_image_is_removed_while_it_is_run(stage: Stage, place: Place) -> None:
    before = listing(place.root)
    wrong: list[str] = []
    for _ in range(ROUNDS):
        run = [("container", "run", "--rm", "--pull", "never", "--name", f"box-{number}", "base",
                "--", "true") for number in range(3)]  # fmt: skip
        wrong += rude(at_once(place, [*run, ("image", "rm", "base"), ("store", "gc")]))
        place.run("image", "import", str(stage.directory / "base.tar"), "--name", BASE)
        place.ok("container", "run", "--rm", "base", "--", "true")
    wrong += settled(place, before)
    note(7, "removals against runs", ROUNDS, len(wrong))
    assert wrong == [], "\n".join(wrong)


def test_names_are_given_while_garbage_goes(stage: Stage, place: Place) -> None:
    before = listing(place.root)
    wrong: list[str] = []
    for round in range(ROUNDS):
        tags = [("image", "tag", "base", f"kept:{round}-{number}") for number in range(3)]
        pull = [("image", "pull", stage.pulled)] * 2
        gc = [("store", "gc")] * 3
        done = at_once(place, [*tags, *pull, *gc])
        wrong += [one.stderr for one in done if one.returncode]
        names = {
            json.loads(line)["name"] for line in place.ok("image", "ls", "--json").splitlines()
        }
        wrong += [
            f"lost: {words[-1]}" for words in tags if f"docker.io/library/{words[-1]}" not in names
        ]
        place.ok("container", "run", "--rm", "base", "--", "true")
        for words in tags:
            place.ok("image", "rm", words[-1])
        place.ok("image", "rm", stage.pulled)
    wrong += settled(place, before)
    note(7, "tags and pulls against collections", ROUNDS, len(wrong))
    assert wrong == [], "\n".join(wrong)


def test_one_image_comes_by_eight_at_once(stage: Stage, place: Place) -> None:
    before = listing(place.root)
    wrong: list[str] = []
    for _ in range(ROUNDS):
        words = ("image", "import", str(stage.archive), "--name", MADE)
        wrong += [one.stderr for one in at_once(place, [words] * MANY) if one.returncode]
        wrong += findings(place.root)
        place.ok("image", "rm", MADE)
    wrong += settled(place, before)
    note(7, "imports of one image", ROUNDS, len(wrong))
    assert wrong == [], "\n".join(wrong)

"""`debug` as one uses it: the shim, the keeper, and a face at work, from a shell."""

from __future__ import annotations

import json
import subprocess
from xml.etree import ElementTree

import pytest

from tests.conftest import PROGRAM, Workplace

pytestmark = pytest.mark.root


def rows(workplace: Workplace, *words: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in workplace.ok("debug", *words, "--json").splitlines()]


def test_shim_keeper_and_face_are_listed_and_tell(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    with subprocess.Popen(
        [PROGRAM, "events", "follow"], env=workplace.environment, stdout=subprocess.PIPE
    ) as face:
        try:
            state = str(workplace.state)
            found = {
                one["role"]: one["pid"] for one in rows(workplace, "ls") if one["state"] == state
            }
            assert set(found) == {"shim", "keeper"}
            assert any(one["function"] == "Loop.run" for one in rows(workplace, "stacks"))
            assert "Loop.run" in workplace.ok("debug", "stacks", "--table")
            assert "Loop.run" in workplace.ok("debug", "stacks", "--yaml")
            assert "Loop.run" in workplace.ok("debug", "stacks", "-q").splitlines()
            keeper = rows(workplace, "stacks", str(found["keeper"]))
            assert "run" in [one["function"] for one in keeper]
            followed: list[dict[str, object]] = []
            while not followed:  # it catches the knock when it has begun
                done = workplace.run("debug", "stacks", str(face.pid), "--json")
                assert done.returncode in (0, 3), done.stderr
                followed = [json.loads(line) for line in done.stdout.splitlines()]
            assert any("follow" in str(one["function"]) for one in followed)
            heap = rows(workplace, "heap", str(face.pid), "--seconds", "0", "--top", "2")
            assert [one["kind"] for one in heap] == ["objects", "objects"]
        finally:
            face.terminate()
            face.wait(60)


def test_a_flame_is_written_in_three_forms(workplace: Workplace) -> None:
    workplace.ok("run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    found = rows(workplace, "flame", "--wall", "--seconds", "0.3", "--svg", "a.svg", "--speedscope",
                 "a.json", "--folded", "a.txt")  # fmt: skip
    assert found[0]["function"] == "Loop._turn"
    root = ElementTree.parse(workplace.directory / "a.svg").getroot()
    assert "Loop._turn" in {one.get("data-n") for one in root.iter()}
    scope = json.loads((workplace.directory / "a.json").read_text())
    assert "Loop._turn" in {one["name"] for one in scope["shared"]["frames"]}
    assert "Loop._turn" in (workplace.directory / "a.txt").read_text()


def test_who_is_not_there_cannot_be_asked(workplace: Workplace) -> None:
    for words, code in (
        (("stacks",), 3), (("stacks", "1"), 3), (("heap", "999999999"), 3), (("flame", "-7"), 2),
        (("flame", "shim"), 3), (("stacks", "x\x1b[31m"), 2), (("flame", "--seconds", "1h"), 2),
        (("heap", "--top", "0"), 2), (("flame", "--hertz", "0"), 2),
        (("flame", "--svg", "."), 2), (("flame", "--folded", "no/where"), 2),
    ):  # fmt: skip
        done = workplace.run("debug", *words)
        assert done.returncode == code, (words, done.stderr)
        assert "\x1b" not in done.stderr

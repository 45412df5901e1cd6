"""start, state, kill and delete without the library: the same answers, and everything unusual
left to it."""

from __future__ import annotations

import json
import os
import posix
from pathlib import Path
from typing import Any

import pytest

from mobyshell.runc.quick_state import Container
from mobyshell.runc.quick_verbs import parse
from tests.runc.conftest import Machine, containers
from tests.runc.test_quick import quick as quick  # a fixture
from tests.waiting import eventually

pytestmark = pytest.mark.root

LEFT = 99  # what `quick` answers where the library has to do it


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("--root /r state c", True),
        ("--root=/r --log /l --log-format json start c", True),
        ("--systemd-cgroup --root /r delete c", True),
        ("--root /r kill c", True),
        ("--root /r kill c KILL", True),
        ("--root /r kill --all c KILL", True),
        ("--root /r kill c KILL -a", True),
        ("--root /r kill --force c KILL", False),
        ("--root /r kill c KILL more", False),
        ("--root /r delete --force c", True),
        ("--root /r start --force c", False),
        ("--root /r --debug state c", False),
        ("--root /r --log-format xml state c", False),
        ("--root r state c", False),
        ("--root /r state ../c", False),
        ("--root /r state", False),
        ("--root /r pause c", False),
        ("--root /r", False),
        ("", False),
    ],
)
def test_only_plain_calls_are_taken(line: str, known: bool) -> None:
    assert (parse(line.split()) is not None) is known


def state_of(machine: Machine, id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((machine.root / id / "state.json").read_text())
    return found


def test_a_whole_life_needs_no_library(ours: Machine, quick: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    before = state_of(ours, "c")
    assert quick.status("c") == "created"
    assert quick.call("delete", "c").returncode == LEFT  # it would have to be killed first
    quick.ok("start", "c")
    after = state_of(ours, "c")
    assert after["started_ns"] > before["created_ns"]
    assert {**after, "started_ns": 0} == before
    assert sorted(os.listdir(ours.root / "c")) == ["config.json", "state.json"]
    assert quick.call("start", "c").returncode == LEFT
    assert "already running" in ours.fails("start", "c")
    assert quick.status("c") == "running"
    assert quick.call("delete", "c").returncode == LEFT
    pid = int(after["pid"])
    quick.ok("kill", "c", "0")
    quick.ok("kill", "c", "sigKILL")
    eventually(lambda: not Path(f"/proc/{pid}/root/bin").exists())
    eventually(lambda: quick.status("c") == "stopped")
    assert quick.call("kill", "c", "TERM").returncode == LEFT
    quick.ok("delete", "c")
    assert containers(ours.root) == []
    assert not any(os.path.exists(path) for path in after["cgroups"].values())
    assert quick.call("delete", "c").returncode == LEFT
    assert "does not exist" in ours.fails("delete", "c")


@pytest.mark.parametrize("annotations", [{}, {"a": 'q"\\\n\u0001', "ü": "\U0001f433"}])
def test_the_state_is_the_librarys_to_the_byte(
    ours: Machine, quick: Machine, annotations: dict[str, str]
) -> None:
    ours.spec("sleep", "1000", change=lambda document: document.update(annotations=annotations))
    ours.quiet("run", "-d", "c")
    # --debug is nothing that `quick` knows
    assert quick.ok("state", "c") == ours.ok("--debug", "state", "c")
    ours.ok("pause", "c")
    assert quick.ok("state", "c") == ours.ok("--debug", "state", "c")


def test_a_frozen_container_dies(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    ours.ok("pause", "c")
    assert quick.status("c") == "paused"
    quick.ok("kill", "c", "9")
    eventually(lambda: quick.status("c") == "stopped")


def test_one_that_is_paused_before_its_start(ours: Machine, quick: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    ours.ok("pause", "c")
    assert quick.status("c") == "paused"
    assert quick.call("start", "c").returncode == 99
    assert quick.call("kill", "c", "TERM").returncode == 99
    assert "cannot start a container in the paused state" in ours.call("start", "c").stderr
    ours.ok("resume", "c")
    quick.ok("start", "c")
    assert quick.status("c") == "running"


def test_engines_make_sure_in_the_end(ours: Machine, quick: Machine) -> None:
    """--force removes what runs, and what is not there; --all signals whoever is left, or nobody."""
    quick.ok("delete", "--force", "c")
    assert quick.call("kill", "--all", "c", "9").returncode == LEFT
    ours.background("c")
    groups = state_of(ours, "c")["cgroups"]
    if "" in groups:
        quick.ok("kill", "--all", "c", "9")
        eventually(lambda: quick.status("c") == "stopped")
    else:
        assert quick.call("kill", "--all", "c", "9").returncode == LEFT
        ours.ok("kill", "c", "9")
    assert quick.call("kill", "c", "9").returncode == LEFT
    eventually(lambda: quick.call("kill", "--all", "c", "9").returncode == 0)
    quick.ok("delete", "-f", "c")
    for freeze in (False, True):
        ours.background("c", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
        if freeze:
            ours.ok("pause", "c")
        quick.ok("delete", "--force", "c")
        assert containers(ours.root) == []
        assert not any(os.path.exists(path) for path in groups.values())


@pytest.mark.parametrize("how", ["removed", "damaged"])
def test_what_has_lost_its_record_is_left_to_the_library_and_ended_by_force(
    ours: Machine, quick: Machine, how: str
) -> None:
    ours.background("c")
    state = state_of(ours, "c")
    path = ours.root / "c" / "state.json"
    if how == "removed":
        path.unlink()
    else:
        path.write_text("{")
    assert quick.call("delete", "--force", "c").returncode == LEFT
    ours.fails("delete", "c")
    ours.ok("delete", "--force", "c")
    assert not path.parent.exists()
    assert not any(os.path.exists(one) for one in state["cgroups"].values())
    eventually(lambda: not os.path.exists(f"/proc/{state['pid']}/exe"))


def test_a_group_that_goes_with_the_killed_is_no_failure(tmp_path: Path) -> None:
    """Whoever waits for the container may remove its groups before they are thawed."""
    (tmp_path / "freezer.state").symlink_to("/dev/full")  # refuses the write, as a removed group's
    found = {"pid": 1, "cgroups": {"freezer": str(tmp_path)}, "namespaces": [], "cgroup_levels": [],
             "unit": "", "resctrl": []}  # fmt: skip
    Container("/r", "/r/c", "", found).thaw()


def test_hooks_are_the_librarys(ours: Machine, quick: Machine, tmp_path: Path) -> None:
    told = tmp_path / "told"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >>{told}"]}
    ours.spec("true", change=lambda d: d.update(hooks={"poststart": [hook], "poststop": [hook]}))
    ours.quiet("create", "c")
    assert quick.call("start", "c").returncode == LEFT
    ours.ok("start", "c")
    eventually(lambda: ours.status("c") == "stopped")
    assert quick.call("delete", "c").returncode == LEFT
    ours.ok("delete", "c")
    assert told.read_text() == "x\nx\n"


def test_hooks_that_have_been_run_keep_nobody_from_starting(
    ours: Machine, quick: Machine, tmp_path: Path
) -> None:
    """dockerd gives each of its containers a prestart hook, for its network."""
    told = tmp_path / "told"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo x >>{told}"]}
    ours.spec("true", change=lambda d: d.update(hooks={"prestart": [hook], "poststop": [hook]}))
    ours.quiet("create", "c")
    quick.ok("start", "c")
    eventually(lambda: ours.status("c") == "stopped")
    assert told.read_text() == "x\n"
    ours.ok("delete", "c")
    assert told.read_text() == "x\nx\n"


def test_what_lives_on_in_a_group_is_the_librarys(ours: Machine, quick: Machine) -> None:
    def shared(document: dict[str, Any]) -> None:
        linux = document["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "pid"]

    ours.spec("sh", "-c", "sleep 1000 & exit 0", change=shared)
    ours.quiet("run", "-d", "c")
    eventually(lambda: quick.status("c") == "stopped")
    assert quick.call("kill", "c", "KILL").returncode == LEFT
    assert quick.call("delete", "c").returncode == LEFT
    ours.ok("delete", "c")


def test_a_group_made_inside_is_the_librarys(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    groups = state_of(ours, "c")["cgroups"]
    inside = Path(groups["freezer"] if "freezer" in groups else groups[""]) / "inside"
    inside.mkdir()
    if "freezer" in groups:
        assert quick.call("kill", "c", "KILL").returncode == LEFT
    ours.ok("kill", "c", "KILL")
    eventually(lambda: quick.status("c") == "stopped")
    assert quick.call("delete", "c").returncode == LEFT
    ours.ok("delete", "c")
    assert not inside.exists()


def test_classes_of_service_are_the_librarys(ours: Machine, quick: Machine, tmp_path: Path) -> None:
    ours.spec("true")
    ours.quiet("run", "-d", "c")
    eventually(lambda: ours.status("c") == "stopped")
    group = tmp_path / "class"
    group.mkdir()
    place = ours.root / "c" / "state.json"
    place.write_text(place.read_text().replace('"resctrl": []', f'"resctrl": ["{group}"]'))
    assert quick.call("delete", "c").returncode == LEFT
    ours.ok("delete", "c")
    assert not group.exists()


def test_whoever_has_a_place_of_their_own_does_not_use_roots(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(posix.environ, b"XDG_RUNTIME_DIR", os.fsencode(tmp_path))
    for uid, root in ((0, "/run/runc"), (1000, f"{tmp_path}/runc")):
        monkeypatch.setattr("posix.geteuid", lambda uid=uid: uid)
        asked = parse(["delete", "--force", "c"])
        assert asked is not None
        assert asked.root == root
        asked = parse(["--root", "/r", "delete", "--force", "c"])
        assert asked is not None
        assert asked.root == "/r"


@pytest.mark.parametrize(
    "damage", ["", "{", '{"id": "c"}', "[]", '{"id": "other", "pid": 1}', "[" * 5000]
)
def test_a_damaged_record_is_the_librarys(
    ours: Machine, quick: Machine, damage: str
) -> None:  # fmt: skip
    ours.background("c")
    place = ours.root / "c" / "state.json"
    whole = place.read_text()
    place.write_text(damage)
    for verb in ("start", "state", "kill", "delete"):
        assert quick.call(verb, "c").returncode == LEFT
    place.write_text(whole.replace('"pid": ', '"pid": -'))
    assert quick.call("state", "c").returncode == LEFT
    place.write_text(whole)


def test_the_log_is_there_afterwards(ours: Machine, quick: Machine, tmp_path: Path) -> None:
    ours.background("c")
    quick.ok("--log", str(tmp_path / "log"), "--log-format", "json", "state", "c")
    assert (tmp_path / "log").read_text() == ""
    wrong = tmp_path / "no" / "log"
    assert quick.call("--log", str(wrong), "state", "c").returncode == LEFT

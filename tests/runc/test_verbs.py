"""start, state, kill and delete without Python: the same, and only where nothing is unusual."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.clock import rfc3339
from mobyshell.core.runtime.native.assembler import assemble
from mobyshell.runc import verbs
from mobyshell.runc.quick_state import read
from mobyshell.runc.quick_verbs import parse
from tests.core.runtime.native.test_assembler import by_gnu_as
from tests.runc.conftest import PATIENCE, Machine, containers
from tests.runc.test_tickets import PYTHON, installed
from tests.waiting import eventually

__all__ = ["installed"]  # the fixture

pytestmark = pytest.mark.root


def test_the_program_is_made_of_its_source() -> None:
    assert verbs.TARGET.read_bytes() == verbs.generated(), "run `make native`"
    assert os.access(verbs.TARGET, os.X_OK)


@pytest.mark.peer
def test_the_program_is_what_gnu_as_makes_of_it(tmp_path: Path) -> None:
    assert assemble(verbs.source())[0] == by_gnu_as(verbs.source(), tmp_path)


Change = Callable[[dict[str, Any]], object]


def record(machine: Machine, id: str = "c") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((machine.root / id / "state.json").read_text())
    return found


def rewrite(machine: Machine, change: Change) -> None:
    """Change a container's record, in the form that it has."""
    found = record(machine)
    change(found)
    (machine.root / "c" / "state.json").write_text(json.dumps(found))


def gone(found: dict[str, Any]) -> bool:
    paths = [*found["cgroups"].values(), *found["cgroup_levels"]]
    return not any(os.path.exists(one) for one in paths)


def stopped(machine: Machine, id: str = "c") -> bool:
    return machine.status(id) == "stopped"


def same_state(ours: Machine, installed: Machine) -> str:
    """What both say of the container, which is the same to the byte; its status."""
    said = installed.ok("state", "c")
    assert said == ours.ok("--debug", "state", "c")  # --debug is the library's
    return str(json.loads(said)["status"])


def test_a_whole_life_needs_no_python(ours: Machine, installed: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    before = record(ours)
    assert same_state(ours, installed) == "created"
    installed.ok("start", "c")
    after = record(ours)
    assert after["started_ns"] > before["created_ns"]
    assert {**after, "started_ns": 0} == before
    place = ours.root / "c" / "state.json"
    assert place.read_text() == json.dumps(after)
    assert place.stat().st_mode == 0o100600
    assert sorted(os.listdir(ours.root / "c")) == ["config.json", "state.json"]
    assert same_state(ours, installed) == "running"
    ours.ok("pause", "c")
    assert same_state(ours, installed) == "paused"
    ours.ok("resume", "c")
    installed.ok("kill", "c", "0")
    ours.ok("kill", "c", "")  # as without a word: TERM, for which this process 1 has no handler
    installed.ok("kill", "c", "SIGKILL")
    eventually(partial(stopped, installed))
    assert same_state(ours, installed) == "stopped"
    installed.ok("delete", "c")
    assert containers(ours.root) == []
    assert gone(after)


def test_it_knows_who_is_alone_in_a_group_above(ours: Machine, installed: Machine) -> None:
    """Directories on the way go with the last container that is in them."""

    def deep(id: str) -> Change:
        return lambda spec: spec["linux"].update(cgroupsPath=f"/mobyshell-{os.getpid()}/a/{id}")

    for id in ("c", "d"):
        ours.spec("true", change=deep(id))
        ours.quiet("run", "-d", id)
    found = record(ours)
    assert found["cgroup_levels"]
    for id in ("d", "c"):
        eventually(partial(stopped, installed, id))
        assert not gone(found)
        installed.ok("delete", id)
    assert gone(found)


def says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def test_signals_by_their_names(ours: Machine, installed: Machine) -> None:
    told = ours.directory / "told"
    told.mkdir()
    mount = {"destination": "/told", "source": str(told), "type": "bind", "options": ["bind"]}
    script = (
        'for one in TERM INT USR1 USR2; do trap "echo $one >/told/told" $one; done; '
        "echo >/told/up; while :; do sleep 0.01; done"
    )
    ours.spec("sh", "-c", script, change=lambda spec: spec["mounts"].append(mount))
    ours.quiet("run", "-d", "c")
    eventually((told / "up").exists)
    for word, name in (("", "TERM"), ("2", "INT"), ("15", "TERM"), ("SIGUSR1", "USR1"), ("USR2", "USR2"),
                       ("TERM", "TERM"), ("INT", "INT"), ("SIGTERM", "TERM")):  # fmt: skip
        installed.ok("kill", "c", *word.split())
        eventually(partial(says, told / "told", f"{name}\n"))


def test_a_created_or_frozen_one_dies(ours: Machine, installed: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    assert installed.call("kill", "c", "TERM").returncode == PYTHON
    installed.ok("kill", "c", "9")
    eventually(partial(stopped, installed))
    assert installed.call("start", "c").returncode == PYTHON
    installed.ok("delete", "c")
    ours.background("c")
    ours.ok("pause", "c")
    installed.ok("kill", "c", "KILL")
    eventually(partial(stopped, installed))


def test_one_that_is_paused_before_its_start(ours: Machine, installed: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")
    ours.ok("pause", "c")
    assert json.loads(installed.ok("state", "c"))["status"] == "paused"
    for verb in (("start", "c"), ("kill", "c", "TERM")):
        assert installed.call(*verb).returncode == PYTHON
    ours.ok("resume", "c")
    installed.ok("start", "c")
    assert json.loads(installed.ok("state", "c"))["status"] == "running"


def test_engines_make_sure_in_the_end(ours: Machine, installed: Machine) -> None:
    """--force removes what runs, and what is not there; --all signals whoever is left, or nobody."""
    ours.background("c")
    groups = record(ours)["cgroups"]
    assert installed.call("kill", "--all", "c", "15").returncode == PYTHON
    if "" in groups:
        installed.ok("kill", "c", "9", "--all")
    else:
        assert installed.call("kill", "--all", "c", "9").returncode == PYTHON
        ours.ok("kill", "c", "9")
    eventually(partial(stopped, installed))
    assert installed.call("kill", "c", "9").returncode == PYTHON
    eventually(lambda: installed.call("kill", "-a", "c", "9").returncode == 0)
    installed.ok("delete", "c", "--force")
    for line in ("delete -f c", "delete --force c"):
        installed.ok(*line.split())
    for line in ("delete c", "kill --all c 9", "state c", "start c"):
        assert installed.call(*line.split()).returncode == PYTHON
    for freeze in (False, True):
        ours.background("c", "sh", "-c", "sleep 1000 & sleep 1000 & wait")
        if freeze:
            ours.ok("pause", "c")
        installed.ok("delete", "--force", "c")
        assert containers(ours.root) == []
        assert not any(os.path.exists(path) for path in groups.values())


def test_everything_else_is_asked_of_python(ours: Machine, installed: Machine) -> None:
    ours.background("c")
    for line in (
        "state", "state c d", "state -x c", "state --force c", "--debug state c", "state +c", "state .c",
        "state c/", "state ./c", "state ../c", "state c_", "--log-format xml state c",
        "--log-format= state c", "kill c 65", "kill c 9 9", "kill c nine", "kill c Kill", "kill c SIG_BLOCK",
        "kill c -9", "kill c 015", "kill -f c 9", "delete -a c", "--rootless true state c", "pause c",
        "--root /tmp/.. state c", "--root . state c", "--root", "--root /tmp", "state --", "",
    ):  # fmt: skip
        done = installed.call(*line.split())
        assert done.returncode == PYTHON, line
        # and it hears the words as they were
        told = done.stdout.splitlines()
        assert told[:3] == ["-I", "-S", "--"]
        assert told[4:] == ["--root", str(ours.root), *line.split()]


def test_what_is_taken_is_taken_by_quick_verbs_too(ours: Machine, installed: Machine) -> None:
    ours.background("c")
    for line in (
        "--log-format json state c", "--log-format=text --systemd-cgroup state c", "kill c 0", "kill c CONT",
        "kill c 18",
    ):  # fmt: skip
        words = line.split()
        assert parse(["--root", str(ours.root), *words]) is not None
        installed.ok(*words)
    for name in ("NOTIFY_SOCKET", "LISTEN_FDS", "MOBYSHELL_EXECUTOR"):
        environment = {**installed.environment, name: "portable"}
        assert installed.call("state", "c", env=environment).returncode == PYTHON


def test_whoever_has_a_place_of_their_own_does_not_use_roots(installed: Machine) -> None:
    os.makedirs("/run/runc", mode=0o711, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mobyshell-verbs-") as place:
        os.chmod(place, 0o755)  # other users can get there
        for name in os.listdir(Path(installed.program[0]).parent):
            shutil.copy(Path(installed.program[0]).with_name(name), place)
        words = [f"{place}/mobyshell-runc", "delete", "--force", f"nobody-{os.getpid()}"]
        environment = {**installed.environment, "XDG_RUNTIME_DIR": "/nowhere"}
        for uid, status in ((0, 0), (12345, PYTHON)):
            done = subprocess.run(
                words,
                env=environment,
                user=uid,
                cwd="/",
                check=False,
                capture_output=True,
                timeout=PATIENCE,
            )
            assert done.returncode == status


def test_the_log_is_there_afterwards(ours: Machine, installed: Machine, tmp_path: Path) -> None:
    ours.background("c")
    log = tmp_path / "log"
    installed.ok("--log", str(log), "--log-format", "json", "state", "c")
    assert log.read_text() == ""
    log.write_text("said before\n")
    installed.ok("--log", str(log), "state", "c")
    assert log.read_text() == "said before\n"
    wrong = tmp_path / "no" / "log"
    assert installed.call("--log", str(wrong), "state", "c").returncode == PYTHON


def test_every_day_of_the_calendar(ours: Machine, installed: Machine) -> None:
    ours.root.mkdir()
    for seconds in (
        0, 1, 68169599, 68169600, 951782399, 951782400, 951868800, 978307199, 1709164800, 1709251200,
        1764460800, 4107542399, 4107542400, 9223372036,
    ):  # fmt: skip
        write_record(ours, created_ns=seconds * 10**9 + 12345)
        shown = json.loads(installed.ok("state", "c"))
        assert shown["created"] == rfc3339(seconds * 10**9 + 12345)
    shutil.rmtree(ours.root / "c")


def write_record(machine: Machine, **changed: Any) -> None:
    """A container that was, and of which nothing but the record is left."""
    found = {
        "id": "c", "pid": 4194304, "pid_start": 1, "bundle": "/b", "rootfs": "/b/r", "created_ns": 0,
        "started_ns": 5, "cgroups": {}, "namespaces": ["pid", "mount"], "terminal": False, "args": ["true"],
        "annotations": {}, "owner": 0, "oci_version": "1.2.0", "exit_status": None, "exited_ns": 0,
        "cgroup_levels": [], "unit": "", "root_mount": [], "resctrl": [],
    }  # fmt: skip
    (machine.root / "c").mkdir(exist_ok=True)
    (machine.root / "c" / "state.json").write_text(json.dumps({**found, **changed}))


def test_a_record_is_taken_to_the_letter(ours: Machine, installed: Machine) -> None:
    ours.root.mkdir()
    cases: tuple[tuple[dict[str, Any], int], ...] = (
        ({}, 0),
        ({"annotations": {"a": "", "b": 'q"\\\n\t', "": "x"}}, 0),
        ({"annotations": {"ä": "b"}}, PYTHON),
        ({"args": ["sh", "-c", 'a\n"b"\\ \u0001']}, PYTHON),
        ({"args": [], "exit_status": 137, "exited_ns": 5, "terminal": True}, 0),
        ({"owner": 1000}, PYTHON),
        ({"id": "d"}, PYTHON),
        ({"id": "cc"}, PYTHON),
        ({"id": ""}, PYTHON),
        ({"pid": 1 << 32 | 1}, PYTHON),
        ({"pid": -1}, PYTHON),
        ({"pid": None}, PYTHON),
        ({"namespaces": {}}, PYTHON),
        ({"cgroups": []}, PYTHON),
        ({"unknown": 1}, PYTHON),
    )
    for changed, status in cases:
        write_record(ours, **changed)
        done = installed.call("state", "c")
        assert done.returncode == status, changed
        if status == 0:
            assert done.stdout == ours.ok("--debug", "state", "c")
    shutil.rmtree(ours.root / "c")


def test_a_damaged_record_is_pythons(ours: Machine, installed: Machine) -> None:
    ours.background("c")
    place = ours.root / "c" / "state.json"
    whole = place.read_text()
    damaged = ["", "{", "[]", "[" * 5000, whole + " ", whole + "\0", " " + whole, whole.replace(": ", ":"),
               whole.replace(", ", ",\n"), whole + "x" * 70000, whole[:-1] + "\0}"]  # fmt: skip
    damaged += [whole[:length] for length in range(0, len(whole), 7)]
    damaged += [whole[:at] + "\x7f" + whole[at + 1 :] for at in range(0, len(whole), 31)]
    for text in damaged:
        place.write_text(text)
        done = subprocess.run(
            program(ours, "state"), capture_output=True, check=False, timeout=PATIENCE
        )
        assert (done.returncode, done.stdout) == (PYTHON, b""), text
    place.write_text(whole)
    place.rename(place.with_name("elsewhere"))
    place.symlink_to("elsewhere")
    assert installed.call("state", "c").returncode == PYTHON
    place.unlink()
    os.mkfifo(place)
    for line in ("state c", "start c", "kill c 9", "delete -f c"):
        assert installed.call(*line.split()).returncode == PYTHON
    place.with_name("elsewhere").rename(place)
    installed.ok("state", "c")


def test_what_is_taken_for_a_record_is_one(
    ours: Machine, capfd: pytest.CaptureFixture[str]
) -> None:
    """A few characters are others, more, or gone: then it says what Python says, or leaves it to it."""
    ours.root.mkdir()
    write_record(ours, pid=os.getpid(), annotations={"a": 'b"\n'}, cgroups={"cpu": "/nowhere"})
    whole = (ours.root / "c" / "state.json").read_text()
    chance = random.Random(7)
    taken = 0
    for _ in range(400):
        text = list(whole)
        for _ in range(chance.choice((1, 1, 2))):
            at = chance.randrange(len(text))
            text[at : at + chance.choice((0, 1, 1))] = chance.choice(["", *'019"{}[]:, \\aunrtx.-'])
        (ours.root / "c" / "state.json").write_text("".join(text))
        done = subprocess.run(
            program(ours, "state"), capture_output=True, check=False, timeout=PATIENCE
        )
        if done.returncode != PYTHON:
            taken += 1
            assert done.returncode == 0
            read(str(ours.root), "c").show()
            assert capfd.readouterr().out == done.stdout.decode()
    assert 20 < taken < 200
    shutil.rmtree(ours.root / "c")


def program(machine: Machine, verb: str) -> list[str]:
    """The program as the script calls it, with an end of its own instead of Python."""
    end = machine.directory / "end"
    if not end.exists():
        end.write_text(f"#!/bin/sh\nexit {PYTHON}\n")
        end.chmod(0o755)
    return [str(verbs.TARGET), verb, str(machine.root), "c", "9", "", str(end)]


def test_a_process_that_has_the_number_of_the_init(ours: Machine, installed: Machine) -> None:
    pid = ours.background("c")
    whole = (ours.root / "c" / "state.json").read_text()
    rewrite(ours, lambda found: found.update(pid_start=found["pid_start"] - 1))
    assert same_state(ours, installed) == "stopped"
    for line in ("kill c 9", "kill --all c 9", "start c"):
        assert installed.call(*line.split()).returncode == PYTHON
    # it is still in the groups: nothing but these says that it is not over
    assert installed.call("delete", "c").returncode == PYTHON
    assert os.path.exists(f"/proc/{pid}/exe")
    (ours.root / "c" / "state.json").write_text(whole)
    assert installed.status("c") == "running"


def test_what_is_unusual_is_pythons(ours: Machine, installed: Machine) -> None:
    """And nothing has happened when it is asked."""
    hook = {"path": "/bin/true"}

    def hooked(kind: str) -> Change:
        return lambda spec: spec.update(hooks={kind: [hook]})

    def shared(spec: dict[str, Any]) -> None:
        linux = spec["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "pid"]

    for kind in ("poststart", "startContainer"):
        ours.spec("true", change=hooked(kind))
        ours.quiet("create", "c")
        assert installed.call("start", "c").returncode == PYTHON
        assert installed.status("c") == "created"
        ours.ok("delete", "--force", "c")
    for kind in ("prestart", "createRuntime", "poststop"):
        ours.spec("true", change=hooked(kind))
        ours.quiet("create", "c")
        installed.ok("start", "c")
        eventually(partial(stopped, installed))
        ours.ok("delete", "c")
    ours.spec("sleep", "1000", change=shared)
    ours.quiet("run", "-d", "c")
    for line in ("kill c 9", "delete --force c", "kill --all c 9"):
        assert installed.call(*line.split()).returncode == PYTHON
        assert installed.status("c") == "running"
    ours.ok("delete", "--force", "c")
    ours.spec("true", change=hooked("poststop"))
    ours.quiet("run", "-d", "c")
    eventually(partial(stopped, installed))
    before = record(ours)
    assert installed.call("delete", "c").returncode == PYTHON
    assert record(ours) == before
    assert all(os.path.exists(one) for one in before["cgroups"].values())
    ours.ok("delete", "c")


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found.update(unit="c.scope"),
        lambda found: found.update(resctrl=["/sys/fs/resctrl/c"]),
        lambda found: found["namespaces"].remove("mount"),
        lambda found: found["cgroups"].update(cpu='/sys/"c'),
    ],
)
def test_what_is_not_only_its_own_is_pythons_to_delete(
    ours: Machine, installed: Machine, change: Change
) -> None:
    ours.spec("true")
    ours.quiet("run", "-d", "c")
    eventually(partial(stopped, installed))
    whole = record(ours)
    rewrite(ours, change)
    assert installed.call("delete", "c").returncode == PYTHON
    assert containers(ours.root) == ["c"]
    (ours.root / "c" / "state.json").write_text(json.dumps(whole))
    (ours.root / "c" / "notify").mkdir()
    assert installed.call("delete", "c").returncode == PYTHON
    assert containers(ours.root) == ["c"]
    ours.ok("delete", "c")


def test_groups_below_and_those_in_them_are_pythons(ours: Machine, installed: Machine) -> None:
    ours.background("c")
    groups = record(ours)["cgroups"]
    inside = Path(groups["freezer"] if "freezer" in groups else groups[""]) / "inside"
    inside.mkdir()
    if "freezer" in groups:
        assert installed.call("kill", "c", "9").returncode == PYTHON
    ours.ok("kill", "c", "9")
    eventually(partial(stopped, installed))
    for line in ("kill --all c 9", "delete c"):
        assert installed.call(*line.split()).returncode == PYTHON
    assert inside.exists()
    ours.ok("delete", "c")
    assert gone({"cgroups": groups, "cgroup_levels": []})


def test_of_several_at_once_one_does_it(ours: Machine) -> None:
    ours.spec("sleep", "1000")
    ours.quiet("create", "c")

    def all_at_once(verb: str) -> list[int]:
        # before the threads: a file that one of them writes, or that a child of one has open, cannot
        # be executed by another
        words = program(ours, verb)

        def call(_: int) -> int:
            null = subprocess.DEVNULL
            done = subprocess.run(words, stdout=null, check=False, timeout=PATIENCE)
            return done.returncode

        with ThreadPoolExecutor(8) as pool:
            return sorted(pool.map(call, range(8)))

    assert all_at_once("start") == [0] + [PYTHON] * 7
    assert all_at_once("state") == [0] * 8
    ours.ok("kill", "c", "9")
    eventually(partial(stopped, ours))
    assert all_at_once("delete") == [0] + [PYTHON] * 7
    assert containers(ours.root) == []


CHANGES = {
    "start": (("renameat", 1), ("write", 1), ("unlinkat", 1), ("write", 2), ("renameat", 2)),
    "delete-force": (
        ("pidfd_send_signal", 1), ("write", 1), ("rmdir", 1), ("rmdir", 2), ("flock", 1), ("renameat", 1),
        ("flock", 2), ("unlinkat", 1), ("unlinkat", 3), ("exit_group", 1),
    ),
}  # fmt: skip
"""What each verb changes: a call, and the how manieth it is."""


@pytest.mark.peer
@pytest.mark.parametrize("verb", list(CHANGES))
def test_killed_at_any_change_it_leaves_what_can_be_gone_on_with(ours: Machine, verb: str) -> None:
    strace = shutil.which("strace")
    assert strace
    ours.spec("sleep", "1000")
    for call, number in CHANGES[verb]:
        ours.quiet("create", "c")
        found = record(ours)
        if call == "rmdir" and number > len(found["cgroups"]):
            ours.ok("delete", "--force", "c")
            continue
        inject = f"inject={call}:signal=KILL:when={number}"
        done = subprocess.run(
            [strace, "-o", "/dev/null", "-e", inject, *program(ours, verb)], check=False, timeout=PATIENCE,
            stdin=subprocess.DEVNULL, capture_output=True,
        )  # fmt: skip
        assert done.returncode in (-9, 128 + 9)
        if (ours.root / "c").exists():
            assert record(ours)["pid"] == found["pid"]
            assert ours.status("c") in ("created", "running", "stopped")
            ours.ok("delete", "--force", "c")
        assert gone(found)
        assert not os.path.exists(f"/proc/{found['pid']}/exe")
    ours.spec("true")
    assert [one for one in containers(ours.root) if not one.startswith(".gone-")] == []
    ours.quiet("--debug", "run", "c")  # the library removes what is left of those
    assert containers(ours.root) == []


def test_nobody_listens(ours: Machine, installed: Machine) -> None:
    ours.background("c")
    reading, writing = os.pipe()
    os.close(reading)
    with open("/dev/full", "wb") as full:
        for stream in (writing, full):
            done = subprocess.run(
                program(ours, "state"), stdout=stream, check=False, timeout=PATIENCE
            )
            assert done.returncode == PYTHON
    os.close(writing)

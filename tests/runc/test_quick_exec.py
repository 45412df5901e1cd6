"""Stored plans of exec: used in every container of the same spec, and for nothing else."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from mobyshell.runc.quick_exec import parse
from tests.runc.conftest import Machine
from tests.runc.test_quick import quick
from tests.waiting import eventually

__all__ = ["quick"]  # the fixture


@pytest.mark.parametrize(
    ("line", "known"),
    [
        ("--root /r exec c true", True),
        ("--root=/r --log /l --log-format json exec -d --pid-file /p --process /f c", True),
        ("--root /r exec c sh -c -t", True),
        ("--root /r --systemd-cgroup exec c sh", True),
        ("--root /r exec --systemd-cgroup c sh", False),
        ("--root /r exec -t c sh", False),
        ("--root /r exec --user 1 c sh", False),
        ("--root /r exec -p /f c sh", False),
        ("--root /r exec c", False),
        ("--root /r exec", False),
        ("--root r exec c sh", False),
        ("--root /r exec ../c sh", False),
        ("--root /r --debug exec c sh", False),
        ("--root /r run exec", False),
    ],
)
def test_only_plain_calls_are_taken(line: str, known: bool) -> None:
    assert (parse(line.split()) is not None) is known


def test_what_was_executed_twice_needs_no_library(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    words = ("sh", "-c", "echo out $HOME; echo err >&2; cat; exit 3")
    for machine in (ours, ours, quick, quick):
        done = machine.call("exec", "c", *words, input="in")
        assert (done.returncode, done.stdout) == (3, "out /root\nin")
        assert done.stderr.startswith("err\n")
    assert quick.call("exec", "c", "sh", "-c", "exit 4").returncode == 99
    # another container of the same spec
    ours.quiet("run", "-d", "d")
    _learn(ours, "c")
    assert quick.ok("exec", "d", "true") == ""


def _learn(machine: Machine, id: str) -> None:
    for _ in range(2):
        machine.ok("exec", id, "true")


def test_the_process_is_the_same(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    script = (
        "cat /proc/self/cgroup; grep -E 'Cap|Seccomp|NoNew|Sig[IB]|Uid|Groups' /proc/self/status; env; "
        "pwd; ls /proc/self/fd; umask; ulimit -n; "
        "for one in /proc/self/ns/*; do readlink $one; done"
    )
    found = [machine.ok("exec", "c", "sh", "-c", script) for machine in (ours, ours, quick)]
    assert found[0] == found[1] == found[2]


def runs(pid: int, words: bytes) -> bool:
    return Path(f"/proc/{pid}/cmdline").read_bytes() == words


def test_detached_and_from_a_file(ours: Machine, quick: Machine, tmp_path: Path) -> None:
    ours.background("c")
    process, file = tmp_path / "process.json", tmp_path / "pid"
    process.write_text(json.dumps({"args": ["sleep", "999"], "cwd": "/", "env": ["PATH=/bin"]}))
    for machine in (ours, ours, quick):
        machine.quiet("exec", "-d", "--pid-file", str(file), "--process", str(process), "c")
        pid = int(file.read_text())
        eventually(partial(runs, pid, b"sleep\000999\0"))
        assert pid in json.loads(ours.ok("ps", "-f", "json", "c"))
    process.write_text(json.dumps({"args": ["echo", "new"], "cwd": "/", "env": ["PATH=/bin"]}))
    assert quick.call("exec", "-p", str(process), "c").returncode == 99


def test_what_fails_is_explained(ours: Machine, quick: Machine) -> None:
    ours.background("c")
    _learn(ours, "c")
    assert quick.ok("exec", "c", "true") == ""
    ours.ok("pause", "c")
    assert quick.call("exec", "c", "true").returncode == 99
    assert "paused" in ours.fails("exec", "c", "true", status=255)
    ours.ok("resume", "c")
    assert quick.ok("exec", "c", "true") == ""
    ours.ok("kill", "c", "KILL")
    eventually(lambda: ours.status("c") == "stopped")
    assert quick.call("exec", "c", "true").returncode == 99
    assert "stopped" in ours.fails("exec", "c", "true", status=255)
    assert quick.call("exec", "nosuch", "true").returncode == 99


def test_a_state_of_another_process_is_not_entered(ours: Machine, quick: Machine) -> None:
    """The number of an init that has ended may be somebody else's."""
    ours.background("c")
    _learn(ours, "c")
    path = ours.root / "c" / "state.json"
    text = path.read_text()
    state = json.loads(text)
    path.write_text(json.dumps({**state, "pid_start": state["pid_start"] - 1}))
    assert quick.call("exec", "c", "true").returncode == 99
    path.write_text("[" * 100000)
    assert quick.call("exec", "c", "true").returncode == 99
    path.write_text(text)
    assert quick.ok("exec", "c", "true") == ""

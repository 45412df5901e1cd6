"""`ns` as it is said: what there is, what is inside, and going in."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from mobyshell.core.linux.namespaces import KINDS, inode
from tests.conftest import PROGRAM, Workplace
from tests.core.linux.namespaces.inhabitants import READY, inhabitant

pytestmark = pytest.mark.root


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def up(workplace: Workplace) -> Iterator[int]:
    """The pid of a task."""
    workplace.ok("task", "run", "-d", "--name", "up", "first", "--", "sleep", "1000")
    yield json.loads(workplace.ok("--json", "ns", "inspect", "up"))["pid"]
    workplace.ok("task", "delete", "--force", "up")


def test_a_tasks_namespaces_are_known_to_be_its(workplace: Workplace, up: int) -> None:
    told = json.loads(workplace.ok("--json", "ns", "inspect", "up"))
    assert (told["task"], told["tenant"], told["inner"]) == ("up", "default", 1)
    assert told["namespaces"] == {kind: inode(up, kind) for kind in KINDS}
    mine = [row for row in rows(workplace.ok("ns", "ls")) if row["task"] == "up"]
    assert {row["kind"] for row in mine} >= {"mnt", "pid", "uts", "ipc"}
    assert all(row["pids"] == [up] for row in mine)
    pid = json.loads(workplace.ok("--json", "ns", "inspect", str(inode(up, "pid"))))
    assert pid["inside"]["init"] == f"{up} sleep 1000"
    assert [(one["inner"], one["task"]) for one in pid["members"]] == [(1, "up")]
    tree = rows(workplace.ok("ns", "tree", "--by", "parent", "-t", "pid"))
    assert next(row for row in tree if row["task"] == "up")["depth"] == 1


def test_into_a_task_and_into_namespaces_by_inode(workplace: Workplace, up: int) -> None:
    assert workplace.ok("ns", "enter", "up", "hostname") != ""
    with inhabitant("--uts", script=f"hostname elsewhere; {READY}") as pid:
        number = str(inode(pid, "uts"))
        assert workplace.ok("ns", "enter", number, "--", "hostname") == "elsewhere\n"
        both = f"{number},{inode(up, 'ipc')}"
        done = workplace.ok("ns", "enter", both, "readlink", "/proc/self/ns/ipc")
        assert done == f"ipc:[{inode(up, 'ipc')}]\n"
        calls = [row["call"] for row in rows(workplace.ok("--plan", "ns", "enter", both, "true"))]
        assert calls[-3:] == ["setns(CLONE_NEWIPC)", "setns(CLONE_NEWUTS)", "execve(true)"]
        refused = workplace.run("ns", "enter", "-t", "net", number, "true")
        assert (refused.returncode, "says its kind itself" in refused.stderr) == (2, True)
    # not that of the one that has ended: its number may be another's by now
    gone = workplace.run("ns", "enter", "4294967295", "true")
    assert (gone.returncode, "no namespace and no process" in gone.stderr) == (3, True)
    assert workplace.run("--readonly", "ns", "enter", "up", "true").returncode == 5


def test_what_is_neither_is_said(workplace: Workplace) -> None:
    assert "no namespace and no process" in workplace.run("ns", "inspect", "4194303").stderr
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "ns",
         "inspect", str(os.getpid())], capture_output=True, text=True, timeout=60, check=False,
        cwd="/", env={"PATH": os.environ["PATH"], "MOBYSHELL_STATE": str(workplace.state)},
    )  # fmt: skip
    hidden = json.loads(done.stdout)
    assert (hidden["namespaces"], "ptrace access" in hidden["untold"]) == ({}, True)
    own = json.loads(workplace.ok("--json", "ns", "inspect", str(os.getpid())))
    assert own["namespaces"]["uts"] == inode(os.getpid(), "uts")

"""`snapshot`: the life of some, by words alone."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import Any

import pytest

from tests.conftest import Workplace

pytestmark = pytest.mark.root


def rows(workplace: Workplace, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in workplace.ok(*words).splitlines()]


def made(workplace: Workplace, snapshotter: str) -> None:
    """`base` with a file, and `box` upon it, in which it is deleted."""
    which = ("--snapshotter", snapshotter)
    (mount,) = rows(workplace, "snapshot", "prepare", "key", *which)
    (workplace.directory / "mnt").mkdir(exist_ok=True)
    mounted(workplace, ["snapshot", "mounts", "key", "mnt", *which], "echo hello > mnt/file")
    assert mount["type"] == "bind"
    workplace.ok("snapshot", "commit", "base", "key", *which)
    workplace.ok("snapshot", "prepare", "box", "base", *which)
    mounted(workplace, ["snapshot", "mounts", "box", "mnt", *which], "rm mnt/file; touch mnt/new")


def mounted(workplace: Workplace, words: list[str], script: str) -> None:
    """Run a script with a snapshot mounted as the verb says, in a mount namespace that ends."""
    command = workplace.ok(*words)
    subprocess.run(["unshare", "-m", "sh", "-ec", f"{command}\n{script}"], check=True,
                   cwd=workplace.directory)  # fmt: skip


@pytest.mark.parametrize("snapshotter", ["overlayfs", "native"])
def test_what_mount_is_told_works(workplace: Workplace, snapshotter: str) -> None:
    made(workplace, snapshotter)
    which = ("--snapshotter", snapshotter)
    found = {one["path"]: one["way"] for one in rows(workplace, "snapshot", "diff", "box", *which)}
    assert found == {"/file": "deleted", "/new": "added"}
    workplace.ok("snapshot", "diff", "box", "-o", "layer.tar", *which)
    with tarfile.open(workplace.directory / "layer.tar") as archive:
        assert {".wh.file", "new"} <= set(archive.getnames())
    assert workplace.run("snapshot", "diff", "box", "-o", "layer.tar", *which).returncode == 1
    assert workplace.run("snapshot", "rm", "base", *which).returncode == 3
    workplace.ok("snapshot", "rm", "box", "base", *which)
    assert rows(workplace, "snapshot", "ls", *which) == []


def test_the_tree_and_what_it_takes(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    workplace.ok("snapshot", "view", "look", "base")
    lines = workplace.ok("snapshot", "tree").splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["base", "committed", "8.0K"], ["├─", "box", "active"], ["└─", "look", "view"],
    ]  # fmt: skip
    found = {one["key"]: one for one in rows(workplace, "snapshot", "usage")}
    assert set(found) == {"base", "box", "look"}
    assert found["base"] == {"key": "base", "size": 8192, "inodes": 2}
    assert [one["key"] for one in rows(workplace, "snapshot", "ls", "parent==base")] == [
        "box", "look",
    ]  # fmt: skip
    (shown,) = rows(workplace, "snapshot", "inspect", "box")
    assert (shown["parent"], len(shown["directories"])) == ("base", 2)
    workplace.ok("snapshot", "label", "box", "colour=red", "containerd.io/gc.root=")
    assert rows(workplace, "snapshot", "inspect", "box")[0]["labels"] == {"colour": "red"}


def test_a_namespace_is_one_of_its_own(workplace: Workplace) -> None:
    workplace.ok("snapshot", "prepare", "box")
    done = workplace.run("--namespace", "other", "snapshot", "mounts", "box")
    assert done.returncode == 3
    assert "default" in done.stderr
    assert workplace.run("snapshot", "ls", "--snapshotter", "zfs").returncode == 2

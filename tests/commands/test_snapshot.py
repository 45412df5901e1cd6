"""`snapshot`: the life of some, by words alone."""

from __future__ import annotations

import json
import subprocess
import tarfile
from typing import Any

import pytest

from tests.conftest import PROGRAM, Workplace

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
    piped = subprocess.run([PROGRAM, "snapshot", "diff", "box", "-o", "-", *which], check=True,
                           capture_output=True, env=workplace.environment)  # fmt: skip
    assert piped.stdout == (workplace.directory / "layer.tar").read_bytes()
    assert workplace.run("snapshot", "rm", "base", *which).returncode == 3
    workplace.ok("snapshot", "rm", "box", "base", *which)
    assert rows(workplace, "snapshot", "ls", *which) == []


def on_disk(directory: str) -> int:
    """Bytes, as du(1) counts: a directory takes some on ext4, and none on tmpfs."""
    done = subprocess.run(["du", "-sB1", directory], capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0])


def test_the_tree_and_what_it_takes(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    workplace.ok("snapshot", "view", "look", "base")
    lines = workplace.ok("snapshot", "tree").splitlines()
    (base,) = rows(workplace, "snapshot", "inspect", "base")
    size = on_disk(base["directories"][0])
    assert [line.split()[:3] for line in lines] == [
        ["base", "committed", f"{size / 1024:.1f}K"], ["├─", "box", "active"], ["└─", "look", "view"],
    ]  # fmt: skip
    found = {one["key"]: one for one in rows(workplace, "snapshot", "usage")}
    assert set(found) == {"base", "box", "look"}
    assert found["base"] == {"key": "base", "size": size, "inodes": 2}
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


def planned(workplace: Workplace, *words: str) -> list[dict[str, Any]]:
    return rows(workplace, "snapshot", *words, "--plan")


def test_two_snapshots_are_compared_whoever_is_upon_whom(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    workplace.ok("snapshot", "prepare", "other", "base")
    script = "echo other > mnt/other; mkdir -p mnt/d/e; touch mnt/d/e/f; chmod 600 mnt/file"
    mounted(workplace, ["snapshot", "mounts", "other", "mnt"], script)
    found = rows(workplace, "snapshot", "diff", "other", "--from", "box")
    assert {one["path"]: one["way"] for one in found} == {
        "/d": "added", "/d/e": "added", "/d/e/f": "added", "/file": "added", "/new": "deleted",
        "/other": "added",
    }  # fmt: skip
    (one,) = rows(workplace, "snapshot", "diff", "base", "--from", "other")[1:2]
    assert (one["way"], one["path"]) == ("changed", "/file")
    assert rows(workplace, "snapshot", "diff", "box", "--from", "box") == []
    assert workplace.run("snapshot", "diff", "box", "--from", "nobody").returncode == 3
    assert workplace.run("snapshot", "diff", "box", "--from", "base", "-o", "x").returncode == 2


def test_plans_say_what_will_be_done_and_do_nothing(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    before = rows(workplace, "snapshot", "ls")
    steps = planned(workplace, "prepare", "more", "base")
    assert [one["what"] for one in steps][-1] == "name it more"
    assert any("mkdir" in one["calls"] and "/work" in one["calls"] for one in steps)
    assert not any("/work" in one["calls"] for one in planned(workplace, "view", "more", "base"))
    assert "syncfs" in planned(workplace, "commit", "new", "box")[0]["calls"]
    assert planned(workplace, "label", "box", "a=b", "containerd.io/gc.root=x")[0]["what"] == (
        "set a to b"
    )
    assert "umount2" not in json.dumps(planned(workplace, "mount", "base", "mnt2"))
    assert len(planned(workplace, "rm", "box", "base")) == 4
    native = rows(workplace, "snapshot", "prepare", "k", "--snapshotter", "native", "--plan")
    assert len(native) == 3
    assert rows(workplace, "snapshot", "ls") == before
    for words in (
        ("prepare", "box", "base"), ("prepare", "x", "box"), ("view", "x", "nobody"),
        ("commit", "x", "base"), ("rm", "base"), ("rm", "nobody"), ("mount", "box", "mnt2"),
        ("unmount", "mnt2"), ("commit", "base", "box"),
    ):  # fmt: skip
        assert workplace.run("snapshot", *words, "--plan").returncode == 3, words


def test_a_committed_one_is_mounted_to_be_looked_at(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    workplace.ok("snapshot", "commit", "top", "box")
    place = workplace.directory / "look"
    try:
        workplace.ok("snapshot", "mount", "top", "look")
        assert [one.name for one in place.iterdir()] == ["new"]
        with pytest.raises(OSError, match="Read-only"):
            (place / "x").write_text("")
    finally:
        workplace.ok("snapshot", "unmount", "look")
    assert list(place.iterdir()) == []
    assert len(rows(workplace, "snapshot", "ls")) == 2
    refused = workplace.run("snapshot", "unmount", "/proc")
    assert refused.returncode == 3
    assert "no snapshot is mounted on /proc by this namespace" in refused.stderr


def test_unmounting_knows_whose_snapshot_it_was(workplace: Workplace) -> None:
    made(workplace, "native")
    native = ("--snapshotter", "native")
    workplace.ok("snapshot", "commit", *native, "top", "box")
    workplace.ok("snapshot", "mount", *native, "top", "look")
    try:
        steps = rows(workplace, "--plan", "snapshot", "unmount", "look")
        assert len(steps) > 1
    finally:
        workplace.ok("snapshot", "unmount", "look")
    assert list((workplace.directory / "look").iterdir()) == []
    assert len(rows(workplace, "snapshot", "ls", *native)) == 2


def test_a_view_says_of_its_mount_what_the_plan_said(workplace: Workplace) -> None:
    made(workplace, "overlayfs")
    workplace.ok("snapshot", "commit", "top", "box")
    (mount,) = rows(workplace, "snapshot", "view", "look", "top")
    lowers = mount["options"].partition("lowerdir=")[2].split(":")
    steps = json.dumps(planned(workplace, "mount", "top", "mnt2"))
    assert len(lowers) == 2
    assert all(f'\\"lowerdir+\\", \\"{one}\\"' in steps for one in lowers)


def test_a_layer_is_found_by_the_beginning_of_its_digest(workplace: Workplace) -> None:
    """As tables show it. A key that is one comes first."""
    layer = "sha256:" + "0123456789abcdef" * 4
    short = layer[:19]
    workplace.ok("snapshot", "prepare", "key")
    workplace.ok("snapshot", "commit", layer, "key")
    (found,) = rows(workplace, "snapshot", "inspect", short)
    assert found["key"] == layer
    assert rows(workplace, "snapshot", "usage", layer[:12])[0]["key"] == layer
    workplace.ok("snapshot", "label", short, "colour=red")
    workplace.ok("--plan", "snapshot", "prepare", "upon", short)
    workplace.ok("snapshot", "prepare", "upon", short)
    workplace.ok("snapshot", "view", "look", short)
    assert {one["parent"] for one in rows(workplace, "snapshot", "ls")} == {"", layer}
    assert rows(workplace, "snapshot", "diff", "upon", "--from", short) == []
    workplace.ok("snapshot", "prepare", short)
    assert rows(workplace, "snapshot", "inspect", short)[0]["kind"] == "active"
    workplace.ok("snapshot", "rm", short, "upon", "look")
    workplace.ok("--plan", "snapshot", "rm", short)
    workplace.ok("snapshot", "rm", short)
    assert rows(workplace, "snapshot", "ls") == []
    assert workplace.run("snapshot", "inspect", short).returncode == 3

"""What is said of snapshots is what works: the lines for a shell mount what they say."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mobyshell.core.store.snapshots.driver import NO_MAPS
from mobyshell.core.store.snapshots.explained import (
    attach_steps,
    commit_steps,
    label_steps,
    make_steps,
    mount_calls,
    mount_json,
    mount_lines,
    option_reasons,
    remove_steps,
    view_mount,
)
from mobyshell.core.store.snapshots.overlay import Overlay
from mobyshell.core.store.snapshots.protocol import Kind, Mount, Snapshot, Usage


def trees(tmp_path: Path) -> list[Path]:
    """Two layers, of whose paths one is awkward."""
    found = [tmp_path / "up per", tmp_path / "it's low"]
    for number, one in enumerate(found):
        one.mkdir()
        (one / "which").write_text(str(number))
        (one / f"only-{number}").touch()
    return found


@pytest.mark.root
def test_the_lines_for_a_shell_mount_it(tmp_path: Path) -> None:
    mount = view_mount(trees(tmp_path))
    target = tmp_path / "mnt"
    target.mkdir()
    script = "\n".join([*mount_lines(mount, str(target)), f"cat '{target}/which'; ls '{target}'"])
    done = subprocess.run(["unshare", "-m", "sh", "-ec", script], capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.split() == ["0only-0", "only-1", "which"]
    assert list(target.iterdir()) == []


def test_each_option_of_ours_has_a_reason(tmp_path: Path) -> None:
    parents = [tmp_path / "1", tmp_path / "2"]
    for driver in (Overlay(userxattr=True), Overlay(userxattr=False)):
        for kind in (Kind.ACTIVE, Kind.VIEW):
            for count in (0, 1, 2):
                (mount,) = driver.mounts(tmp_path / "3", kind, parents[:count], NO_MAPS)
                assert all(why for _, why in option_reasons(mount)), mount
                assert json.loads(mount_json(mount))["options"] == list(mount.options)
                assert attach_steps(mount, "/mnt")[-1].calls[0].startswith("move_mount")


def test_calls_are_c() -> None:
    mount = Mount("overlay", "overlay", ("index=off", 'lowerdir=/a"b:/c'))
    assert mount_calls(mount, "/mnt") == [
        'mount("overlay", "/mnt", "overlay", MS_RDONLY,', '      "index=off"',
        '      ",lowerdir=/a\\"b:/c");',
    ]  # fmt: skip
    assert len(mount_calls(Mount("bind", "/a", ("ro", "rbind")), "/mnt")) == 2
    assert len(mount_calls(Mount("bind", "/a", ("rw", "rbind")), "/mnt")) == 1


def test_steps_differ_where_what_is_done_does() -> None:
    place = Path("/s")

    def calls(kind: Kind, parent: str, *, flat: bool) -> str:
        lowers = (Path("/s/1/fs"),) if parent else ()
        steps = make_steps("k", kind, parent, lowers, place, flat=flat)
        return "; ".join(call for step in steps for call in step.calls)

    assert "/work" in calls(Kind.ACTIVE, "p", flat=False)
    assert "/work" not in calls(Kind.VIEW, "p", flat=False)
    assert "cp -a --reflink=auto /s/1/fs" in calls(Kind.ACTIVE, "p", flat=True)
    assert "cp " not in calls(Kind.VIEW, "p", flat=True) + calls(Kind.ACTIVE, "", flat=True)
    labels = ("containerd.io/snapshot/x", "team")
    kept, settled = commit_steps("n", "k", Path("/s/2/fs"), labels, flat=False)[1:]
    assert "containerd.io/snapshot/x go over" in kept.why
    assert settled.calls == ("rmdir /s/2/work",)
    assert len(commit_steps("n", "k", Path("/s/2/fs"), (), flat=True)) == 2
    assert "3 inodes" in remove_steps("k", Path("/s/2"), Usage(100, 3))[1].why
    snapshot = Snapshot("k", Kind.ACTIVE, labels={"a": "1", "b": "2"})
    said = [one.title for one in label_steps(snapshot, {"a": None, "b": "3", "c": "4", "d": None})]
    assert said == ["take a away", "set b to 3, which was 2", "set c to 4", "d is not there"]

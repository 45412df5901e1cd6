"""overlayfs: the mounts, word for word as containerd says them, and what the kernel makes of them."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mobyshell.core.errors import SyscallFailed, Unsupported, UsageError, WrongState
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots import choose, mounting, overlay_probe
from mobyshell.core.store.snapshots.overlay import Overlay
from mobyshell.core.store.snapshots.overlay_options import OverlayOptions, escape, split, unescape
from mobyshell.core.store.snapshots.protocol import (
    GID_MAPPING,
    UID_MAPPING,
    Form,
    Layer,
    Mount,
    Snapshotter,
)
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
from tests.core.store.snapshots.conftest import layer, nothing, put, seen, shown, tree, write

pytestmark = pytest.mark.root

DIFF = "sha256:" + 64 * "a"


@pytest.fixture
def overlay(scope: Scope) -> Snapshotter:
    return TreeSnapshotter(scope, Overlay())


def commit(overlay: Snapshotter, name: str, parent: str = "", holds: Layer | None = None) -> None:
    overlay.prepare(f"{name}-key", parent)
    overlay.commit(name, f"{name}-key", layer=holds)


def test_mounts_of_every_kind(overlay: Snapshotter, scope: Scope) -> None:
    place = scope.root.snapshots / "overlayfs"
    assert overlay.prepare("k") == (Mount("bind", f"{place}/1/fs", ("rw", "rbind")),)
    assert overlay.view("v") == (Mount("bind", f"{place}/2/fs", ("ro", "rbind")),)
    overlay.commit("a", "k")
    assert overlay.view("va", "a") == (Mount("bind", f"{place}/1/fs", ("ro", "rbind")),)
    assert overlay.prepare("b-key", "a") == (
        Mount("overlay", "overlay", (
            "index=off", f"workdir={place}/4/work", f"upperdir={place}/4/fs",
            f"lowerdir={place}/1/fs",
        )),
    )  # fmt: skip
    overlay.commit("b", "b-key")
    assert overlay.view("vb", "b") == (
        Mount("overlay", "overlay", ("index=off", f"lowerdir={place}/4/fs:{place}/1/fs")),
    )
    assert overlay.prepare("box", "b")[0].options[-1] == f"lowerdir={place}/4/fs:{place}/1/fs"


def test_in_a_user_namespace_attributes_are_the_users(scope: Scope) -> None:
    overlay = TreeSnapshotter(scope, Overlay(userxattr=True))
    commit(overlay, "a")
    assert overlay.prepare("box", "a")[0].options[:2] == ("index=off", "userxattr")
    assert overlay.layer_target("box").form is Form.OVERLAY_USER


def test_an_opaque_layer_hides_all_below_it(overlay: Snapshotter) -> None:
    layer(overlay, "a", put(a="a"))
    layer(overlay, "b", put(b="b"), "a")
    write(overlay, "key", nothing)
    (overlay.layer_target("key").directory / "c").write_text("c")
    overlay.commit("c", "key", parent="b", layer=Layer(DIFF, opaque_root=True))
    layer(overlay, "d", put(d="d"), "c")
    assert seen(overlay, "c") == {"c": "c"}
    assert seen(overlay, "d") == {"c": "c", "d": "d"}
    assert overlay.stat("c").parent == "b"
    assert overlay.view("v", "c")[0].type == "bind"  # one tree is all that shows
    assert len(overlay.directories("d").lowers) == 1


def test_layers_unpacked_independently_get_their_parents_late(overlay: Snapshotter) -> None:
    for key in ("two-key", "one-key", "three-key"):  # in whatever order
        write(overlay, key, put(**{key[:3]: key}))
    with pytest.raises(WrongState):
        overlay.commit("two", "two-key", parent="one-key")
    overlay.commit("one", "one-key")
    overlay.commit("two", "two-key", parent="one")
    overlay.commit("three", "three-key", parent="two")
    assert seen(overlay, "three") == {"two": "two-key", "one": "one-key", "thr": "three-key"}
    assert [one.name for one in overlay.walk()] == ["one", "two", "three"]
    overlay.prepare("box", "two")
    with pytest.raises(WrongState, match="has a parent"):
        overlay.commit("x", "box", parent="one")


def test_a_commit_takes_only_the_files_along(overlay: Snapshotter, scope: Scope) -> None:
    layer(overlay, "a", put(a="a"))
    write(overlay, "key", put(b="b"), "a")
    overlay.commit("b", "key")
    assert sorted(one.name for one in (scope.root.snapshots / "overlayfs" / "2").iterdir()) == [
        "fs"
    ]


def test_deletions_are_whiteouts_in_the_tree(overlay: Snapshotter) -> None:
    layer(overlay, "a", put(foo="1", d__x="x"))

    def delete(root: Path) -> None:
        (root / "foo").unlink()
        (root / "d" / "x").unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()

    layer(overlay, "b", delete, "a")
    files = overlay.directories("b").directory
    whiteout = (files / "foo").lstat()
    assert (stat.S_ISCHR(whiteout.st_mode), whiteout.st_rdev) == (True, 0)
    assert os.getxattr(files / "d", "trusted.overlay.opaque") == b"y"


@pytest.mark.parametrize("name", ["a:b", "a,b", "a\\b", "a b", "a\\:,b", "ü", "x" * 200])
def test_paths_with_a_meaning(tmp_path: Path, name: str) -> None:
    root = StoreRoot(tmp_path / name / ("y" * 100 if len(name) > 100 else "y"))
    root.make()
    with Database(root.database) as database:
        overlay = TreeSnapshotter(Scope(root, database, "test"), Overlay())
        overlay_probe.check(root.snapshots / "overlayfs", userxattr=False)
        layer(overlay, "a", put(a="a"))
        layer(overlay, "b", put(b="b"), "a")
        layer(overlay, "c", put(c="c"), "b")
        assert seen(overlay, "c") == {"a": "a", "b": "b", "c": "c"}


def test_options_are_read_as_they_are_written() -> None:
    paths = ["/a:b", "/a,b", "/a\\", "/\\:", "/plain"]
    text = "lowerdir=" + ":".join(map(escape, paths))
    found = OverlayOptions.parse(["index=off", text, f"upperdir={escape(paths[1])}"])
    assert found == OverlayOptions(tuple(paths), paths[1], "", ("index=off",))
    assert split("a\\:b:c") == ["a\\:b", "c"]
    assert unescape("\\\\\\:") == "\\:"


def test_kernels_that_take_all_layers_in_one_string(
    overlay: Snapshotter, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = ""
    for number in range(20):
        name = f"{number}"
        overlay.prepare("key", parent)
        (overlay.layer_target("key").directory / name).touch()
        overlay.commit(name, "key")
        parent = name
    monkeypatch.setattr(mounting, "one_by_one", lambda: False)
    before = Path("/proc/self/mountinfo").read_text()
    with shown(overlay.prepare("box", parent)) as root:
        assert len(list(root.iterdir())) == 20
        (root / "new").write_text("new")
    assert Path("/proc/self/mountinfo").read_text() == before


def test_where_overlayfs_cannot_be_written_it_is_said(tmp_path: Path) -> None:
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    inner = Mount("overlay", "overlay", (
        f"lowerdir={tmp_path}/lower", f"upperdir={tmp_path}/upper", f"workdir={tmp_path}/work",
    ))  # fmt: skip
    with mounting.mounted([inner], tmp_path / "merged") as merged:
        with pytest.raises(Unsupported, match="overlayfs cannot be used") as caught:
            overlay_probe.check(merged / "snapshots", userxattr=False)
        assert "native" in caught.value.hint
        assert not (merged / "snapshots").exists()
        root = StoreRoot(merged / "store")
        root.make()
        with Database(root.database) as database:
            scope = Scope(root, database, "test")
            with pytest.raises(Unsupported, match="overlayfs cannot be used"):
                TreeSnapshotter(scope, Overlay()).prepare("box")
            assert choose.default(scope) == "native"
            assert choose.why_not(scope, "native") == ""
            layer(choose.snapshotter(scope), "base", put(f="f"))
            assert seen(choose.snapshotter(scope), "base") == {"f": "f"}


def test_attached_and_detached(overlay: Snapshotter, tmp_path: Path) -> None:
    layer(overlay, "a", put(a="a"))
    target = tmp_path / "mnt"
    target.mkdir()
    with mounting.mounted(overlay.prepare("box", "a"), target):
        assert tree(target) == {"a": "a"}
        (target / "b").write_text("b")
    assert list(target.iterdir()) == []
    mounting.attach(overlay.mounts("box"), target)
    mounting.detach(target)
    with pytest.raises(SyscallFailed):
        mounting.detach(target)
    with mounting.mounted(overlay.mounts("box"), target):
        fd = os.open(target, os.O_RDONLY)
    assert list(target.iterdir()) == []  # though somebody has it open
    assert sorted(os.listdir(fd)) == ["a", "b"]
    os.close(fd)


MAPS = {UID_MAPPING: "0:100000:65536", GID_MAPPING: "0:200000:65536"}


def test_ids_are_mapped_by_the_mount(overlay: Snapshotter) -> None:
    layer(overlay, "a", put(a="a"))
    layer(overlay, "b", put(b="b"), "a")
    (mount,) = overlay.prepare("box", "b", MAPS)
    assert mount.options[-2:] == ("uidmap=0:100000:65536", "gidmap=0:200000:65536")
    with shown((mount,)) as root:
        for name in ("a", "b", "."):
            found = (root / name).stat()
            assert (found.st_uid, found.st_gid) == (100000, 200000)
    with shown(overlay.view("v", "a", MAPS)) as root:
        assert (root / "a").stat().st_uid == 100000
    assert (overlay.directories("b").directory / "b").stat().st_uid == 0


@pytest.mark.parametrize(
    "labels",
    [{UID_MAPPING: "0:1:1"}, {**MAPS, UID_MAPPING: "0:1"}, {**MAPS, GID_MAPPING: "0:-1:5"},
     {**MAPS, GID_MAPPING: "0:1:0"}, {**MAPS, GID_MAPPING: f"0:{1 << 32}:1"}],
)  # fmt: skip
def test_maps_that_are_none_are_refused(overlay: Snapshotter, labels: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        overlay.prepare("box", "", labels)
    assert list(overlay.walk()) == []


ROOTLESS = """
import os, sys
from pathlib import Path
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call
from tests.core.store.snapshots.conftest import layer, put, seen
from mobyshell.core.store.database import Database
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.choose import default, snapshotter
# now, while the package can be read: it may be in /root
from mobyshell.core.store.snapshots import overlay, overlay_probe
os.chown(sys.argv[1], 1234, 1234)
os.setgroups([])
os.setresgid(1234, 1234, 1234)
os.setresuid(1234, 1234, 1234)
call("prctl", c.PR_SET_DUMPABLE, 1)  # else /proc/self is root's
call("unshare", c.CLONE_NEWUSER | c.CLONE_NEWNS)
for name, text in (("setgroups", "deny"), ("gid_map", "0 1234 1"), ("uid_map", "0 1234 1")):
    Path(f"/proc/self/{name}").write_text(text)
root = StoreRoot(Path(sys.argv[1]))
root.make()
with Database(root.database) as database:
    scope = Scope(root, database, "test")
    print(default(scope))
    overlay = snapshotter(scope)
    layer(overlay, "a", put(foo="1", d__x="x"))
    def delete(root):
        (root / "foo").unlink()
        (root / "d" / "x").unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
    layer(overlay, "b", delete, "a")
    print(seen(overlay, "b"))
    print(os.listxattr(overlay.directories("b").directory / "d"))
    for key in ("b", "a"):
        overlay.remove(key)
    print(os.listdir(root.snapshots / "overlayfs"))
"""


def test_as_root_of_a_user_namespace() -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:  # others may pass through it
        done = subprocess.run(
            [sys.executable, "-c", ROOTLESS, place], capture_output=True, text=True, check=False,
            cwd=Path(__file__).parents[4],
        )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "overlayfs", "{'d': None}", "['user.overlay.opaque']", "[]",
    ]  # fmt: skip

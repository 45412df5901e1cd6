"""The suite that every snapshotter passes: what `protocol` says, seen through real mounts.

After containerd's core/snapshots/testsuite, whose names stand behind the tests that answer to it.
"""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError, WrongState
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.protocol import Kind, Snapshotter, Usage
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
from tests.core.store.snapshots.conftest import layer, nothing, put, seen, shown, tree, write

pytestmark = pytest.mark.root


def test_basic(snapshots: Snapshotter) -> None:
    """Basic"""
    layer(snapshots, "base", put(foo="foo", a__b__c="c"))
    layer(snapshots, "next", put(bar="bar", a__b__c="changed"), "base")
    assert seen(snapshots, "base") == {"foo": "foo", "a": None, "a/b": None, "a/b/c": "c"}
    assert seen(snapshots, "next") == {
        "foo": "foo", "bar": "bar", "a": None, "a/b": None, "a/b/c": "changed",
    }  # fmt: skip
    assert [one.name for one in snapshots.walk()] == ["base", "next"]


def test_stat_active(snapshots: Snapshotter) -> None:
    """StatActive"""
    layer(snapshots, "base", nothing)
    snapshots.prepare("box", "base", {"a": "1"})
    found = snapshots.stat("box")
    assert (found.name, found.kind, found.parent) == ("box", Kind.ACTIVE, "base")
    assert found.labels == {"a": "1"}
    assert found.created == found.updated > 0


def test_stat_committed(snapshots: Snapshotter) -> None:
    """StatComitted"""
    layer(snapshots, "base", nothing)
    layer(snapshots, "next", nothing, "base")
    found = snapshots.stat("next")
    assert (found.name, found.kind, found.parent) == ("next", Kind.COMMITTED, "base")
    with pytest.raises(NotFound):
        snapshots.stat("next-active")


def test_transitivity(snapshots: Snapshotter) -> None:
    """TransitivityTest"""
    layer(snapshots, "a", nothing)
    layer(snapshots, "b", nothing, "a")
    snapshots.prepare("c", "b")
    snapshots.view("v", "b")
    assert {one.name: one.parent for one in snapshots.walk()} == {
        "a": "", "b": "a", "c": "b", "v": "b",
    }  # fmt: skip


def test_prepare_and_view_of_what_cannot_be_a_parent(snapshots: Snapshotter) -> None:
    """PrepareViewFailing"""
    snapshots.prepare("active")
    snapshots.view("view")
    for make in (snapshots.prepare, snapshots.view):
        for parent in ("active", "view"):
            with pytest.raises(WrongState, match=f"'{parent}' is {parent}"):
                make("new", parent)
        with pytest.raises(NotFound):
            make("new", "nowhere")
        with pytest.raises(UsageError):
            make("")
    assert [one.name for one in snapshots.walk()] == ["active", "view"]
    assert snapshots.cleanup() == Usage()


def test_keys_and_names_are_one_space(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", nothing)
    snapshots.prepare("box")
    for make in (snapshots.prepare, snapshots.view):
        for taken in ("base", "box"):
            with pytest.raises(AlreadyExists, match=taken):
                make(taken)
    with pytest.raises(AlreadyExists):
        snapshots.commit("base", "box")
    snapshots.commit("box", "box")  # its own key is free when it has ceased to be
    assert snapshots.stat("box").kind is Kind.COMMITTED


def test_commit_of_what_is_not_active(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", nothing)
    snapshots.view("view", "base")
    for key in ("base", "view"):
        with pytest.raises(WrongState):
            snapshots.commit("new", key)
    with pytest.raises(NotFound):
        snapshots.commit("new", "nowhere")


def test_what_is_committed_is_seen_by_nobody_before(snapshots: Snapshotter) -> None:
    """commit visibility"""
    write(snapshots, "key", put(f="f"))
    with pytest.raises(NotFound):
        snapshots.stat("name")
    snapshots.commit("name", "key")
    with pytest.raises(NotFound):
        snapshots.stat("key")
    with pytest.raises(NotFound):
        snapshots.mounts("key")
    with pytest.raises(WrongState, match="committed"):
        snapshots.mounts("name")
    snapshots.prepare("key")  # the key is free again


def test_mounts_are_told_again(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", put(f="f"))
    made = snapshots.prepare("box", "base"), snapshots.view("view", "base")
    assert (snapshots.mounts("box"), snapshots.mounts("view")) == made


def test_remove(snapshots: Snapshotter) -> None:
    """Remove"""
    layer(snapshots, "base", put(f="f"))
    layer(snapshots, "next", put(g="g"), "base")
    snapshots.view("view", "base")
    with pytest.raises(WrongState, match="children: 'next', 'view'"):
        snapshots.remove("base")
    snapshots.remove("view")
    with pytest.raises(WrongState, match="children: 'next'"):
        snapshots.remove("base")
    snapshots.remove("next")
    snapshots.remove("base")
    with pytest.raises(NotFound):
        snapshots.remove("base")
    assert list(snapshots.walk()) == []
    assert snapshots.cleanup() == Usage()


def test_remove_of_one_in_between(snapshots: Snapshotter) -> None:
    """RemoveIntermediateSnapshot"""
    layer(snapshots, "a", put(a="a"))
    layer(snapshots, "b", put(b="b"), "a")
    snapshots.prepare("c", "b")
    for key in ("b", "a"):
        with pytest.raises(WrongState):
            snapshots.remove(key)
    for key in ("c", "b", "a"):
        snapshots.remove(key)


def test_removed_files_are_gone_from_the_disk(snapshots: Snapshotter, scope: Scope) -> None:
    layer(snapshots, "base", put(a__b="1", a__c="2"))
    snapshots.prepare("box", "base")
    for key in ("box", "base"):
        snapshots.remove(key)
    assert list((scope.root.snapshots / snapshots.name).iterdir()) == []


def test_update(snapshots: Snapshotter) -> None:
    """Update"""
    layer(snapshots, "base", nothing)
    before = snapshots.stat("base")
    after = snapshots.update("base", {"a": "1", "b": "2"})
    assert after.labels == {"a": "1", "b": "2"} == snapshots.stat("base").labels
    assert (after.created, after.kind) == (before.created, before.kind)
    assert after.updated > before.updated
    assert snapshots.update("base", {"a": None, "c": "3"}).labels == {"b": "2", "c": "3"}
    with pytest.raises(NotFound):
        snapshots.update("nowhere", {})
    with pytest.raises(UsageError):
        snapshots.update("base", {"a": "x" * 5000})


def test_labels_of_the_snapshotter_go_over_by_commit(snapshots: Snapshotter) -> None:
    own, other = "containerd.io/snapshot/x", "mine"
    snapshots.prepare("box", "", {own: "1", other: "2"})
    snapshots.commit("base", "box", {"new": "3"})
    assert snapshots.stat("base").labels == {own: "1", "new": "3"}
    snapshots.prepare("child", "base")
    assert snapshots.stat("child").labels == {}


def test_walk(snapshots: Snapshotter) -> None:
    """Walk"""
    layer(snapshots, "a", nothing)
    layer(snapshots, "b", nothing, "a")
    snapshots.prepare("c", "b", {"colour": "red"})
    snapshots.view("d", "a")
    assert [one.name for one in snapshots.walk()] == ["a", "b", "c", "d"]
    assert [one.name for one in snapshots.walk("kind==committed")] == ["a", "b"]
    assert [one.name for one in snapshots.walk("parent==a", "labels.colour==red")] == [
        "b", "c", "d",
    ]  # fmt: skip
    assert [one.name for one in snapshots.walk("name~=^[ab]$,parent==a")] == ["b"]
    for one in snapshots.walk():  # StatInWalk
        assert snapshots.stat(one.name) == one


def test_usage_of_active_ones_is_what_it_is_now(snapshots: Snapshotter) -> None:
    """Usage"""
    write(snapshots, "box", nothing)
    empty = snapshots.usage("box")
    with shown(snapshots.mounts("box")) as root:
        (root / "large").write_bytes(os.urandom(1 << 20))
        os.link(root / "large", root / "same")
        with (root / "hole").open("wb") as hole:
            hole.truncate(1 << 30)
        os.sync()  # blocks are given to files when they are written
    found = snapshots.usage("box")
    assert 1 << 20 <= found.size - empty.size < (1 << 20) + (1 << 16)
    assert found.inodes - empty.inodes == 2


def test_usage_of_committed_ones_is_without_their_parents(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", lambda root: (root / "large").write_bytes(os.urandom(1 << 20)))
    layer(snapshots, "next", lambda root: (root / "small").write_bytes(b"x" * 5000), "base")
    assert 1 << 20 <= snapshots.usage("base").size < (1 << 20) + (1 << 16)
    assert 5000 <= snapshots.usage("next").size < 1 << 16
    snapshots.view("view", "next")
    assert snapshots.usage("view").size < 1 << 16


def test_a_view_cannot_be_written(snapshots: Snapshotter) -> None:
    """ViewReadonly"""
    layer(snapshots, "base", put(d__foo="foo"))
    layer(snapshots, "next", put(d__bar="bar"), "base")
    for parent in ("", "base", "next"):
        with shown(snapshots.view("view", parent)) as root:
            with pytest.raises(OSError, match="Read-only"):
                (root / "new").write_text("x")
            if parent:
                with pytest.raises(OSError, match="Read-only"):
                    (root / "d" / "foo").unlink()
        snapshots.remove("view")


def test_children_do_not_change_their_parents(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", put(d__foo="foo", bar="bar"))

    def spoil(root: Path) -> None:
        (root / "d" / "foo").write_text("spoilt")
        (root / "d" / "foo").chmod(0o7777)
        (root / "bar").unlink()
        os.chown(root / "d", 5, 6)

    write(snapshots, "one", spoil, "base")
    write(snapshots, "two", nothing, "base")
    with shown(snapshots.mounts("two")) as root:
        assert tree(root) == {"d": None, "d/foo": "foo", "bar": "bar"}
        assert (root / "d").stat().st_uid == 0
        assert (root / "d" / "foo").stat().st_mode & 0o7777 != 0o7777


def test_root_permission(snapshots: Snapshotter) -> None:
    """RootPermission"""
    before = os.umask(0o077)
    try:
        layer(snapshots, "base", nothing)
    finally:
        os.umask(before)
    with shown(snapshots.view("v", "base")) as root:
        assert root.stat().st_mode & 0o7777 == 0o755


def test_the_root_is_like_the_parents(snapshots: Snapshotter) -> None:
    """DirectoryPermissionOnCommit"""

    def change(root: Path) -> None:
        os.chown(root, 7, 8)
        root.chmod(0o2711)
        os.setxattr(root, "user.x", b"y")
        os.utime(root, (1, 2))

    layer(snapshots, "base", change)
    for mounts in (snapshots.prepare("box", "base"), snapshots.view("view", "base")):
        with shown(mounts) as root:
            found = root.stat()
            assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (7, 8, 0o2711)
            assert os.getxattr(root, "user.x") == b"y"
            assert found.st_mtime == 2


def test_deleted_in_a_child(snapshots: Snapshotter) -> None:
    """DeletedFilesInChildSnapshot, RemoveDirectoryInLowerLayer"""
    layer(snapshots, "a", put(foo="1", d__x="x", d__y="y", e__z="z"))

    def delete(root: Path) -> None:
        (root / "foo").unlink()
        (root / "d" / "x").unlink()
        (root / "e" / "z").unlink()
        (root / "e").rmdir()

    layer(snapshots, "b", delete, "a")
    assert seen(snapshots, "b") == {"d": None, "d/y": "y"}
    layer(snapshots, "c", put(e__new="new", foo="again"), "b")
    assert seen(snapshots, "c") == {
        "d": None, "d/y": "y", "e": None, "e/new": "new", "foo": "again",
    }  # fmt: skip


def test_layer_file_update(snapshots: Snapshotter) -> None:
    """LayerFileUpdate"""
    layer(snapshots, "a", put(foo="1", bar="1"))
    layer(snapshots, "b", put(foo="2"), "a")

    def append(root: Path) -> None:
        with (root / "foo").open("a") as file:
            file.write("3")

    layer(snapshots, "c", append, "b")
    assert seen(snapshots, "c") == {"foo": "23", "bar": "1"}
    assert seen(snapshots, "b") == {"foo": "2", "bar": "1"}


def test_rename(snapshots: Snapshotter) -> None:
    """Rename, MoveFileFromLowerLayer"""
    layer(snapshots, "a", put(d__one="1", d__e__two="2", foo="f"))

    def move(root: Path) -> None:
        (root / "foo").rename(root / "d" / "bar")
        # overlayfs refuses directories of lower layers (EXDEV), and mv(1) copies then
        (root / "new").mkdir()
        (root / "d" / "e" / "two").rename(root / "new" / "two")
        (root / "new").rename(root / "newer")

    layer(snapshots, "b", move, "a")
    assert seen(snapshots, "b") == {
        "d": None, "d/one": "1", "d/bar": "f", "d/e": None, "newer": None, "newer/two": "2",
    }  # fmt: skip


def test_a_directory_replaced_hides_what_was_in_it(snapshots: Snapshotter) -> None:
    layer(snapshots, "a", put(d__one="1", d__two="2"))

    def substitute(root: Path) -> None:
        for name in ("one", "two"):
            (root / "d" / name).unlink()
        (root / "d").rmdir()
        (root / "d").mkdir()
        (root / "d" / "three").write_text("3")

    layer(snapshots, "b", substitute, "a")
    layer(snapshots, "c", put(d__four="4"), "b")
    assert seen(snapshots, "c") == {"d": None, "d/three": "3", "d/four": "4"}


def test_chown(snapshots: Snapshotter) -> None:
    """Chown"""

    def change(root: Path) -> None:
        os.chown(root / "foo", 1, 2)
        os.chown(root / "d", 3, 4)

    layer(snapshots, "a", put(foo="foo", d__bar="bar"))
    layer(snapshots, "b", change, "a")
    with shown(snapshots.view("v", "b")) as root:
        assert ((root / "foo").stat().st_uid, (root / "foo").stat().st_gid) == (1, 2)
        assert ((root / "d").stat().st_uid, (root / "d").stat().st_gid) == (3, 4)
        assert (root / "d" / "bar").stat().st_uid == 0


CAPABILITY = bytes.fromhex("0100000200040000") + bytes(12)
"""cap_net_bind_service, as setcap(8) writes it."""


def make_everything(root: Path) -> None:
    """All kinds of files, each with something that is easily lost."""
    (root / "d").mkdir()
    (root / "d" / "file").write_text("file")
    os.link(root / "d" / "file", root / "link")
    os.symlink("d/file", root / "symlink")
    os.symlink("../../nowhere", root / "dangling")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(7, 9))
    with (root / "sparse").open("wb") as sparse:
        sparse.seek(1 << 26)
        sparse.write(b"end")
    (root / "setuid").write_text("s")
    os.chown(root / "setuid", 11, 12)
    (root / "setuid").chmod(0o6755)
    os.setxattr(root / "setuid", "user.note", b"hello\0world")
    os.setxattr(root / "setuid", "security.capability", CAPABILITY)
    (root / "closed").mkdir(mode=0)
    (root / os.fsdecode(b"a\nb\xff:,\\")).write_text("odd")
    os.lchown(root / "symlink", 21, 22)
    os.utime(root / "symlink", ns=(5, 1_000_000_007), follow_symlinks=False)
    os.utime(root / "d" / "file", ns=(5, 1_234_567_891_234))
    os.utime(root / "d", ns=(5, 9_000_000_001))


def test_all_that_a_file_can_be(snapshots: Snapshotter) -> None:
    """FileFromLowerLayer, HardlinkUnmodified: what is copied, or shows through, is the same."""
    layer(snapshots, "a", make_everything)
    layer(snapshots, "b", put(other="o"), "a")
    with shown(snapshots.prepare("box", "b")) as root:
        assert os.path.samestat((root / "link").stat(), (root / "d" / "file").stat())
        assert os.readlink(root / "dangling") == "../../nowhere"
        assert stat.S_ISFIFO((root / "fifo").stat().st_mode)
        assert (root / "null").stat().st_rdev == os.makedev(1, 3)
        assert (root / "disk").stat().st_rdev == os.makedev(7, 9)
        sparse = (root / "sparse").stat()
        assert (sparse.st_size, sparse.st_blocks < 1000) == ((1 << 26) + 3, True)
        setuid = (root / "setuid").stat()
        assert (setuid.st_uid, setuid.st_gid, setuid.st_mode & 0o7777) == (11, 12, 0o6755)
        assert os.getxattr(root / "setuid", "user.note") == b"hello\0world"
        assert os.getxattr(root / "setuid", "security.capability") == CAPABILITY
        assert (root / "closed").stat().st_mode & 0o7777 == 0
        assert (root / os.fsdecode(b"a\nb\xff:,\\")).read_text() == "odd"
        link = (root / "symlink").lstat()
        assert (link.st_uid, link.st_gid, link.st_mtime_ns) == (21, 22, 1_000_000_007)
        assert (root / "d" / "file").stat().st_mtime_ns == 1_234_567_891_234
        assert (root / "d").stat().st_mtime_ns == 9_000_000_001


def test_130_layers(snapshots: Snapshotter) -> None:
    """128LayersMount: more than fit into the options of mount(2)."""
    parent = ""
    for number in range(130):
        key, name = f"key-{number}", f"{number:064d}"
        snapshots.prepare(key, parent)
        target = snapshots.layer_target(key).directory
        (target / f"file-{number}").write_text(str(number))
        (target / "last").write_text(str(number))
        snapshots.commit(name, key)
        parent = name
    with shown(snapshots.prepare("box", parent)) as root:
        assert (root / "last").read_text() == "129"
        assert {one.name for one in root.iterdir()} == {
            "last", *(f"file-{number}" for number in range(130)),
        }  # fmt: skip
        (root / "file-0").write_text("changed")
        (root / "file-1").unlink()
    with shown(snapshots.mounts("box")) as root:
        assert (root / "file-0").read_text() == "changed"
        assert not (root / "file-1").exists()


def test_closed_and_opened_again(snapshots: Snapshotter, scope: Scope) -> None:
    """CloseTwice"""
    layer(snapshots, "base", put(f="x"))
    write(snapshots, "box", put(g="x"), "base")
    before = list(snapshots.walk()), snapshots.usage("base")
    snapshots.close()
    snapshots.close()
    again = TreeSnapshotter(scope, DRIVERS[snapshots.name]())
    assert (list(again.walk()), again.usage("base")) == before
    with shown(again.mounts("box")) as root:
        assert tree(root) == {"f": "x", "g": "x"}


def test_a_layer_is_applied_without_a_mount(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", put(foo="foo", d__bar="bar"))
    snapshots.prepare("key", "base")
    target = snapshots.layer_target("key")
    (target.directory / "new").write_text("new")
    snapshots.commit("next", "key")
    assert seen(snapshots, "next") == {"foo": "foo", "d": None, "d/bar": "bar", "new": "new"}
    with pytest.raises(WrongState):
        snapshots.layer_target("next")


def test_namespaces_see_nothing_of_each_other(snapshots: Snapshotter, scope: Scope) -> None:
    other = TreeSnapshotter(replace(scope, namespace="other"), DRIVERS[snapshots.name]())
    layer(snapshots, "base", put(f="ours"))
    with pytest.raises(NotFound, match="namespace other") as caught:
        other.stat("base")
    assert "test" in caught.value.hint
    with pytest.raises(NotFound):
        other.prepare("box", "base")
    layer(other, "base", put(f="theirs"))
    assert (seen(snapshots, "base"), seen(other, "base")) == ({"f": "ours"}, {"f": "theirs"})
    other.remove("base")
    assert seen(snapshots, "base") == {"f": "ours"}
    assert list(other.walk()) == []

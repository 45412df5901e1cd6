"""Diffs: what overlayfs collected, and what two trees differ in, as layers that give the same again."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.errors import InvalidLayer, Unsupported
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.layers import Compression, Form, LayerWorker, Region, Written, settle
from mobyshell.core.store.stack import Stack
from tests.core.store.layers.conftest import Opened
from tests.core.store.layers.trees import look

pytestmark = pytest.mark.root

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")


def furnish(root: Path) -> None:
    """A tree with one of everything."""
    (root / "etc/deep/er").mkdir(parents=True)
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    (root / "etc/deep/er/file").write_bytes(bytes(range(256)) * 1000)
    (root / "bin").mkdir()
    (root / "bin/su").write_text("#!/bin/sh\n")
    (root / "bin/su").chmod(0o4755)
    (root / "bin/ping").write_text("ping")
    os.setxattr(root / "bin/ping", "security.capability", CAPABILITY)
    os.setxattr(root / "bin/ping", "user.note", b"a=b\0c\n")
    (root / "a").write_text("one")
    os.link(root / "a", root / "z")
    os.link(root / "a", root / "etc/a")
    os.symlink("etc/hosts", root / "link")
    os.symlink("/nowhere" * 30, root / "long-link")
    os.mkfifo(root / "fifo", 0o620)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o660, os.makedev(259, 70_000))
    (root / ("n" * 200)).write_text("long")
    (root / ("d" * 120) / ("e" * 120)).mkdir(parents=True)
    (root / "ünï").write_text("utf-8")
    (root / os.fsdecode(b"not\xffutf8")).write_text("bytes")
    (root / "new\nline").write_text("")
    (root / "sticky").mkdir()
    (root / "sticky").chmod(0o3777)
    os.chown(root / "sticky", 1000, 4_000_000)
    os.chown(root / "etc/hosts", 65534, 5)
    with open(root / "holes", "wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
        file.truncate(6 << 20)
    os.utime(root / "etc/hosts", ns=(0, 1_234_567_890_123_456_789))
    os.utime(root / "a", ns=(0, -1_500_000_000))
    os.utime(root / "link", ns=(0, 7), follow_symlinks=False)


@contextmanager
def overlay(place: Path, lower: Path) -> Iterator[Path]:
    """An overlayfs upon `lower`, whose upper directory is `place`/upper."""
    for name in ("upper", "work", "merged"):
        (place / name).mkdir()
    options = f"lowerdir={lower},upperdir={place}/upper,workdir={place}/work,redirect_dir=off"
    command = ["mount", "-t", "overlay", "overlay", "-o", options, str(place / "merged")]
    subprocess.run(command, check=True)
    try:
        yield place / "merged"
    finally:
        subprocess.run(["umount", str(place / "merged")], check=True)


def change(root: Path) -> None:
    """What a container does to a tree of `furnish`."""
    (root / "etc/hosts").unlink()
    (root / "etc/new").mkdir()
    (root / "etc/new/file").write_text("new")
    subprocess.run(["rm", "-r", str(root / "etc/deep")], check=True)
    (root / "etc/deep").mkdir()
    (root / "etc/deep/other").write_text("after all")
    (root / "link").unlink()
    (root / "link").mkdir()
    subprocess.run(["rm", "-r", str(root / "sticky")], check=True)
    (root / "sticky").write_text("a file now")
    (root / "null").unlink()
    (root / "bin/su").chmod(0o755)
    os.mknod(root / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    os.link(root / "zero", root / "zero2")
    (root / "ünï").rename(root / "renamed")
    root.chmod(0o711)


def apply(worker: LayerWorker, blob: Path, tree: int, form: Form = Form.OVERLAY) -> None:
    with open(blob, "rb") as file:
        worker.apply(Region(file.fileno()), tree, form=form)


def upper_of(worker: LayerWorker, upper: int, blob: Path, **words: object) -> Written:
    with open(blob, "wb") as file:
        done = worker.diff_upper(upper, file.fileno(), **words)  # type: ignore[arg-type]
    assert done.digest == Digest.of(blob.read_bytes())
    return done


def trees_of(worker: LayerWorker, lower: int, upper: int, blob: Path) -> Written:
    with open(blob, "wb") as file:
        return worker.diff_trees(lower, upper, file.fileno())


@pytest.mark.parametrize("kind", Compression)
def test_a_tree_of_everything_is_the_same_again(
    worker: LayerWorker, tmp_path: Path, opened: Opened, kind: Compression
) -> None:
    (tmp_path / "tree").mkdir()
    furnish(tmp_path / "tree")
    done = upper_of(worker, opened(tmp_path / "tree"), tmp_path / "blob", compression=kind)
    assert done.left_out == ()
    for form in Form:
        apply(worker, tmp_path / "blob", opened(tmp_path / form), form)
        assert look(tmp_path / form) == look(tmp_path / "tree")
        assert (tmp_path / form / "holes").stat().st_blocks * 512 <= 256 << 10
    again = upper_of(worker, opened(tmp_path / "overlay"), tmp_path / "again", compression=kind)
    assert again == done
    assert (tmp_path / "again").read_bytes() == (tmp_path / "blob").read_bytes()


def test_what_overlayfs_collected_makes_the_same_of_the_layers_below(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "lower").mkdir()
    furnish(tmp_path / "lower")
    with overlay(tmp_path, tmp_path / "lower") as merged:
        change(merged)
        wanted = look(merged)
    upper_of(worker, opened(tmp_path / "upper"), tmp_path / "blob")
    # upon the layer below, again by overlayfs
    apply(worker, tmp_path / "blob", opened(tmp_path / "second"))
    (tmp_path / "2").mkdir()
    upper = tmp_path / "2/upper"
    with overlay(tmp_path / "2", tmp_path / "lower") as merged:
        pass
    upper.rmdir()
    (tmp_path / "second").rename(upper)
    for name in ("work", "merged"):
        subprocess.run(["rm", "-r", str(tmp_path / "2" / name)], check=True)
        (tmp_path / "2" / name).mkdir()
    options = f"lowerdir={upper}:{tmp_path}/lower"
    subprocess.run(["mount", "-t", "overlay", "o", "-o", options, str(merged)], check=True)
    try:
        assert look(merged) == wanted
    finally:
        subprocess.run(["umount", str(merged)], check=True)
    # and in a copy of it
    subprocess.run(["cp", "-a", str(tmp_path / "lower"), str(tmp_path / "copy")], check=True)
    apply(worker, tmp_path / "blob", opened(tmp_path / "copy"), Form.FLAT)
    assert look(tmp_path / "copy") == wanted


def test_two_trees_give_the_changes_between_them(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        furnish(tmp_path / name)
    subprocess.run(["cp", "-a", f"{tmp_path}/one/.", f"{tmp_path}/two"], check=True)
    lower, upper = opened(tmp_path / "one"), opened(tmp_path / "two")
    nothing = trees_of(worker, lower, upper, tmp_path / "nothing")
    assert (nothing.entries, nothing.size) == (0, 1024)
    change(tmp_path / "two")
    os.utime(tmp_path / "two/a", ns=(0, -1_500_000_000))
    (tmp_path / "two/z").unlink()
    (tmp_path / "two/z").write_text("one")  # no longer the same file as a
    os.utime(tmp_path / "two/z", ns=(0, -1_500_000_000))
    done = trees_of(worker, lower, upper, tmp_path / "blob")
    with tarfile.open(tmp_path / "blob") as tar:
        names = tar.getnames()
    hidden = [os.fsencode(name.replace(".wh.", "")).split(b"/") for name in names[1:]]
    assert hidden == sorted(hidden)
    assert "etc/.wh.hosts" in names
    assert "bin/ping" not in names
    assert done.entries == len(names)
    wanted = look(tmp_path / "two")
    apply(worker, tmp_path / "blob", lower, Form.FLAT)
    assert look(tmp_path / "one") == wanted


def test_content_is_compared_where_times_do_not_tell(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        for file in ("same", "other"):
            (tmp_path / name / file).write_text(file if name == "one" else file.replace("t", "T"))
            os.utime(tmp_path / name / file, (1, 1))
        os.utime(tmp_path / name, (1, 1))
    trees_of(worker, opened(tmp_path / "one"), opened(tmp_path / "two"), tmp_path / "blob")
    with tarfile.open(tmp_path / "blob") as tar:
        assert tar.getnames() == [".", "other"]


def test_the_same_files_give_the_same_bytes_at_another_time(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    blobs = []
    for name in ("b", "a"):
        root = tmp_path / name
        root.mkdir()
        for file in ("2", "1", "3") if name == "a" else ("1", "3", "2"):
            (root / file).write_text(file * 100_000)
        upper_of(worker, opened(root), tmp_path / "blob", newest=1000.0,
                 compression=Compression.ZSTD)  # fmt: skip
        blobs.append((tmp_path / "blob").read_bytes())
    assert blobs[0] == blobs[1]
    apply(worker, tmp_path / "blob", opened(tmp_path / "tree"))
    assert (tmp_path / "tree/1").stat().st_mtime == 1000


def test_what_a_layer_cannot_hold_is_told(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    root = tmp_path / "tree"
    (root / ".wh.dir").mkdir(parents=True)
    (root / ".wh.dir/file").write_text("")
    (root / ".wh.file").write_text("")
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    os.chdir("/")
    os.setxattr(root, "user.a=b", b"1")
    done = upper_of(worker, opened(root), tmp_path / "blob")
    assert [line.partition(":")[0] for line in done.left_out] == [
        "''", "'.wh.dir'", "'.wh.dir/file'", "'.wh.file'", "'socket'",
    ]  # fmt: skip
    with tarfile.open(tmp_path / "blob") as tar:
        assert tar.getnames() == ["."]


def test_an_upper_directory_that_is_not_complete_is_refused(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    (tmp_path / "upper/d").mkdir(parents=True)
    os.setxattr(tmp_path / "upper/d", "trusted.overlay.redirect", b"/old")
    with pytest.raises(Unsupported, match="redirect"):
        upper_of(worker, opened(tmp_path / "upper"), tmp_path / "blob")
    os.removexattr(tmp_path / "upper/d", "trusted.overlay.redirect")
    (tmp_path / "upper/f").write_text("")
    os.setxattr(tmp_path / "upper/f", "trusted.overlay.metacopy", b"")
    with pytest.raises(Unsupported, match="metacopy"):
        upper_of(worker, opened(tmp_path / "upper"), tmp_path / "blob")


def test_a_tree_too_deep_for_us_is_refused(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    fd = opened(tmp_path / "upper")
    (tmp_path / "upper" / "/".join("d" * 300)).mkdir(parents=True)
    with pytest.raises(InvalidLayer, match="too deep"):
        upper_of(worker, fd, tmp_path / "blob")


def test_layers_below_lend_attributes_to_what_is_implied(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    below = tmp_path / "below"
    (below / "tmp/in").mkdir(parents=True)
    (below / "tmp").chmod(0o1777)
    os.chown(below / "tmp/in", 5, 6)
    os.setxattr(below / "tmp/in", "user.x", b"y")
    os.utime(below / "tmp/in", (77, 77))
    (below / "tmp2").write_text("")
    os.utime(below, (99, 99))
    below.chmod(0o750)
    with tarfile.open(tmp_path / "blob", "w") as tar:
        for name in ("tmp/in/file", "new/file", "new/.wh.nothing", "tmp/.wh.nothing", ".wh.tmp2"):
            tar.addfile(tarfile.TarInfo(name))
    fd = opened(tmp_path / "tree")
    with open(tmp_path / "blob", "rb") as file:
        done = worker.apply(Region(file.fileno()), fd)
    assert done.implied == ("", "new", "tmp", "tmp/in")
    assert done.whiteouts == ("new/nothing", "tmp/nothing", "tmp2")
    for _ in range(2):
        with Stack([below]) as stack:
            settle(fd, stack, done)
        root = tmp_path / "tree"
        assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
        inside = (root / "tmp/in").stat()
        assert (inside.st_uid, inside.st_gid, inside.st_mtime) == (5, 6, 77)
        assert os.getxattr(root / "tmp/in", "user.x") == b"y"
        assert (root.stat().st_mode & 0o777, root.stat().st_mtime) == (0o750, 99)
        assert sorted(os.listdir(root / "new")) == ["file"]
        assert (root / "new").stat().st_mtime == 0
        assert sorted(os.listdir(root)) == ["new", "tmp", "tmp2"]

"""Trees that strangers made: deep, closed, linked, mounted over; measured, copied, removed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.store.snapshots import mounting, trees
from mobyshell.core.store.snapshots.copying import copy_tree
from mobyshell.core.store.snapshots.idmaps import IdMap, IdMaps
from mobyshell.core.store.snapshots.protocol import Mount

pytestmark = pytest.mark.root

DEPTH = 1500


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, trees.DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A tree whose paths are longer than any that the kernel takes."""
    root = tmp_path / "deep"
    root.mkdir()
    here = os.open(root, trees.DIRECTORY)
    for number in range(DEPTH):
        os.mkdir("abcdef", dir_fd=here)
        below = os.open("abcdef", trees.DIRECTORY, dir_fd=here)
        os.close(here)
        here = below
        if number % 500 == 0:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    yield root
    with opened(tmp_path) as parent:
        trees.remove(parent, "deep")


def test_depth_costs_neither_stack_nor_descriptors(deep: Path, tmp_path: Path) -> None:
    expected = 1 + DEPTH + 3
    assert "abcdef/" * DEPTH > "a" * 4096  # longer than a path may be
    with opened(deep) as fd:
        assert trees.measure(fd).inodes == expected
        (tmp_path / "copy").mkdir()
        with opened(tmp_path / "copy") as copy:
            copy_tree(fd, copy, IdMaps())
            assert trees.measure(copy).inodes == expected
    with opened(tmp_path) as parent:
        assert trees.remove(parent, "copy").inodes == expected
    assert not (tmp_path / "copy").exists()


def test_it_is_as_du_says(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for number in range(30):
        (root / f"d{number % 7}").mkdir(parents=True, exist_ok=True)
        (root / f"d{number % 7}" / f"file{number}").write_bytes(b"x" * number * 1000)
    os.link(root / "d1" / "file1", root / "link")
    os.symlink("nowhere", root / "symlink")
    os.sync()
    du = subprocess.run(["du", "-s", "--block-size=1", root], capture_output=True, text=True,
                        check=True).stdout  # fmt: skip
    with opened(root) as fd:
        found = trees.measure(fd)
        assert found == trees.count(iter([os.fstat(fd)]), (one.info for one in trees.walk(fd)))
    assert found.size == int(du.split()[0])
    with opened(tmp_path) as parent:
        assert trees.remove(parent, "tree") == found


def test_links_lead_nowhere(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    root = tmp_path / "tree"
    root.mkdir()
    os.symlink(outside, root / "out")
    os.symlink("/", root / "top")
    with opened(root) as fd:
        assert trees.measure(fd).inodes == 3
    with opened(tmp_path) as parent:
        trees.remove(parent, "tree")
        assert (outside / "precious").read_text() == "precious"
        os.symlink(outside, tmp_path / "tree")
        with pytest.raises(NotADirectoryError):
            trees.remove(parent, "tree")
    assert (outside / "precious").read_text() == "precious"


def test_what_is_mounted_in_it_is_not_a_part_of_it(tmp_path: Path) -> None:
    volume, root = tmp_path / "volume", tmp_path / "tree"
    volume.mkdir()
    (volume / "precious").write_text("precious")
    (root / "data").mkdir(parents=True)
    bound = Mount("bind", str(volume), ("rw", "rbind"))
    with mounting.mounted([bound], root / "data"), opened(tmp_path) as parent:
        with pytest.raises(OSError, match="busy"):
            trees.remove(parent, "tree")
        assert (volume / "precious").exists()
    with opened(tmp_path) as parent:
        trees.remove(parent, "tree")
    assert not root.exists()
    assert (volume / "precious").read_text() == "precious"


def test_what_others_remove_meanwhile_is_as_good(tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for number in range(20):
        (root / f"d{number}").mkdir(parents=True)
        (root / f"d{number}" / "file").touch()
    with opened(root) as fd:
        walking = trees.walk(fd)
        next(walking)
        with opened(tmp_path) as parent:
            trees.remove(parent, "tree")
            assert list(walking) == []
            assert trees.remove(parent, "tree").inodes == 0


def test_owners_are_translated(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for path in (source, target):
        path.mkdir()
    (source / "file").touch()
    os.symlink("file", source / "link")
    os.chown(source / "file", 5, 6)
    maps = IdMaps(IdMap.parse("0:1000:5,5:70000:1"), IdMap.parse("0:2000:10"))
    with opened(source) as one, opened(target) as other:
        copy_tree(one, other, maps)
    assert [((target / name).lstat().st_uid, (target / name).lstat().st_gid)
            for name in ("file", "link", ".")] == [(70000, 2006), (1000, 2000), (1000, 2000)]  # fmt: skip

"""What layers take away: the kernel's overlayfs, and a copy, show what image-spec demands."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path

import pytest

from mobyshell.core.store.layers import Applied, Form, LayerWorker, settle
from mobyshell.core.store.stack import Stack
from tests.core.store.layers.archives import DIRECTORY, SYMLINK, apply, member, names
from tests.core.store.layers.conftest import Opened
from tests.core.store.layers.trees import look

pytestmark = pytest.mark.root

LOWER = ("d/", "d/a", "d/b", "d/sub/", "d/sub/c", "d/sub/deep/", "d/sub/deep/e", "f", "o/", "o/x")

# what a layer has, in any order, and what is there afterwards
CASES = {
    "file": ([".wh.f"], set(LOWER) - {"f"}),
    "directory": ([".wh.d"], {"f", "o/", "o/x"}),
    "missing": ([".wh.none", "d/.wh.none", "new/.wh.none", "new/x"], {*LOWER, "new/", "new/x"}),
    "replaced-by-file": ([".wh.d", "d"], {"d", "f", "o/", "o/x"}),
    "re-added-directory": ([".wh.d", "d/", "d/n"], {"d/", "d/n", "f", "o/", "o/x"}),
    "re-added-implied": ([".wh.d", "d/n"], {"d/", "d/n", "f", "o/", "o/x"}),
    "re-added-file": ([".wh.f", "f"], set(LOWER)),
    "opaque": (["d/", "d/.wh..wh..opq", "d/n"], {"d/", "d/n", "f", "o/", "o/x"}),
    "opaque-implied": (["d/.wh..wh..opq", "d/n"], {"d/", "d/n", "f", "o/", "o/x"}),
    "opaque-and-whiteouts": (
        ["d/.wh..wh..opq", "d/.wh.a", "d/sub/.wh.c", "d/sub/n"],
        {"d/", "d/sub/", "d/sub/n", "f", "o/", "o/x"},
    ),
    "opaque-below": (
        ["d/sub/.wh..wh..opq", "d/.wh.a"], (set(LOWER) - {"d/a", "d/sub/c", "d/sub/deep/",
                                                          "d/sub/deep/e"}),
    ),
    "opaque-file-below": (["f/", "f/.wh..wh..opq", "f/x"], {*LOWER, "f/", "f/x"} - {"f"}),
    "root": ([".wh..wh..opq", "n/x", ".wh.f"], {"n/", "n/x"}),
    "aufs": ([".wh..wh.plnk/", ".wh..wh.plnk/1.2", ".wh..wh.aufs", "d/.wh..wh.orph"], set(LOWER)),
}  # fmt: skip


def parts(entries: list[str]) -> list[bytes]:
    return [member(one, DIRECTORY if one.endswith("/") else "0") for one in entries]


def seen(root: Path) -> set[str]:
    """Names as readdir(3) gives them; each must be there for stat(2) as well."""
    return {f"{name}/" if (root / name).is_dir() else name for name in names(root)
            if (root / name).lstat()}  # fmt: skip


@contextmanager
def over(place: Path, done: Applied, *lowers: Path) -> Iterator[Path]:
    """The unpacked layer upon others, read only."""
    merged = place / "merged"
    merged.mkdir()
    if done.opaque_root:
        lowers = ()
    below = ":".join(map(str, (place / "tree", *lowers, place / "nothing")))
    (place / "nothing").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "overlay", "o", "-o", f"lowerdir={below}", merged], check=True)
    try:
        yield merged
    finally:
        subprocess.run(["umount", merged], check=True)
        merged.rmdir()


@pytest.fixture
def lower(worker: LayerWorker, tmp_path: Path, opened: Opened) -> Path:
    apply(worker, opened(tmp_path / "lower"), *parts(list(LOWER)), form=Form.FLAT)
    return tmp_path / "lower"


@pytest.mark.parametrize("case", CASES)
def test_layers_take_away_what_is_below_and_only_that(
    worker: LayerWorker, tmp_path: Path, opened: Opened, lower: Path, case: str
) -> None:
    entries, wanted = CASES[case]
    for order in sorted(set(permutations(entries)))[:24]:
        tree = opened(tmp_path / "tree")
        done = apply(worker, tree, *parts(list(order)))
        assert done.opaque_root == (case == "root")
        with Stack([] if done.opaque_root else [lower]) as stack:
            settle(tree, stack, done)
        with over(tmp_path, done, lower) as merged:
            assert seen(merged) == wanted, order
        shutil.rmtree(tmp_path / "tree")

        shutil.copytree(lower, tmp_path / "copy")
        apply(worker, opened(tmp_path / "copy"), *parts(list(order)), form=Form.FLAT)
        assert seen(tmp_path / "copy") == wanted, order
        shutil.rmtree(tmp_path / "copy")


def test_a_link_of_the_layer_itself_leads_to_what_it_takes_away(
    worker: LayerWorker, tmp_path: Path, opened: Opened, lower: Path
) -> None:
    tree = opened(tmp_path / "tree")
    done = apply(worker, tree, member("l", SYMLINK, link="d/sub"), member("d/sub/", DIRECTORY),
                 member("l/.wh..wh..opq"), member("l/new"), member("l/.wh.c"))  # fmt: skip
    with over(tmp_path, done, lower) as merged:
        assert seen(merged / "d/sub") == {"new"}
    apply(worker, opened(lower), member("l", SYMLINK, link="d/sub"), member("l/new"),
          member("l/.wh..wh..opq"), form=Form.FLAT)  # fmt: skip
    assert seen(lower / "d/sub") == {"new"}


def test_opaque_directories_are_marked_as_overlayfs_is_mounted(
    worker: LayerWorker, tmp_path: Path, opened: Opened
) -> None:
    for form, key in ((Form.OVERLAY, "trusted.overlay.opaque"),
                      (Form.OVERLAY_USER, "user.overlay.opaque")):  # fmt: skip
        apply(worker, opened(tmp_path / form), member("d/.wh..wh..opq"), form=form)
        assert os.listxattr(tmp_path / form / "d") == [key]
        assert os.getxattr(tmp_path / form / "d", key) == b"y"
        assert (tmp_path / form / "d").stat().st_mtime == 0


def test_a_copy_keeps_times_of_directories_that_the_layer_does_not_list(
    worker: LayerWorker, opened: Opened, lower: Path
) -> None:
    for name in ("", "d", "d/sub", "o"):
        os.utime(lower / name, (55, 55))
    apply(worker, opened(lower), member("d/new"), member("d/sub/.wh.c"), member("o/", DIRECTORY),
          member("o/y"), form=Form.FLAT)  # fmt: skip
    assert [(lower / name).stat().st_mtime for name in ("", "d", "d/sub", "o")] == [55, 55, 55, 10]


@pytest.mark.parametrize("form", Form)
def test_a_layer_gives_the_same_tree_at_any_time(
    worker: LayerWorker, tmp_path: Path, opened: Opened, form: Form
) -> None:
    """Also where it does not list what it has its files in."""
    for name in ("one", "two"):
        apply(worker, opened(tmp_path / name), member("a/b/c"), member("d/", DIRECTORY), form=form)
        os.utime(tmp_path, (1, 1))
    assert look(tmp_path / "one") == look(tmp_path / "two")
    assert (tmp_path / "one").stat().st_mtime == (tmp_path / "one/a").stat().st_mtime == 0


def test_a_copy_has_only_attributes_that_the_last_layer_lists(
    worker: LayerWorker, opened: Opened, lower: Path
) -> None:
    os.setxattr(lower / "d", "user.old", b"1")
    (lower / "o").chmod(0o2777)
    os.chown(lower / "o", 5, 6)
    apply(worker, opened(lower), member("d/", DIRECTORY), member("o/f", mode=0o600),
          member("o/d/", DIRECTORY), form=Form.FLAT)  # fmt: skip
    assert os.listxattr(lower / "d") == []
    assert ((lower / "o/f").stat().st_gid, (lower / "o/f").stat().st_mode & 0o7777) == (0, 0o600)
    assert ((lower / "o/d").stat().st_gid, (lower / "o/d").stat().st_mode & 0o7777) == (0, 0o755)


def test_saying_it_again_and_again_costs_no_more(
    worker: LayerWorker, opened: Opened, lower: Path
) -> None:
    """With 5000 files and as many markers, looking at all each time would take a minute."""
    files = [member(f"d/{number}") for number in range(5000)]
    again = [member("d/.wh..wh..opq"), member(".wh.d"), member("d/new/.wh..wh..opq")] * 5000
    apply(worker, opened(lower), *files, *again, form=Form.FLAT)
    assert len(os.listdir(lower / "d")) == 5000

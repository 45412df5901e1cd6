"""Removing bundles: all of one, nothing of anything else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound, Refused
from mobyshell.core.runtime.bundle import remove_bundle, remove_tree


def bundle(path: Path) -> Path:
    (path / "rootfs" / "bin").mkdir(parents=True)
    (path / "config.json").write_text("{}")
    return path


def dig(path: Path, depth: int) -> None:
    """Directories in directories, deeper than any path can say."""
    here = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)


def test_a_bundle_deeper_than_recursion_and_paths_go(tmp_path: Path) -> None:
    dig(bundle(tmp_path / "b") / "rootfs", 5000)
    remove_bundle(tmp_path / "b")
    assert os.listdir(tmp_path) == []


def test_a_name_of_the_greatest_length(tmp_path: Path) -> None:
    remove_bundle(bundle(tmp_path / ("b" * 255)))
    assert os.listdir(tmp_path) == []


def test_what_is_no_bundle_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dir" / "kept").mkdir(parents=True)
    for name in ("dir", "nothing", "", "a\0b"):
        with pytest.raises(NotFound):
            remove_bundle(f"{tmp_path}/{name}")
    bundle(tmp_path / "real")
    (tmp_path / "link").symlink_to("real")
    for name in ("link", "link/"):
        with pytest.raises(Refused, match="is a link to"):
            remove_bundle(f"{tmp_path}/{name}")
    home = bundle(tmp_path / "above") / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(Refused, match="more than a bundle"):
        remove_bundle(tmp_path / "above")
    assert sorted(os.listdir(tmp_path)) == ["above", "dir", "link", "real"]


_MOUNTED = """
import ctypes, os, sys
from mobyshell.core.errors import Refused
from mobyshell.core.runtime.bundle import remove_bundle, remove_tree
libc = ctypes.CDLL(None, use_errno=True)
place, kept = sys.argv[1:]
assert libc.unshare(0x20000) == 0
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
assert libc.mount(kept.encode(), f"{place}/rootfs".encode(), None, 0x1000, None) == 0
try:
    remove_bundle(place)
except Refused as error:
    print(error)
try:
    remove_tree(place)
except OSError as error:
    print(error.strerror)
"""


@pytest.mark.root
def test_what_is_mounted_inside_is_not_emptied(tmp_path: Path) -> None:
    place = bundle(tmp_path / "b")
    kept = tmp_path / "kept"
    (kept / "treasure").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", _MOUNTED, str(place), str(kept)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [
        f"something is mounted at {place}/rootfs", "Invalid cross-device link",
    ], done.stderr  # fmt: skip
    assert os.listdir(kept) == ["treasure"]
    remove_tree(place)

"""An image in one plain directory: all of it, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    InvalidImage,
    InvalidLayer,
    SyscallFailed,
    UsageError,
)
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.flatten import flatten
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.walk import resolve
from tests.core.store.snapshots.conftest import tree
from tests.core.store.test_unpack import BASE, LAST, NEXT, image, tar

pytestmark = pytest.mark.root


def test_layers_lie_upon_each_other(demo: Namespace, tmp_path: Path) -> None:
    found = resolve(demo.content, image(demo, BASE, NEXT, LAST))
    for name in ("new", "empty"):
        target = tmp_path / name
        if name == "empty":
            target.mkdir()
        flatten(demo, found, target)
        assert tree(target) == {
            "d": None, "d/two": "2", "d/three": "changed", "new": None, "new/deep": None,
            "new/deep/x": "x",
        }  # fmt: skip
        root, below = target.stat(), (target / "d").stat()
        assert (root.st_mode & 0o7777, root.st_uid) == (0o711, 3)
        assert (below.st_mode & 0o7777, below.st_uid, below.st_gid) == (0o1770, 7, 8)
    assert sorted(os.listdir(tmp_path)) == ["empty", "new", "store"]
    assert demo.leases.list() == []


def test_an_opaque_root(demo: Namespace, tmp_path: Path) -> None:
    layers = (BASE, tar((".wh..wh..opq", b"", {}), ("only", b"o", {})))
    flatten(demo, resolve(demo.content, image(demo, *layers)), tmp_path / "x")
    assert tree(tmp_path / "x") == {"only": "o"}


def test_what_is_in_the_way_is_left_alone(demo: Namespace, tmp_path: Path) -> None:
    found = resolve(demo.content, image(demo, BASE))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(AlreadyExists):
        flatten(demo, found, tmp_path / "full")
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "nowhere" / "x"):
        with pytest.raises(SyscallFailed):
            flatten(demo, found, place)
    assert sorted(os.listdir(tmp_path)) == ["file", "full", "store"]


def test_nothing_is_left_of_what_failed(demo: Namespace, tmp_path: Path) -> None:
    wrong = [Digest.of(BASE), Digest.of(b"another")]
    with pytest.raises(InvalidImage):
        flatten(
            demo, resolve(demo.content, image(demo, BASE, NEXT, diff_ids=wrong)), tmp_path / "x"
        )
    with pytest.raises(InvalidLayer):
        flatten(demo, resolve(demo.content, image(demo, BASE, b"x" * 2000)), tmp_path / "x")

    def enough(*_: object) -> None:
        raise UsageError("enough")

    with pytest.raises(UsageError):
        flatten(demo, resolve(demo.content, image(demo, BASE)), tmp_path / "x", report=enough)
    assert os.listdir(tmp_path) == ["store"]

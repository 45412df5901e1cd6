"""What a snapshot has changed, told and written."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound, WrongState
from mobyshell.core.store.differences import Difference, Way, differences, write_layer
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.protocol import GID_MAPPING, UID_MAPPING, Snapshotter
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter
from mobyshell.core.store.store import Namespace
from tests.core.store.snapshots.conftest import layer, put, write

pytestmark = pytest.mark.root


@pytest.fixture(params=sorted(DRIVERS))
def snapshots(request: pytest.FixtureRequest, demo: Namespace) -> Snapshotter:
    return TreeSnapshotter(demo.scope, DRIVERS[request.param]())


def change(root: Path) -> None:
    (root / "new").write_text("new")
    (root / "foo").write_text("changed")
    (root / "bar").unlink()
    (root / "d" / "x").unlink()
    (root / "d").rmdir()
    (root / "d").mkdir()
    (root / "d" / "y").write_text("y")


def told(snapshots: Snapshotter, key: str) -> dict[str, Way]:
    return {one.path: one.way for one in differences(snapshots, key)}


def test_what_has_changed_is_told(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", put(foo="foo", bar="bar", d__x="x", same="same"))
    write(snapshots, "box", change, "base")
    found = told(snapshots, "box")
    expected = {
        "/new": Way.ADDED, "/foo": Way.CHANGED, "/bar": Way.DELETED, "/d/y": Way.ADDED,
        "/d": Way.REPLACED,
    }  # fmt: skip
    if snapshots.name == "native":  # two trees tell what is gone, not how
        expected |= {"/d": Way.CHANGED, "/d/x": Way.DELETED}
        found.setdefault("/d", Way.CHANGED)
    assert found == expected
    assert Difference(Way.ADDED, "/new", 3, 0o100644) in [
        Difference(one.way, one.path, one.size, one.mode & ~0o22)
        for one in differences(snapshots, "box")
    ]


def test_all_of_a_first_layer_is_new(snapshots: Snapshotter) -> None:
    layer(snapshots, "base", put(foo="foo", d__x="x"))
    assert told(snapshots, "base") == {"/foo": Way.ADDED, "/d": Way.ADDED, "/d/x": Way.ADDED}


def test_a_view_has_changed_nothing(snapshots: Snapshotter, tmp_path: Path) -> None:
    layer(snapshots, "base", put(foo="foo"))
    snapshots.view("view", "base")
    assert told(snapshots, "view") == {}
    assert members(snapshots, "view", tmp_path) == set()
    with pytest.raises(NotFound):
        told(snapshots, "nowhere")


def members(snapshots: Snapshotter, key: str, place: Path) -> set[str]:
    path = place / "layer.tar"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        write_layer(snapshots, key, fd)
    finally:
        os.close(fd)
    with tarfile.open(path) as archive:
        return {name for name in archive.getnames() if name not in ("", ".")}


def test_the_layer_of_it(snapshots: Snapshotter, tmp_path: Path) -> None:
    layer(snapshots, "base", put(foo="foo", bar="bar", d__x="x", same="same"))
    assert members(snapshots, "base", tmp_path) == {"foo", "bar", "d", "d/x", "same"}
    write(snapshots, "box", change, "base")
    found = members(snapshots, "box", tmp_path)
    assert {"new", "foo", ".wh.bar", "d/y"} <= found
    assert {"d/.wh..wh..opq", "d/.wh.x"} & found
    assert "same" not in found


def test_a_layer_is_of_no_user_namespace(snapshots: Snapshotter, tmp_path: Path) -> None:
    mapped = {UID_MAPPING: "0:100000:65536", GID_MAPPING: "0:200000:65536"}
    layer(snapshots, "base", put(foo="foo", same="same"))
    snapshots.prepare("box", "base", mapped)
    own = snapshots.layer_target("box").directory
    for name, uid in (("new", 0), ("foo", 7)):
        (own / name).write_text("new")
        os.chown(own / name, 100_000 + uid, 200_000 + uid)
    assert told(snapshots, "box") == {"/new": Way.ADDED, "/foo": Way.CHANGED}
    assert {"new", "foo"} == members(snapshots, "box", tmp_path)
    with tarfile.open(tmp_path / "layer.tar") as archive:
        owners = {one.name: (one.uid, one.gid) for one in archive}
    assert (owners["new"], owners["foo"]) == ((0, 0), (7, 7))
    with pytest.raises(WrongState, match="mapped ids"):
        snapshots.commit("next", "box")

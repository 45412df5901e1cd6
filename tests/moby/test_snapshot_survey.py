"""Snapshots as a person surveys them, of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.store.containers import Container
from mobyshell.core.store.differences import Way
from mobyshell.core.store.labels import GC_ROOT
from mobyshell.core.store.leases import Resource
from mobyshell.moby.client import Moby
from mobyshell.moby.snapshot_survey import Holder, SnapshotInfo, SnapshotSurvey

pytestmark = pytest.mark.root


def write(place: Path, **files: str) -> None:
    for name, text in files.items():
        (place / name).write_text(text)


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    """`base`, upon it `top`, a container's `box`, a leased `work`, a view, and something left over."""
    with Moby(tmp_path / "root", tmp_path / "state", "demo") as moby:
        furnish(moby)
        yield moby


def furnish(moby: Moby) -> None:
    store, snapshots = moby.tenant.store, moby.tenant.snapshotter()
    snapshots.prepare("one")
    write(snapshots.directories("one").directory, kept="k", changed="before", gone="g")
    snapshots.commit("base", "one")
    snapshots.prepare("two", "base")
    write(snapshots.directories("two").directory, changed="after", new="n")
    snapshots.commit("top", "two", {"team": "blue"})
    snapshots.prepare("box", "top")
    snapshots.prepare("work", "top")
    snapshots.view("look", "base", {GC_ROOT: "now"})
    snapshots.prepare("left")
    store.containers.create(
        Container("web", snapshotter=snapshots.name, snapshot_key="box"), {"ociVersion": "1.2.0"}
    )
    store.leases.create("mine")
    store.leases.add("mine", Resource(f"snapshots/{snapshots.name}", "work"))


def named(survey: SnapshotSurvey, key: str) -> SnapshotInfo:
    return next(one for one in survey.ls() if one.key == key)


def test_each_is_listed_with_who_keeps_it(moby: Moby) -> None:
    found = {one.key: one for one in SnapshotSurvey(lambda: moby.tenant).ls()}
    web, mine = Holder("container", "web"), Holder("lease", "mine")
    assert {key: set(one.holders) for key, one in found.items()} == {
        "base": {web, mine, Holder("snapshot", "look")}, "top": {web, mine}, "box": {web},
        "work": {mine}, "look": {Holder("snapshot", "look")}, "left": set(),
    }  # fmt: skip
    assert [found[key].kind for key in ("base", "box", "look")] == ["committed", "active", "view"]
    assert found["top"].parent == "base"
    assert found["top"].labels == {"team": "blue"}
    assert found["base"].inodes == 4
    assert all(found[key].size for key in ("base", "top"))  # on tmpfs directories take nothing


def test_why_says_each_way(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    assert len(survey.why(named(survey, "base"))) == 3
    assert survey.why(named(survey, "left")) == []
    assert survey.why(named(survey, "box")) == [
        "container web (containers are kept) → this (snapshot)"
    ]
    with pytest.raises(NotFound):
        survey.why(replace(named(survey, "left"), key="nobody"))


def test_the_tree_is_told_with_what_changed(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    assert {(one.file.path, one.way) for one in survey.tree(named(survey, "top"), "/")} == {
        ("/kept", None), ("/gone", None), ("/changed", Way.CHANGED), ("/new", Way.ADDED),
    }  # fmt: skip
    assert survey.content(named(survey, "top"), "/changed") == b"after"
    assert survey.content(named(survey, "look"), "/changed") == b"before"
    assert {one.way for one in survey.tree(named(survey, "look"), "/")} == {None}
    # what is active may be another tree the next time
    own = moby.tenant.snapshotter().directories("box").directory
    assert len(survey.tree(named(survey, "box"), "/")) == 4
    write(own, later="l")
    assert len(survey.tree(named(survey, "box"), "/")) == 5


def test_the_layers_are_whose_they_are(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    box, top, look = (
        survey.makeup(named(survey, "box")),
        survey.makeup(named(survey, "top")),
        survey.makeup(named(survey, "look")),
    )
    assert [one.key for one in box.layers] == ["box", "top", "base"]
    assert [one.key for one in top.layers] == ["top", "base"]
    assert [one.key for one in look.layers] == ["base"]
    assert [box.through, top.through, look.through] == ["", "view", ""]
    assert top.mounts[0].options[-1].startswith("lowerdir=")
    assert box.mounts == tuple(moby.tenant.snapshotter().mounts("box"))


def test_every_snapshotter_is_surveyed(moby: Moby) -> None:
    native = moby.tenant.snapshotter("native")
    native.prepare("box")
    write(native.directories("box").directory, here="h")
    survey = SnapshotSurvey(lambda: moby.tenant)
    ours, other = [one for one in survey.ls() if one.key == "box"]
    assert [ours.snapshotter, other.snapshotter] == [moby.tenant.snapshotter().name, "native"]
    assert [ours.preferred, other.preferred] == [True, False]
    assert ours.id == "box" != other.id
    assert [one.name for one in other.holders] == []
    assert survey.why(other) == []
    assert survey.content(other, "/here") == b"h"
    assert survey.makeup(other).snapshotter == "native"
    assert {one.file.path for one in survey.tree(other, "/")} == {"/here"}

"""Snapshots as a person surveys them, of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.store.containers import Container
from mobyshell.core.store.differences import Way
from mobyshell.core.store.labels import GC_ROOT
from mobyshell.core.store.leases import Resource
from mobyshell.moby.client import Moby
from mobyshell.moby.snapshot_survey import Holder, SnapshotSurvey

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
    assert all(one.size for one in found.values())


def test_why_says_each_way(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    assert len(survey.why("base")) == 3
    assert survey.why("left") == []
    assert survey.why("box") == ["container web (containers are kept) → this (snapshot)"]
    with pytest.raises(NotFound):
        survey.why("nobody")


def test_the_tree_is_told_with_what_changed(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    assert {(one.file.path, one.way) for one in survey.tree("top", "/")} == {
        ("/kept", None), ("/gone", None), ("/changed", Way.CHANGED), ("/new", Way.ADDED),
    }  # fmt: skip
    assert survey.content("top", "/changed") == b"after"
    assert survey.content("look", "/changed") == b"before"
    assert {one.way for one in survey.tree("look", "/")} == {None}
    # what is active may be another tree the next time
    own = moby.tenant.snapshotter().directories("box").directory
    assert len(survey.tree("box", "/")) == 4
    write(own, later="l")
    assert len(survey.tree("box", "/")) == 5


def test_the_layers_are_whose_they_are(moby: Moby) -> None:
    survey = SnapshotSurvey(lambda: moby.tenant)
    box, top, look = survey.makeup("box"), survey.makeup("top"), survey.makeup("look")
    assert [one.key for one in box.layers] == ["box", "top", "base"]
    assert [one.key for one in top.layers] == ["top", "base"]
    assert [one.key for one in look.layers] == ["base"]
    assert [box.through, top.through, look.through] == ["", "view", ""]
    assert top.mounts[0].options[-1].startswith("lowerdir=")
    assert box.mounts == tuple(moby.tenant.snapshotter().mounts("box"))

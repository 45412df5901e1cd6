"""What crashes and hands leave beside the rows: told, and taken away where it is nobody's."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import remnants
from mobyshell.core.store.check import check_store
from mobyshell.core.store.locks import lock_directory
from mobyshell.core.store.store import Namespace, Store
from mobyshell.core.store.walk import resolve
from tests.core.store.test_check import blob, furnished, kinds
from tests.core.store.unpack_actor import act

__all__ = ["furnished"]


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is as if it had lain there for long."""
    monkeypatch.setattr(remnants, "_SETTLED", -1.0)


@pytest.mark.usefixtures("settled")
def test_directories_that_no_row_names_go_unless_somebody_works_there(furnished: Store) -> None:
    above = furnished.root.snapshots / "native"
    left = [above / "new-1", above / "rm-1", furnished.root.ingests / "abc"]
    held = [above / "new-2", furnished.root.ingests / "def"]
    for one in (*left, *held):
        one.mkdir()
        (one / "data").write_bytes(b"x")
    locks = [lock_directory(one) for one in held]
    found = check_store(furnished)
    assert [(one.kind, Path(one.subject)) for one in found] == [
        ("orphan", furnished.root.ingests / "abc"),
        ("orphan", above / "new-1"),
        ("orphan", above / "rm-1"),
    ]
    assert all(one.repaired for one in check_store(furnished, repair=True))
    assert not any(one.exists() for one in left)
    assert all(one.exists() for one in held)
    assert check_store(furnished) == []
    for fd in locks:
        assert fd is not None
        os.close(fd)


def test_what_has_just_been_made_is_not_taken_for_left(furnished: Store) -> None:
    (furnished.root.snapshots / "native" / "new-1").mkdir()
    (furnished.root.ingests / "abc").mkdir()
    assert check_store(furnished) == []


def test_strangers_are_told_of_and_stay(furnished: Store) -> None:
    places = [furnished.root.ingests / "notes", furnished.root.snapshots / "native" / "notes"]
    for one in places:
        one.write_text("mine")
    assert kinds(check_store(furnished, repair=True)) == ["stranger", "stranger"]
    assert all(one.read_text() == "mine" for one in places)


def test_a_lease_that_is_over_is_collected_and_others_stay(
    furnished: Store, demo: Namespace
) -> None:
    demo.leases.create("kept")
    demo.leases.create("over", expires=1.0)
    demo.leases.create("dead", {"io.mobyshell/lease.holder": "another-boot/1/1/1"})
    found = check_store(furnished, repair=True)
    assert sorted(one.subject for one in found) == ["lease demo: dead", "lease demo: over"]
    assert [one.id for one in demo.leases.list()] == ["kept"]
    assert check_store(furnished) == []


@pytest.fixture
def unmounted(tmp_path: Path) -> Iterator[None]:
    yield
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        if line.split()[4].startswith(f"{tmp_path}/"):
            subprocess.run(["umount", "-l", line.split()[4]], check=True)


@pytest.mark.root
@pytest.mark.usefixtures("unmounted")
def test_what_is_mounted_in_the_store_is_unmounted_and_no_obstacle(furnished: Store) -> None:
    place = furnished.root.snapshots / "native" / "4711" / "fs"
    place.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", str(place)], check=True)
    (place / "file").touch()
    assert kinds(check_store(furnished)) == ["mounted", "orphan"]
    assert kinds(check_store(furnished, repair=True)) == ["mounted", "orphan"]
    assert not place.parent.exists()
    assert check_store(furnished) == []


@pytest.mark.root
@pytest.mark.usefixtures("unmounted")
def test_an_upper_that_is_still_mounted_elsewhere_is_told_of(
    store: Store, demo: Namespace, tmp_path: Path
) -> None:
    snapshots = demo.snapshotter("overlayfs")
    snapshots.prepare("bottom")
    snapshots.commit("layer", "bottom")
    mounts, place = (
        snapshots.prepare("box", "layer", {"containerd.io/gc.root": "x"}),
        tmp_path / "m m",
    )
    place.mkdir()
    words = ["mount", "-t", "overlay", "overlay", "-o", ",".join(mounts[0].options), str(place)]
    subprocess.run(words, check=True)
    (found,) = check_store(store, repair=True)
    assert (found.kind, found.subject, found.repaired) == ("mount", str(place), False)
    assert "/fs is still mounted there" in found.problem
    subprocess.run(["umount", str(place)], check=True)
    assert check_store(store) == []


@pytest.mark.root
def test_an_active_snapshot_has_what_overlayfs_needs_again(store: Store, demo: Namespace) -> None:
    snapshots = demo.snapshotter("overlayfs")
    snapshots.prepare("box", labels={"containerd.io/gc.root": "x"})
    place = snapshots.directories("box").directory.parent / "work"
    place.rmdir()
    assert kinds(check_store(store, repair=True)) == ["work"]
    assert place.is_dir()
    assert check_store(store) == []


@pytest.mark.root
def test_what_a_power_cut_made_active_again_is_garbage(store: Store, demo: Namespace) -> None:
    """A layer's snapshot was committed, its work directory gone; the log that said so never was on
    the disk. Who unpacked it is dead, and so is its lease."""
    snapshots = demo.snapshotter("overlayfs")
    snapshots.prepare("extract")
    (snapshots.directories("extract").directory.parent / "work").rmdir()
    assert check_store(store) == []
    store.collect()
    assert list(snapshots.walk()) == []


def test_a_tree_without_its_files_is_none(furnished: Store, demo: Namespace) -> None:
    shutil.rmtree(demo.snapshotter("native").directories("bad-box").directory)
    assert kinds(check_store(furnished, repair=True)) == ["container", "tree"]


@pytest.mark.root
def test_a_lost_configuration_is_named_with_its_image(store: Store) -> None:
    with store.namespace("default").leased() as held:
        act(held, "overlayfs", 0)
        image = resolve(held.content, held.images.get("image-0").target)
        lost = image.manifest.config.digest
        blob(store, Digest(lost)).unlink()
        (damaged,) = check_store(store)
        assert damaged.problem == "is missing"
        assert damaged.remedy == "dropped; then pull again default: image-0"
        assert kinds(check_store(store, repair=True)) == ["blob", "part"]
        (part,) = check_store(store)
        assert part.problem == f"configuration {lost} is missing"
        act(held, "overlayfs", 0)
        assert check_store(store) == []


@pytest.mark.root
def test_a_layer_upon_one_whose_tree_is_gone_is_no_failure_of_the_check(store: Store) -> None:
    with store.namespace("default").leased() as held:
        act(held, "overlayfs", 0)
        image = resolve(held.content, held.images.get("image-0").target)
        below = held.snapshotter("overlayfs").directories(image.chain_ids[0]).directory
        shutil.rmtree(below.parent)
        assert kinds(check_store(store, unpack=True)) == ["tree"]

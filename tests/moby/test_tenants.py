"""What tenants have, in a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.core.network.networks import Networks
from mobyshell.core.store.containers import Container
from mobyshell.core.store.snapshots.choose import snapshotter
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.service import Status, TaskInfo
from mobyshell.core.volumes.volumes import Volumes
from mobyshell.moby.tenants import KINDS, LiveTenants, ObjectInfo, named
from tests.core.store import images as made

BOX = "docker.io/library/box:latest"
TASKS = [TaskInfo("up", "default", Status.RUNNING, 7, "/b", 5, args=("sleep", "1"))]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as opened:
        yield opened


@pytest.fixture
def tenants(store: Store, tmp_path: Path) -> LiveTenants:
    return LiveTenants(lambda: store, lambda: TASKS, lambda: str(tmp_path / "store"),
                       lambda: "mine")  # fmt: skip


def furnish(store: Store, root: Path) -> None:
    """One of each kind, in `default`."""
    space = store.namespace("default")
    space.images.create(BOX, made.image(space.content))
    snapshots = snapshotter(space.scope, "native")
    snapshots.prepare("own")
    (snapshots.directories("own").directory / "file").write_bytes(b"x" * 100_000)
    space.containers.create(Container("web", image=BOX, snapshotter="native", snapshot_key="own"),
                            {"ociVersion": "1.2.0"})  # fmt: skip
    space.leases.create("held")
    volume = Volumes(str(root), "default").create("kept", {}, created=1.0)
    Path(volume.path, "data").write_bytes(b"x" * 50_000)
    Networks(str(root), "default", "").create("lan", subnets=["10.1.0.0/24"])


def test_counts_and_objects(store: Store, tenants: LiveTenants, tmp_path: Path) -> None:
    furnish(store, tmp_path / "store")
    default, mine = tenants.ls()
    assert (default.name, default.used, mine.name, mine.used, mine.made) == (
        "default", False, "mine", True, False,
    )  # fmt: skip
    assert mine.empty
    assert default.counts == {
        "tasks": 1, "containers": 1, "images": 1, "snapshots": 1, "content": 3, "leases": 1,
        "networks": 1, "volumes": 1,
    }  # fmt: skip
    found = tenants.objects("default")
    assert list(dict.fromkeys(one.kind for one in found)) == [k for k in KINDS if k != "ingests"]
    by_name = {one.name: one for one in found}
    blobs = sum(one.bytes or 0 for one in found if one.kind == "content")
    assert by_name[BOX].bytes == blobs == default.bytes
    for name, least in (("own", 100_000), ("web", 100_000), ("kept", 50_000)):
        assert (by_name[name].bytes or 0) >= least
    assert by_name["up"].about == "running sleep 1"
    assert tenants.objects("mine") == []


def test_what_is_only_named_is_not_measured(
    store: Store, tenants: LiveTenants, tmp_path: Path
) -> None:
    furnish(store, tmp_path / "store")
    found = tenants.objects("default", measured=False)
    assert {one.kind for one in found if one.bytes is not None} == {"content"}
    said = named(found)
    assert said.startswith(f"1 task (up), 1 container (web), 1 image ({BOX}), 1 snapshot (own)")
    assert said.endswith("1 lease (held), 1 network (lan), 1 volume (kept)")


def test_a_damaged_image_is_counted_as_far_as_it_goes(store: Store, tenants: LiveTenants) -> None:
    space = store.namespace("default")
    broken = made.put(space.content, b"{not json", made.MANIFEST)
    space.images.create(BOX, broken)
    image = next(one for one in tenants.objects("default") if one.kind == "images")
    assert image.bytes == 9


def test_many_and_long_names_are_shortened() -> None:
    found = [ObjectInfo("content", f"sha256:{number:064}") for number in range(5)]
    found.append(ObjectInfo("tasks", "a"))
    assert (
        named(found)
        == f"1 task (a), 5 blobs ({', '.join(['sha256:0000000000000…'] * 3)} and 2 more)"
    )
    assert named([]) == ""

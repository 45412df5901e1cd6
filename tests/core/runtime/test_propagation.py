"""How mount events travel between the host and a container's root (linux.rootfsPropagation)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.linux.mounts import MountInfo, read_mountinfo
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]


def mount(*words: str | Path) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


@pytest.fixture
def shared(house: House, tmp_path: Path) -> Iterator[Path]:
    """A rootfs on a mount that the host shares, with another one in it, and a volume."""
    place = tmp_path / "shared"
    place.mkdir()
    mount("-t", "tmpfs", "tmpfs", place)
    mount("--make-shared", place)
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(place / "rootfs")], check=True)
    (place / "rootfs" / "later").mkdir()
    (place / "rootfs" / "inner").mkdir()
    mount("-t", "tmpfs", "inner", place / "rootfs" / "inner")
    (place / "volume").mkdir()
    mount("-t", "tmpfs", "volume", place / "volume")
    (place / "volume" / "later").mkdir()
    yield place
    subprocess.run(["umount", "-R", str(place)], check=True)


def looked_at(
    house: House, shared: Path, propagation: str | None, user: bool = False
) -> dict[str, MountInfo]:
    """A container's mounts, after the host has mounted something in its rootfs and its volume,
    and the container (by its name space) in the place `inside`."""

    def change(document: Document) -> None:
        document["root"] = {"path": str(shared / "rootfs")}
        document["mounts"].append(
            {"destination": "/volume", "source": str(shared / "volume"), "options": ["rbind"]}
        )
        if propagation:
            document["linux"]["rootfsPropagation"] = propagation
        if user:
            document["linux"]["namespaces"].append({"type": "user"})
            for kind in ("uidMappings", "gidMappings"):
                document["linux"][kind] = [{"containerID": 0, "hostID": 0, "size": 65536}]

    container = house.create("c", house.spec(change, "true"))
    try:
        for place in ("rootfs", "volume"):
            mount("-t", "tmpfs", "later", shared / place / "later")
        found = {one.mount_point: one for one in read_mountinfo(container.pid)}
        mount("-N", f"/proc/{container.pid}/ns/mnt", "-t", "tmpfs", "own", "/tmp")
        assert not os.path.ismount(shared / "rootfs" / "tmp"), "what it mounts reached the host"
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)
    return found


def kinds(one: MountInfo) -> set[str]:
    return {word.partition(":")[0] for word in one.optional if not word.startswith("propagate")}


@pytest.mark.parametrize("user", [False, True])
@pytest.mark.parametrize(
    ("propagation", "root", "inner", "arrives"),
    [
        (None, {"master"}, {"master"}, True),
        ("slave", {"master"}, {"master"}, True),
        ("rslave", {"master"}, {"master"}, True),
        ("private", set(), {"master"}, False),
        ("rprivate", set(), set(), False),
        ("shared", {"shared"}, {"master"}, False),
        ("rshared", {"shared"}, {"master", "shared"}, False),
        ("unbindable", {"unbindable"}, {"master"}, False),
        ("runbindable", {"unbindable"}, {"unbindable"}, False),
    ],
)
def test_root(
    house: House, shared: Path, propagation: str | None, root: set[str], inner: set[str],
    arrives: bool, user: bool,
) -> None:  # fmt: skip
    found = looked_at(house, shared, propagation, user)
    assert kinds(found["/"]) == root
    assert ("/later" in found) is arrives
    # the mount inside the rootfs is a mount of its own; without `r` it stays as the host has it
    there = kinds(found["/inner"]) - ({"shared"} if propagation in ("private", "shared",
                                                                    "unbindable") else set())  # fmt: skip
    assert there in (inner, inner - {"master"})
    # what is bound keeps what all mounts were made to be: private is the only one that is deaf
    assert ("/volume/later" in found) is (propagation not in ("rprivate", "runbindable"))

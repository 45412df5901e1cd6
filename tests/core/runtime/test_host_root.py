"""Containers without a mount namespace of their own: what they mount is the host's, for a while."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError
from mobyshell.core.runtime.host_root import FILE
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root


@pytest.fixture
def rootfs(tmp_path: Path, house: House) -> Iterator[Path]:
    """A root filesystem of the test's own, under which nothing stays mounted."""
    made = tmp_path / "rootfs"
    shutil.copytree(house.bundle / "rootfs", made, symlinks=True)
    yield made
    while mounted(made):
        subprocess.run(["umount", "--recursive", "--lazy", str(made)], check=True)


def mounted(rootfs: Path) -> list[str]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = [line.split()[4] for line in lines]
    return [one for one in places if one == str(rootfs) or one.startswith(f"{rootfs}/")]


def shared(rootfs: Path, *kinds: str) -> Any:
    """The spec in the namespaces `kinds`, with nothing hidden."""

    def change(document: dict[str, Any]) -> None:
        linux = document["linux"]
        linux["namespaces"] = [{"type": kind} for kind in kinds]
        linux["maskedPaths"] = linux["readonlyPaths"] = []
        document.pop("hostname", None)
        document["root"]["path"] = str(rootfs)

    return change


@pytest.mark.parametrize("kinds", [("pid", "network"), ()])
def test_it_is_in_its_root_and_delete_unmounts_all(
    house: House, rootfs: Path, kinds: tuple[str, ...]
) -> None:
    container = house.create("c", house.spec(shared(rootfs, *kinds), "sleep", "1000"))
    run(house.runtime.start("c"))
    own = f"/proc/{container.pid}/ns/mnt"
    assert os.readlink(own) == os.readlink("/proc/self/ns/mnt")
    assert str(rootfs / "proc") in mounted(rootfs)
    # in the container's root, and not in the host's, which has the same mount namespace
    said = house.exec("c", "ls", "/proc/1/exe", "/bin/busybox", "/etc/os-release", "/home")
    assert "/bin/busybox" in said.output
    listed = house.exec("c", "ls", "/").output.split()
    assert sorted(listed) == sorted(one.name for one in rootfs.iterdir())
    run(house.runtime.kill("c", 9))
    house.finish(container)
    assert mounted(rootfs) == []


def test_a_create_that_fails_leaves_no_mount(house: House, rootfs: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        shared(rootfs, "pid")(document)
        document["process"]["cwd"] = "/bin/busybox/x"

    with pytest.raises(MobyshellError):
        house.create("c", house.spec(change, "true"))
    assert mounted(rootfs) == []


def test_what_others_mounted_there_meanwhile_stays(house: House, rootfs: Path) -> None:
    container = house.create("c", house.spec(shared(rootfs, "pid"), "true"))
    assert (house.runtime.root / "c" / FILE).exists()
    subprocess.run(["umount", "--recursive", "--lazy", str(rootfs)], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(rootfs)], check=True)
    os.close(container.pidfd)
    run(house.runtime.delete("c", force=True))
    assert mounted(rootfs) == [str(rootfs)]


def test_nothing_can_be_hidden_there(house: House, rootfs: Path) -> None:
    def change(document: dict[str, Any]) -> None:
        shared(rootfs, "pid")(document)
        document["linux"]["maskedPaths"] = ["/proc/kcore"]

    with pytest.raises(InvalidSpec, match="none without a mount namespace"):
        house.create("c", house.spec(change, "true"))
    assert mounted(rootfs) == []

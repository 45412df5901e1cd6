"""What the runtime opens for a child that, in its user namespace, could not reach it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from tests.core.runtime.conftest import House, descriptors
from tests.waiting import eventually

pytestmark = pytest.mark.root

Document = dict[str, Any]


@pytest.fixture
def private(house: House, tmp_path: Path) -> Path:
    """A bundle's rootfs and a volume below a directory that is only for root."""
    place = tmp_path / "private"
    place.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(place / "rootfs")], check=True)
    (place / "volume" / "inner").mkdir(parents=True)
    (place / "volume" / "file").write_text("said\n")
    subprocess.run(["chown", "-R", "100000:100000", str(place / "rootfs"), str(place / "volume")],
                   check=True)  # fmt: skip
    (place / "hidden").mkdir(mode=0o700)  # of a user whom the container does not know
    return place


def mapped(private: Path) -> Any:
    def change(document: Document) -> None:
        document["root"] = {"path": str(private / "rootfs")}
        document["linux"]["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
        document["mounts"] += [
            {"destination": "/volume", "source": str(private / "volume"), "options": ["rbind"]},
            {"destination": "/a/file", "source": str(private / "volume/file"),
             "options": ["bind", "ro"]},
            {"destination": "/hidden", "source": str(private / "hidden"), "options": ["bind"]},
        ]  # fmt: skip

    return change


def in_another_user_namespace(process: subprocess.Popen[bytes]) -> bool:
    return os.readlink(f"/proc/{process.pid}/ns/user") != os.readlink("/proc/self/ns/user")


def test_a_bundle_that_only_root_may_enter(house: House, private: Path) -> None:
    here = os.getcwd()
    lines = house.sh(
        "id -u; cat /volume/file /a/file; touch /volume/made /made && echo ok;"
        "touch /a/file 2>/dev/null || echo ro; ls /hidden 2>/dev/null || echo closed;"
        "stat -c %F /hidden; ls -l /proc/self/fd | tail -n +2 | wc -l",
        mapped(private),
    )
    # 4: the streams, and the directory that ls reads
    assert lines == ["0", "said", "said", "ok", "ro", "closed", "directory", "4"]
    assert (private / "volume" / "made").stat().st_uid == 100000
    assert os.getcwd() == here


def test_a_joined_user_namespace(house: House, private: Path) -> None:
    holder = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
    try:
        eventually(lambda: in_another_user_namespace(holder))
        for kind in ("uid", "gid"):
            Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536\n")

        def change(document: Document) -> None:
            mapped(private)(document)
            document["linux"]["namespaces"][-1]["path"] = f"/proc/{holder.pid}/ns/user"
            del document["linux"]["uidMappings"], document["linux"]["gidMappings"]

        assert house.sh("cat /volume/file", change) == ["said"]
    finally:
        holder.kill()
        holder.wait()


def test_a_tree_that_is_not_there_leaves_no_descriptor(house: House, private: Path) -> None:
    def change(document: Document) -> None:
        mapped(private)(document)
        document["mounts"][-1]["source"] = "/no/such/place"

    before = descriptors()
    with pytest.raises(SyscallFailed, match="/no/such/place"):
        house.run("true", change=change)
    assert descriptors() == before


@pytest.mark.parametrize("joined", [False, True], ids=["made", "joined"])
def test_message_queues_belong_to_root_of_the_user_namespace(
    house: House, private: Path, joined: bool
) -> None:
    """Not to whoever made the IPC namespace before there were maps: nobody inside is that."""
    holder = None

    def change(document: Document) -> None:
        mapped(private)(document)
        if holder is not None:
            document["linux"]["namespaces"][-1]["path"] = f"/proc/{holder.pid}/ns/user"
            del document["linux"]["uidMappings"], document["linux"]["gidMappings"]

    try:
        if joined:
            holder = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
            eventually(lambda: in_another_user_namespace(holder))
            for kind in ("uid", "gid"):
                Path(f"/proc/{holder.pid}/{kind}_map").write_text("0 100000 65536\n")
        said = house.sh("stat -c '%u %g' /dev/mqueue; readlink /proc/self/ns/ipc", change)
    finally:
        if holder is not None:
            holder.kill()
            holder.wait()
    assert said[0] == "0 0"
    assert said[1] != os.readlink("/proc/self/ns/ipc")

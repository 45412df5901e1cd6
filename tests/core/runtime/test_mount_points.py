"""Mount points that are not there, and links that lead to nothing: made inside, wherever they lead."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.paths import make_in_root
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]


@pytest.fixture
def rootfs(house: House, tmp_path: Path) -> Path:
    place = tmp_path / "rootfs"
    subprocess.run(["cp", "-a", str(house.bundle / "rootfs"), str(place)], check=True)
    links = {
        "jump": "/far/away/there", "again": "jump", "up": "../../../../far/up",
        "etc/hosts": "/again", "loop": "loop", "file": "/etc/passwd",
    }  # fmt: skip
    for name, target in links.items():
        (place / name).unlink(missing_ok=True)
        (place / name).symlink_to(target)
    return place


def with_mounts(rootfs: Path, *mounts: Document, user: bool = False) -> Any:
    def change(document: Document) -> None:
        document["root"] = {"path": str(rootfs)}
        document["mounts"] += mounts
        if user:
            document["linux"]["namespaces"].append({"type": "user"})
            for kind in ("uidMappings", "gidMappings"):
                document["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 65536}]

    return change


def bind(destination: str, source: Path | str) -> Document:
    return {"destination": destination, "source": str(source), "options": ["bind"]}


@pytest.mark.parametrize("user", [False, True])
def test_links_that_lead_nowhere(house: House, rootfs: Path, tmp_path: Path, user: bool) -> None:
    source = tmp_path / "source"
    source.write_text("said\n")
    (tmp_path / "directory").mkdir()
    (tmp_path / "directory" / "in").write_text("in\n")
    tmpfs = {"destination": "/up/x/y", "type": "tmpfs", "source": "tmpfs"}
    if user:
        subprocess.run(["chown", "-hR", "100000:100000", str(rootfs)], check=True)
    mounts = (bind("/etc/hosts", source), tmpfs, bind("/up/deep", tmp_path / "directory"))
    lines = house.sh(
        "cat /far/away/there /etc/hosts /far/up/deep/in; grep -c ' /far/up/x/y ' /proc/self/mountinfo",
        with_mounts(rootfs, *mounts, user=user),
    )
    assert lines == ["said", "said", "in", "1"]
    made = [rootfs / "far", rootfs / "far" / "away" / "there", rootfs / "far" / "up" / "x"]
    assert {path.stat().st_uid for path in made} == {100000 if user else 0}
    assert not Path("/far").exists()


@pytest.mark.parametrize("path", ["/loop", "/loop/x", "/file/x"])
def test_ways_that_end(house: House, rootfs: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "source").write_text("")
    for one in (bind(path, tmp_path / "source"), bind(path, "/etc")):
        with pytest.raises(SyscallFailed, match=r"mounts\[7\]"):
            house.run("true", change=with_mounts(rootfs, one))


def test_walking_inside_of_a_root(tmp_path: Path) -> None:
    """Without a container: `..` ends at the root, what is there stays, descriptors are closed."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").symlink_to("/../../b/./c/")
    (root / "kept").mkdir(mode=0o700)
    before = sorted(os.listdir("/proc/self/fd"))
    fd = os.open(root, os.O_PATH)
    make_in_root(fd, "//a/../../d/e", directory=False)
    make_in_root(fd, "kept", directory=True)
    make_in_root(fd, "a/f", directory=True)
    for path, error in (("d/e/x", NotADirectoryError), ("d/e", NotADirectoryError)):
        with pytest.raises(error):
            make_in_root(fd, path, directory=True)
    os.close(fd)
    assert sorted(os.listdir("/proc/self/fd")) == before
    found = sorted(str(one.relative_to(root)) for one in root.rglob("*") if not one.is_symlink())
    assert found == ["b", "b/c", "b/c/f", "d", "d/e", "kept"]
    assert (root / "d" / "e").is_file()
    assert (root / "kept").stat().st_mode & 0o777 == 0o700

"""Volumes: made whole, listed, held, removed; and filled with what an image has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError, WrongState
from mobyshell.core.volumes.copy_up import copy_up
from mobyshell.core.volumes.volumes import Volumes


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    return Volumes(str(tmp_path / "root"), "default")


def test_made_listed_and_removed(volumes: Volumes, tmp_path: Path) -> None:
    made = volumes.create("data", {"a": "b"}, created=5.0)
    assert (made.name, made.labels, made.created) == ("data", {"a": "b"}, 5.0)
    assert os.stat(made.path).st_mode & 0o777 == 0o755
    assert os.stat(tmp_path / "root").st_mode & 0o777 == 0o700
    assert volumes.ls() == [made]
    assert volumes.ensure("data") == made
    with pytest.raises(AlreadyExists):
        volumes.create("data")
    (Path(made.path) / "file").write_text("x")
    with pytest.raises(NotFound) as caught:
        Volumes(str(tmp_path / "root"), "other").get("data")
    assert "namespace default" in caught.value.hint
    with pytest.raises(WrongState, match="in use by one"):
        volumes.remove("data", ("one",))
    volumes.remove("data")
    assert volumes.ls() == []
    assert os.listdir(tmp_path / "root" / "volumes" / "default") == []
    with pytest.raises(NotFound):
        volumes.remove("data")


def test_what_is_held_is_not_removed(volumes: Volumes) -> None:
    volumes.create("data")
    fds = [volumes.hold("data"), volumes.hold("data")]
    with pytest.raises(WrongState, match="being made"):
        volumes.remove("data")
    for fd in fds:
        os.close(fd)
    volumes.remove("data")
    with pytest.raises(NotFound):
        volumes.hold("data")


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "-a", "a\n", "x" * 129, "ü"])
def test_names_that_cannot_be(volumes: Volumes, name: str) -> None:
    with pytest.raises(UsageError):
        volumes.create(name)


def test_a_damaged_volume_is_said_and_not_listed(volumes: Volumes) -> None:
    made = volumes.create("data")
    Path(made.path).with_name("volume.json").write_text("[]")
    assert volumes.ls() == []
    with pytest.raises(MobyshellError, match="damaged"):
        volumes.get("data")


def test_what_a_dead_process_left_is_swept(volumes: Volumes, tmp_path: Path) -> None:
    volumes.create("data")
    here = tmp_path / "root" / "volumes" / "default"
    (here / ".gone-1" / "data").mkdir(parents=True)
    (here / f".making-{2**22 + 1}-x" / "data").mkdir(parents=True)
    (here / f".making-{os.getpid()}-x").mkdir()
    volumes.sweep()
    assert sorted(os.listdir(here)) == [f".making-{os.getpid()}-x", "data"]


_MAKE = """
import sys
from mobyshell.core.volumes.volumes import Volumes
volumes = Volumes(sys.argv[1], "default")
for n in range(30):
    volumes.ensure(f"v{n}")
"""


def test_many_processes_make_the_same(volumes: Volumes, tmp_path: Path) -> None:
    words = [sys.executable, "-c", _MAKE, str(tmp_path / "root")]
    started = [subprocess.Popen(words, stdin=subprocess.DEVNULL) for _ in range(4)]
    assert [one.wait(60) for one in started] == [0] * 4
    assert len(volumes.ls()) == 30
    here = os.listdir(tmp_path / "root" / "volumes" / "default")
    assert not [one for one in here if one.startswith(".")]


@pytest.mark.root
def test_the_images_content_is_copied_once_with_everything(
    volumes: Volumes, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    place = image / "srv" / "www"
    (place / "sub").mkdir(parents=True)
    (image / "var").mkdir()
    (image / "var" / "www").symlink_to("/srv/www")  # followed inside the image
    (place / "file").write_text("text")
    os.chown(place / "file", 5, 6)
    os.chmod(place / "file", 0o4755)
    os.link(place / "file", place / "sub" / "same")
    (place / "link").symlink_to("/etc/passwd")
    os.mkfifo(place / "fifo", 0o640)
    os.mknod(place / "null", 0o020666, os.makedev(1, 3))
    os.chmod(place, 0o1777)
    with open(place / "sparse", "wb") as file:
        file.truncate(1 << 24)
        file.seek(1 << 20)
        file.write(b"x" * 4096)
    os.utime(place / "file", ns=(10**18, 10**18 + 7))
    made = volumes.create("www")
    root = os.open(image, os.O_PATH)
    try:
        assert copy_up(root, "/var/www", made)
        assert not copy_up(root, "/var/www", made)
        assert not copy_up(root, "/nowhere", volumes.create("other"))
        assert not copy_up(root, "/srv/www/file", volumes.get("other"))
    finally:
        os.close(root)
    got = Path(made.path)
    found = (got / "file").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777, found.st_mtime_ns) == (
        5, 6, 0o4755, 10**18 + 7,
    )  # fmt: skip
    assert (got / "sub" / "same").stat().st_ino == found.st_ino
    assert os.readlink(got / "link") == "/etc/passwd"
    assert (got / "fifo").is_fifo()
    assert (got / "null").stat().st_rdev == os.makedev(1, 3)
    assert got.stat().st_mode & 0o7777 == 0o1777
    assert (got / "sparse").read_bytes() == (place / "sparse").read_bytes()
    assert (got / "sparse").stat().st_blocks * 512 < 1 << 20
    assert sorted(os.listdir(got.parent)) == ["data", "lock", "volume.json"]


@pytest.mark.root
def test_a_link_in_the_image_leads_nowhere_else(volumes: Volumes, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.mkdir()
    (image / "out").symlink_to("../../../etc")
    root = os.open(image, os.O_PATH)
    try:
        assert not copy_up(root, "/out", volumes.create("a"))
        assert not copy_up(root, "/../../etc", volumes.get("a"))
    finally:
        os.close(root)
    assert os.listdir(volumes.get("a").path) == []

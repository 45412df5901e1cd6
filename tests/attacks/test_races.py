"""Paths that are swapped while containers start (CVE-2021-30465, CVE-2025-31133, CVE-2025-52881).

Rounds, not time, bound these: the swapping goes on for as long as the containers are made.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.runtime.steps import run
from tests.attacks.conftest import SECRET, Attack, add_mount

pytestmark = pytest.mark.root

ROUNDS = 40

# exchanges pairs of names as fast as it can, until it is killed
SWAP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
pairs = [(one.encode(), two.encode()) for one, two in zip(sys.argv[1::2], sys.argv[2::2])]
os.write(1, b"x")
while True:
    for one, two in pairs:
        libc.renameat2(-100, one, -100, two, 2)  # RENAME_EXCHANGE
"""


@pytest.fixture
def volume(attack: Attack) -> Iterator[Path]:
    """A volume that a hostile container shares: in it directories and files change places with
    links to the host, all the time."""
    place = attack.image.parent / "volume"
    away = place / "away"
    away.mkdir(parents=True)
    pairs = []
    for name in ("mount", "bind", "device", "mask", "copy"):
        (place / name).mkdir()
        (away / name).symlink_to(attack.outside)
        pairs += [place / name, away / name]
    # inside, where the links lead as well, all is there: so most containers can be made
    for top in (place / "mount", attack.image / str(attack.outside).lstrip("/")):
        (top / "deep").mkdir(parents=True)
    (place / "copy" / "harmless").write_text("")
    (place / "copy2").mkdir()
    (place / "copy2" / "file").write_text("")
    (away / "file").symlink_to(attack.outside / "secret")
    pairs += [place / "copy2" / "file", away / "file"]
    swapper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAP, *map(str, pairs)], stdout=subprocess.PIPE
    )
    assert swapper.stdout is not None
    swapper.stdout.read(1)
    yield place
    assert swapper.poll() is None
    swapper.kill()
    swapper.wait()
    swapper.stdout.close()


def test_links_come_and_go(attack: Attack, volume: Path) -> None:
    """The hostile process swaps directories of a shared volume with links to the host while
    containers are made that mount, bind, copy and make devices below them. Success: something is
    made or mounted out there; a container's root is not its image; a mount of it lies where no
    container's would; or the host's file is copied into a tmpfs. A refused container is fine."""

    def device(document: dict[str, Any]) -> None:
        one = {"path": "/v/device/null", "type": "c", "major": 1, "minor": 3}
        document["linux"]["devices"] = [one]
        document["linux"]["maskedPaths"].append("/v/mask")

    change = attack.change(
        add_mount("/v", "bind", volume, "rbind"),
        add_mount("/v/mount/deep", "tmpfs", "tmpfs", "size=64k"),
        add_mount("/v/bind", "bind", "/etc", "bind", "ro"),
        add_mount("/c", "bind", volume, "bind"),
        add_mount("/c/copy", "tmpfs", "tmpfs", "tmpcopyup", "size=64k"),
        add_mount("/c/copy2", "tmpfs", "tmpfs", "tmpcopyup", "size=64k"),
        device,
    )
    spec = attack.house.spec(change, "cat", "/c/copy/secret", "/c/copy2/file")
    rootfs = str(attack.image)
    made = 0
    for number in range(ROUNDS):
        name = f"r{number}"
        try:
            container = attack.house.create(name, spec)
        except MobyshellError:
            continue
        made += 1
        table = read_mountinfo(container.pid)
        roots = [one for one in table if one.mount_point == "/"]
        assert [rootfs.endswith(one.root) for one in roots] == [True]
        for one in table:
            below = one.mount_point.split("/")[1]
            assert below in ("", "proc", "dev", "sys", "v", "c", "etc", "tmp") or one.mount_point \
                .startswith(str(attack.outside)), one  # a link of the volume, inside  # fmt: skip
        run(attack.house.runtime.start(name))
        assert SECRET not in attack.house.finish(container).output
        assert attack.untouched()
    assert made > 0


def test_dev_null_comes_and_goes(attack: Attack) -> None:
    """The image's /dev/null, with no file system of its own on /dev, changes places with a link to
    a file of the host while containers are made. Success: what hides a masked file is not the
    device; or the host's file has become one."""
    dev = attack.image / "dev"
    (attack.image / "hidden").write_text(SECRET)
    os.mknod(dev / "null", 0o20666, os.makedev(1, 3))
    (dev / "away").symlink_to(attack.outside / "secret")
    swapper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", SWAP, str(dev / "null"), str(dev / "away")],
        stdout=subprocess.PIPE,
    )
    assert swapper.stdout is not None
    try:
        swapper.stdout.read(1)

        def change(document: dict[str, Any]) -> None:
            attack.change()(document)
            kept = ("/proc", "/sys")
            document["mounts"] = [m for m in document["mounts"] if m["destination"] in kept]

            document["linux"]["maskedPaths"] = ["/hidden"]

        spec = attack.house.spec(change, "stat", "-c", "%t:%T", "/hidden")
        made = 0
        for number in range(ROUNDS):
            try:
                container = attack.house.create(f"n{number}", spec)
            except MobyshellError as error:
                assert "/dev/null" in str(error) or "default devices" in str(error)
                continue
            run(attack.house.runtime.start(f"n{number}"))
            assert attack.house.finish(container).output == "1:3\n"
            made += 1
        assert made > 0
    finally:
        swapper.kill()
        swapper.wait()
        swapper.stdout.close()

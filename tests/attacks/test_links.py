"""Links and `..` in every path of a spec that the runtime opens, makes or mounts on.

CVE-2021-30465, CVE-2024-45310, CVE-2025-47290 and their kin; rootfs/dev as a link (CVE-2026-41579).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.conftest import SECRET, Attack, add_mount, without_mount

pytestmark = pytest.mark.root

Document = dict[str, Any]


def device(path: str) -> Callable[[Document], None]:
    one = {"path": path, "type": "c", "major": 1, "minor": 3}
    return lambda document: document["linux"].update(devices=[one])


def paths(kind: str, path: str) -> Callable[[Document], None]:
    return lambda document: document["linux"][kind].append(path)


def terminal(document: Document) -> None:
    document["process"]["terminal"] = True


USES: dict[str, Callable[[str], Callable[[Document], None]]] = {
    "tmpfs": add_mount,
    "bind of a directory": lambda path: add_mount(path, "bind", "/etc", "bind", "ro"),
    "bind of a file": lambda path: add_mount(path, "bind", "/etc/hostname", "bind", "ro"),
    "proc": lambda path: add_mount(path, "proc", "proc"),
    "sysfs": lambda path: add_mount(path, "sysfs", "sysfs", "ro"),
    "cgroup": lambda path: add_mount(path, "cgroup", "cgroup", "ro"),
    "copying up": lambda path: add_mount(path, "tmpfs", "tmpfs", "tmpcopyup"),
    "mode of what is covered": lambda path: add_mount(path, "tmpfs", "tmpfs", "ro"),
    "old mount": lambda path: add_mount(path, "tmpfs", "tmpfs", "silent", "shared"),
    "remount": lambda path: add_mount(path, "none", "none", "remount", "bind", "ro"),
    "copied link": lambda path: add_mount(path, "bind", "/proc/self", "bind", "copy-symlink"),
    "device": device,
    "masked": lambda path: paths("maskedPaths", path),
    "read-only": lambda path: paths("readonlyPaths", path),
    "working directory": lambda path: lambda document: document["process"].update(cwd=path),
}


@pytest.mark.parametrize("last", ["", "/new/er", "/secret"])
@pytest.mark.parametrize("use", USES)
def test_paths_of_the_spec(attack: Attack, use: str, last: str) -> None:
    """The image has links, absolute and by many `..`, to a directory of the host; one of the spec's
    paths goes through each. Success: something is made, mounted, hidden or read out there, or the
    host's mount table changes. What is allowed: the same path inside, or a refusal."""
    links = {
        "absolute": str(attack.outside),
        "relative": "../" * 40 + str(attack.outside).lstrip("/"),
        "root-of-1": "/proc/1/root" + str(attack.outside),
    }
    for name, target in links.items():
        (attack.image / name).symlink_to(target)
    before = sorted(os.listdir("/"))
    names = [*(f"/{name}{last}" for name in links), f"/a/../../../..{attack.outside}{last}"]
    for path in names:
        result = attack.run(
            f"cat '{path}' '{path}/secret' 2>/dev/null; grep -c outside /proc/self/mountinfo; true",
            USES[use](path),
        )
        assert SECRET not in result.output
        assert attack.untouched(), path
    assert sorted(os.listdir("/")) == before


@pytest.mark.parametrize("target", ["absolute", "relative"])
def test_dev_is_a_link(attack: Attack, target: str) -> None:
    """The image's /dev is a link to a directory of the host, and the spec mounts nothing on it.
    Success: the default devices, the links and /dev/console are made on the host."""
    away = str(attack.outside) if target == "absolute" else "../" * 40 + str(attack.outside)[1:]
    (attack.image / "dev").rmdir()
    (attack.image / "dev").symlink_to(away)
    no_dev = without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    attack.run("true", no_dev)
    attack.run("true", no_dev, terminal)
    assert attack.untouched()


def test_files_of_dev_are_links(attack: Attack) -> None:
    """Every name that the runtime makes in /dev is a link to the host's secret. Success: the secret
    becomes a device, changes its owner, or is covered."""
    for name in ("null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "fd", "stdin",
                 "mine"):  # fmt: skip
        (attack.image / "dev" / name).symlink_to(attack.outside / "secret")
    no_dev = without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    result = attack.run("true", no_dev, device("/dev/mine"))
    assert "already is not the device" in result.errors
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        (attack.image / "dev" / name).unlink()
    result = attack.run("true", no_dev, device("/dev/mine"))
    assert "/dev/mine already is not the device c 1:3" in result.errors
    owner = (attack.outside / "secret").stat()
    assert (owner.st_uid, owner.st_gid) == (0, 0)


def test_the_root_is_a_link(attack: Attack) -> None:
    """`root.path` itself is a link, which is the caller's own doing, to a directory with a link in
    it. Success: the link inside leads to the host's file."""
    (attack.image / "etc" / "leak").symlink_to(attack.outside / "secret")
    link = Path(attack.image.parent / "link")
    link.symlink_to(attack.image)
    result = attack.run("cat /etc/leak", lambda document: document["root"].update(path=str(link)))
    assert SECRET not in result.output
    assert result.status != 0

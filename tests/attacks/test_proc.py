"""Sending what the runtime writes to /proc somewhere else, or making /proc harmless.

CVE-2019-16884, CVE-2019-19921, CVE-2023-27561, CVE-2023-28642, CVE-2025-52881.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.conftest import SECRET, Attack, add_mount, without_mount

pytestmark = pytest.mark.root

Document = dict[str, Any]


@pytest.mark.parametrize("where", ["proc", "sys"])
@pytest.mark.parametrize("target", ["/other", "other", "../../../other", "/tmp/../other"])
def test_it_is_a_link_in_the_image(attack: Attack, where: str, target: str) -> None:
    """/proc (or /sys) of the image is a link to a directory of it, so that the real one lies there
    and programs, and the runtime, find the image's own files in /proc; or a volume is bound on the
    directory later. Success: the container starts."""
    (attack.image / where).rmdir()
    (attack.image / "other").mkdir()
    (attack.image / where).symlink_to(target)
    result = attack.run("true", without_mount("/sys/fs/cgroup"))
    assert result.status == -1
    assert "must be mounted on ordinary directory" in result.errors


@pytest.mark.parametrize("link", [None, "/proc", "proc/self/../sys", "/proc/1/attr"])
def test_mounts_inside_of_it(attack: Attack, link: str | None) -> None:
    """A volume (here a tmpfs) is mounted on /proc/sys, /proc/1/attr or the like, by that name or
    through a link of the image: labels and sysctls that are written later go into the volume.
    Success: the container starts with it."""
    destination = "/proc/self/attr"
    if link is not None:
        (attack.image / "volume").symlink_to(link)
        destination = "/volume"
    for options in ((), ("silent",)):
        result = attack.run("true", add_mount(destination, "tmpfs", "tmpfs", *options))
        assert result.status == -1
        assert "inside of /proc" in result.errors or "mkdirat" in result.errors


def test_what_lxcfs_gives_may_lie_there(attack: Attack) -> None:
    """No attack: files that show a container its own limits are laid over these."""
    own = attack.image.parent / "uptime"
    own.write_text("1.0 2.0\n")
    result = attack.run("cat /proc/uptime", add_mount("/proc/uptime", "bind", own, "bind"))
    assert result.output == "1.0 2.0\n", result.errors


@pytest.fixture
def hostile(attack: Attack) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:
    """Starts a process that owns a mount namespace, which it has prepared by a script."""
    started: list[subprocess.Popen[bytes]] = []

    def start(script: str) -> subprocess.Popen[bytes]:
        ready = attack.image.parent / "ready"
        process = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"{script}; : > {ready}; exec sleep 1000"]
        )  # fmt: skip
        started.append(process)
        deadline = time.monotonic() + 60
        while not ready.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("mount -t tmpfs tmpfs /proc; mkdir -p /proc/sys/kernel;"
         "ln -s {secret} /proc/sys/kernel/msgmax", "/proc is not a procfs"),
        ("mount -t tmpfs tmpfs /mnt; mkdir /mnt/kernel;"
         "ln -s {secret} /mnt/kernel/msgmax; mount --bind /mnt /proc/sys", "sys/kernel/msgmax"),
        ("mount -t tmpfs tmpfs /proc/sys/kernel;"
         "ln -s {secret} /proc/sys/kernel/msgmax", "sys/kernel/msgmax"),
        ("mount -t proc proc /mnt; mount --bind /mnt/self /proc", "part of a procfs"),
    ],
)  # fmt: skip
def test_writes_are_redirected(
    attack: Attack, hostile: Callable[[str], subprocess.Popen[bytes]], script: str, said: str
) -> None:
    """The container joins a mount namespace whose owner has put a file system of its own, a bind or
    a link in the way of a sysctl. Success: what the runtime writes (`1`) lands in the host's file;
    or it says nothing, and the sysctl has not been set."""
    owner = hostile(script.format(secret=attack.outside / "secret"))

    def join(document: Document) -> None:
        document["linux"]["namespaces"] = [
            {"type": "mount", "path": f"/proc/{owner.pid}/ns/mnt"},
            {"type": "ipc"}, {"type": "pid"},
        ]  # fmt: skip
        document.pop("hostname", None)
        document["mounts"] = []
        document["linux"].update(maskedPaths=[], readonlyPaths=[], devices=[])
        document["linux"]["sysctl"] = {"kernel.msgmax": "1"}

    result = attack.run("true", join)
    assert result.status == -1
    assert "linux.sysctl" in result.errors
    assert said in result.errors
    assert (attack.outside / "secret").read_text() == SECRET


def test_files_of_the_image_in_proc_are_not_written(attack: Attack) -> None:
    """The spec mounts no /proc, and the image has files, and links to the host, where the runtime
    writes. Success: the host's file is written, or the sysctl silently is not set."""
    (attack.image / "proc" / "sys" / "net" / "ipv4").mkdir(parents=True)
    os.symlink(attack.outside / "secret", attack.image / "proc/sys/net/ipv4/ip_forward")
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    result = attack.run(
        "true", without_mount("/proc"),
        lambda d: d["linux"].update(sysctl={"net.ipv4.ip_forward": "1"}, maskedPaths=[], readonlyPaths=[]),
    )  # fmt: skip
    assert result.status == 0
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before

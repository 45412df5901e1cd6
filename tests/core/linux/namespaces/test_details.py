"""What is inside namespaces, against what was put there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mobyshell.core.linux.namespaces.details import details
from mobyshell.core.linux.namespaces.survey import survey
from mobyshell.core.linux.namespaces.values import Namespace, Survey
from tests.core.linux.namespaces.inhabitants import READY, inhabitant

pytestmark = pytest.mark.root


def told(found: Survey, one: Namespace | None, *, may_fail: bool = False) -> dict[str, str]:
    assert one is not None
    facts = {fact.name: fact.value for fact in details(found, one)}
    assert may_fail or "not told" not in facts, facts
    return facts


def test_what_is_inside_of_each_kind(tmp_path: Path) -> None:
    furnish = (
        "hostname inside; ip link set lo up; ip link add up0 type bridge; ip link set up0 up; "
        "ip addr add 10.9.8.7/24 dev up0; ip route add 10.1.0.0/16 via 10.9.8.1; "
        f"ipcmk -Q >/dev/null; mount -t tmpfs t {tmp_path}; "
    )
    with inhabitant(
        "--mount", "--uts", "--ipc", "--net", "--cgroup", "--pid", "--time", "--boottime", "86400",
        "--fork", script=furnish + READY,
    ) as pid:  # fmt: skip
        found = survey()
        theirs = found.of(pid)
        assert told(found, theirs["uts"])["hostname"] == "inside"
        assert told(found, theirs["ipc"])["message queues"] == "1"
        net = told(found, theirs["net"])
        assert net["up0"].startswith("up  bridge  ")
        assert "10.9.8.7/24" in net["up0"]
        assert "127.0.0.1/8" in net["lo"]
        routes = [one.value for one in details(found, theirs["net"]) if one.name == "route"]
        assert "10.1.0.0/16 through 10.9.8.1 by up0" in routes
        time = told(found, theirs["time"])
        assert time == {"monotonic": "as of the machine", "boottime": "+86400 s"}
        assert told(found, theirs["cgroup"])["root"].endswith("is / in here")
        inside = told(found, theirs["pid"])
        assert inside["init"] == f"{pid} sleep 1000"
        assert inside["depth"] == "1 below the one we look from"
        mounts = told(found, theirs["mnt"])
        visible = len(Path(f"/proc/{pid}/mountinfo").read_text().splitlines())
        assert mounts["seen"].startswith(f"{visible} of them")
        assert int(mounts.get("mounts", visible)) >= visible
        assert mounts["root"] != ""


@pytest.mark.parametrize("empty", [False, True], ids=["with-members", "without-any"])
def test_the_maps_of_a_user_namespace(empty: bool) -> None:
    options = ("--user", "--map-user=0", "--map-group=7")
    with inhabitant(*options) as pid:
        found = survey()
        one = found.of(pid)["user"]
        fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY)
        if not empty:
            inside = told(found, one)
    try:
        if empty:
            found = survey()
            one = next(other for other in found.namespaces if other.inode == one.inode)
            assert one.members == ()
            inside = told(found, one)
    finally:
        os.close(fd)
    assert inside["made by"] == "uid 0 root"
    assert inside["uid_map"] == "0 is 0 outside"
    assert inside["gid_map"] == "7 is 0 outside"
    assert inside["setgroups"] == "deny"


def test_one_without_processes_is_looked_into_through_its_mount() -> None:
    name = f"look{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True, timeout=60)
    try:
        subprocess.run(["ip", "-n", name, "link", "add", "up1", "type", "bridge"], check=True,
                       timeout=60)  # fmt: skip
        found = survey()
        one = found.find(os.stat(f"/run/netns/{name}").st_ino)
        assert told(found, one)["up1"].startswith("down  bridge  ")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True, timeout=60)
    # what is gone is said, not shown as empty
    assert "not told" in told(found, one, may_fail=True)


def test_what_cannot_be_reached_says_so() -> None:
    found = Survey((), {})
    assert told(found, Namespace("net", 7), may_fail=True) == {
        "not told": "no way to it may be opened from here"
    }
    assert "nobody can come in" in told(found, Namespace("pid", 7))["init"]

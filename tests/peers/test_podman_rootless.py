"""A user's own podman with our runtime: that is called as root of the user namespace which podman
made, and is not the machine's root there."""

from __future__ import annotations

import pytest

from tests.peers.images import NAME
from tests.peers.sailors import RANGE, Sailor, sailor

__all__ = ["sailor"]
pytestmark = [pytest.mark.root, pytest.mark.peer]


@pytest.mark.parametrize("ranges", ["", RANGE], ids=["one id", "a range"])
def test_a_life(sailor: Sailor, ranges: str) -> None:
    sailor.give(ranges)
    told = sailor.ok(f"""
        run --rm {NAME} sh -c 'id -u; wc -l < /proc/self/uid_map; hostname'
        run -d --name box --hostname boat {NAME} sleep 1000 > /dev/null
        podman exec box sh -c 'hostname; echo > /dev/null && ls /dev/null'
        podman top box args | tail -n 1
        podman inspect --format '{{{{.State.Status}}}}' box
        podman kill box > /dev/null
        podman wait box
        podman rm -f box > /dev/null
        ls {sailor.home}/run/runc
    """)
    assert told[:2] == ["0", "2" if ranges else "1"]
    assert [one.strip() for one in told[3:]] == [
        "boat", "/dev/null", "sleep 1000", "running", "137"
    ]  # fmt: skip


def test_what_a_user_may_ask_for(sailor: Sailor) -> None:
    sailor.give(RANGE)
    told = sailor.ok(f"""
        run --rm --user 5:6 --group-add 7 {NAME} sh -c 'id -u; id -g; id -G'
        run --rm --device /dev/null:/dev/nothing {NAME} sh -c 'echo > /dev/nothing && echo made'
        run --rm --tmpfs /scratch --read-only {NAME} sh -c 'touch /scratch/x && ls /scratch'
        run --rm -v {sailor.home}/run:/mnt:ro {NAME} sh -c 'touch /mnt/x 2>&1'  || :
        run --rm --sysctl net.ipv4.ip_forward=1 {NAME} cat /proc/sys/net/ipv4/ip_forward
        run --rm --cgroupns host {NAME} sh -c 'ls /sys/fs/cgroup | wc -l'
    """)
    assert told[:6] == ["5", "6", "6 7", "made", "x", "touch: /mnt/x: Read-only file system"]
    assert told[6] == "1"
    assert int(told[7]) > 0

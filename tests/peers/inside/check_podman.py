"""A user's own podman, to whom a part of the cgroup tree was delegated."""

from __future__ import annotations

import os
from pathlib import Path

from tests.peers.images import NAME
from tests.peers.sailors import RANGE, UID, Sailor, sailor

__all__ = ["sailor"]

DELEGATED = Path("/sys/fs/cgroup/sailor")
CONTROLLERS = "+memory +pids"


def test_limits_in_a_delegated_group(sailor: Sailor) -> None:
    sailor.give(RANGE)
    (DELEGATED.parent / "cgroup.subtree_control").write_text(CONTROLLERS)
    shell = DELEGATED / "shell"
    shell.mkdir(parents=True)
    (DELEGATED / "cgroup.subtree_control").write_text(CONTROLLERS)
    for path in (DELEGATED, shell):
        for one in (
            path,
            *(path / f"cgroup.{name}" for name in ("procs", "threads", "subtree_control")),
        ):
            os.chown(one, UID, UID)
    ours = Path("/sys/fs/cgroup", Path("/proc/self/cgroup").read_text().split("::/")[1].strip())
    (shell / "cgroup.procs").write_text(str(os.getpid()))
    try:
        told = sailor.ok(f"""
            run --rm --cgroupns host -m 64m --pids-limit 50 {NAME} sh -c '
                cat /proc/self/cgroup
                cd /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup) && cat memory.max pids.max'
        """)
    finally:
        (ours / "cgroup.procs").write_text(str(os.getpid()))
    assert told[0].startswith("0::/sailor/mobyshell-")
    assert told[1:] == [str(64 << 20), "50"]
    assert not [name for name in os.listdir(DELEGATED) if name.startswith("mobyshell-")]

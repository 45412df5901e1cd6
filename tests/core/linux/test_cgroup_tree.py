"""Groups that a container made below its own, to be in the way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import cgroup_tree, cgroups

pytestmark = pytest.mark.root

DEEP = 1100
"""Levels: more than Python recurses, and their path is longer than any path may be."""


@pytest.fixture
def group() -> Iterator[str]:
    path = f"{cgroups.detect().roots['']}/mobyshell-test-tree-{os.getpid()}"
    os.mkdir(path)
    try:
        yield path
    finally:
        subprocess.run(["find", path, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";"], check=False,
                       stdin=subprocess.DEVNULL, capture_output=True)  # fmt: skip
    assert not os.path.exists(path)


def dig(path: str, depth: int) -> int:
    """Make groups one in the other; a descriptor of the deepest."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("deep", dir_fd=fd)
        below = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def test_groups_deeper_than_a_path_can_be(group: str) -> None:
    deepest = dig(group, DEEP)
    child = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    try:
        procs = os.open("cgroup.procs", os.O_WRONLY, dir_fd=deepest)
        os.write(procs, str(child.pid).encode())
        os.close(procs)
        os.close(deepest)
        assert cgroups.processes(group) == [child.pid]
        assert sum(1 for _ in cgroup_tree.walk(group)) == DEEP + 1
        with pytest.raises(SyscallFailed, match="busy"):
            cgroups.remove([group], timeout=0)
    finally:
        child.kill()
        child.wait()
    cgroups.remove([group], timeout=60)
    assert not os.path.exists(group)
    assert cgroups.processes(group) == []


def test_many_groups_beside_each_other(group: str) -> None:
    for name in ("a", "b", "c"):
        for inner in range(50):
            os.makedirs(f"{group}/{name}/{inner}/x")
    assert sum(1 for _ in cgroup_tree.walk(group)) == 1 + 3 * (1 + 50 * 2)
    cgroups.remove([group], timeout=60)
    assert not os.path.exists(group)


def test_a_loop_that_is_left_closes_what_it_had_open(group: str) -> None:
    os.makedirs(f"{group}/a/b")
    before = len(os.listdir("/proc/self/fd"))
    for _ in cgroup_tree.walk(group):
        break
    with closing(cgroup_tree.walk(group)) as walker:
        next(walker)
    assert len(os.listdir("/proc/self/fd")) == before

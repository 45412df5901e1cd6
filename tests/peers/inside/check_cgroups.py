"""Containers on cgroup v2 alone, with every controller there: limits, statistics, verbs, places."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed, Unsupported
from mobyshell.core.linux import cgroups, device_filter, probe
from mobyshell.core.runtime.script import script
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from mobyshell.runc.counters import counted
from tests.core.runtime.conftest import Change, House, running
from tests.core.runtime.test_rootless_verbs import BECOME, LOAD
from tests.waiting import eventually

TOP = "/sys/fs/cgroup"
SESSION = f"{TOP}/session"
MIB = 1 << 20


def resources(path: str = "", **given: Any) -> Change:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"].update(given)
        document["linux"]["namespaces"].append({"type": "cgroup"})
        if path:
            document["linux"]["cgroupsPath"] = path

    return change


def test_who_makes_a_container_does_not_die_of_its_limit(house: House) -> None:
    """The first process is born into the group, and until it is another program it shares the memory
    of who made it: this process, which may be the shim of all tasks. The kernel killed both. Now it
    dies alone, be it as the launcher before its first call, or in any after that."""
    told = "container init was OOM-killed (memory limit too low?)"
    limits = [1, *(pages << 12 for pages in (1, 2, 3, 4, 5, 6, 8, 12, 16, 20, 24, 32, 48, 64))]
    said = []
    for number, limit in enumerate(limits):
        try:
            house.create(f"c{number}", house.spec(resources(memory={"limit": limit}), "true"))
        except MobyshellError as error:
            said.append(error.message)
        else:
            said.append("")
            run(house.runtime.delete(f"c{number}", force=True))
    assert dict(zip(limits, said, strict=True)).items() <= {
        (limit, one) for limit in limits for one in (told, "")
    }
    assert said[:8] == [told] * 8
    assert house.runtime.list() == []


def test_the_machine_has_v2_alone() -> None:
    layout = cgroups.detect()
    assert (layout.mode, dict(layout.own)) == ("v2", {"": f"{SESSION}/shell"})
    assert (dict(layout.roots), layout.v2_usable) == ({"": TOP}, TOP)
    assert {"cpu", "cpuset", "io", "memory", "pids", "hugetlb", "rdma"} <= set(
        layout.v2_controllers
    )
    found = {one.feature: one for one in probe._cgroups() if one.feature.startswith("cgroup")}
    assert all(one.ok for one in found.values()), found
    assert found["cgroup devices"].detail == "a BPF program can be loaded"


def test_limits_are_the_kernels_and_seen_inside(house: House) -> None:
    limits = {
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "1", "mems": "0"},
        "memory": {"limit": 64 * MIB, "reservation": 32 * MIB, "swap": 96 * MIB},
        "pids": {"limit": 12},
        "blockIO": {"weight": 100},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
        "unified": {"memory.high": str(48 * MIB), "cgroup.max.depth": "3"},
    }
    files = ("cpu.weight", "cpu.max", "cpuset.cpus", "cpuset.mems", "memory.max", "memory.low",
             "memory.swap.max", "memory.high", "pids.max", "io.weight", "hugetlb.2MB.max",
             "hugetlb.2MB.rsvd.max", "cgroup.max.depth")  # fmt: skip
    with running(house, "sleep", "1000", change=resources("", **limits)) as state:
        leaf = state.cgroups[""]
        assert os.path.dirname(leaf) == SESSION  # beside the group of the tests, not below it
        found = {file: cgroups.read(leaf, file) for file in files}
        assert found == {
            "cpu.weight": "20", "cpu.max": "20000 50000", "cpuset.cpus": "1", "cpuset.mems": "0",
            "memory.max": str(64 * MIB), "memory.low": str(32 * MIB),
            "memory.swap.max": str(32 * MIB), "memory.high": str(48 * MIB), "pids.max": "12",
            "io.weight": "default 910", "hugetlb.2MB.max": str(4 * MIB),
            "hugetlb.2MB.rsvd.max": str(4 * MIB), "cgroup.max.depth": "3",
        }  # fmt: skip
        inside = house.exec("c", "sh", "-c", "cd /sys/fs/cgroup; cat memory.max; cat /proc/self/cgroup; "
                                             "echo 1 > pids.max")  # fmt: skip
        assert inside.output.splitlines() == [str(64 * MIB), "0::/"]
        assert "Read-only file system" in inside.errors
        wrong = [one for one in house.runtime.diff("c") if one.agrees is False]
        assert wrong == []
        limited = [one.path for one in house.runtime.diff("c") if "resources" in one.path]
        assert len(limited) == 14
    assert not os.path.exists(leaf)


def test_without_a_namespace_the_mount_shows_where_the_name_is_found(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"]["pids"] = {"limit": 12}

    lines = house.sh(
        "cd /sys/fs/cgroup/$(cut -d: -f3 /proc/self/cgroup); cat pids.max cgroup.procs", change
    )
    assert lines[0] == "12"
    assert "1" in lines[1:]  # itself, in its own pid namespace


def test_memory_that_is_not_there_is_not_given(house: House) -> None:
    change = resources(memory={"limit": 24 * MIB, "swap": 24 * MIB})
    with running(house, "sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=48", change=change):
        eventually(lambda: (house.runtime.stats("c").oom_kills or 0) > 0)
        stats = house.runtime.stats("c")
        assert stats.memory_limit == 24 * MIB
        assert (stats.memory_peak or 0) <= 24 * MIB  # None before Linux 5.19
        assert house.runtime.state("c")[1] in (Status.RUNNING, Status.STOPPED)


def test_processes_are_limited_and_counted(house: House) -> None:
    change = resources(pids={"limit": 3})
    with running(house, "sh", "-c", "sleep 1000 & sleep 1000 & wait", change=change) as state:
        eventually(lambda: house.runtime.stats("c").pids == 3)
        # who is moved in is let in; but then it may not fork
        result = house.exec("c", "sh", "-c", "(true); (true)")
        assert result.status != 0
        assert "can't fork" in result.errors
        stats = house.runtime.stats("c")
        assert (stats.pids, stats.pids_limit, stats.memory_limit) == (3, 3, None)
        assert (stats.cpu_ns or 0) > 0
        assert (stats.memory or 0) > 0
        assert stats.io_read is not None
        data = counted(state.cgroups)  # as `runc events --stats` tells it
        assert data["pids"] == {"current": 3, "limit": 3}
        assert data["memory"]["usage"]["usage"] > 0
        assert data["cpu"]["usage"]["total"] > 0
        assert len(cgroups.processes(state.cgroups[""])) == 3


def test_update_changes_what_is_given_and_keeps_the_rest(house: House) -> None:
    change = resources(
        path="/fresh/c", cpu={"quota": 20000, "period": 50000}, memory={"limit": 64 * MIB}
    )
    with running(house, "sleep", "1000", change=change) as state:
        leaf = state.cgroups[""]

        def update(**given: Any) -> None:
            run(house.runtime.update("c", given))

        update(cpu={"quota": 30000})
        assert cgroups.read(leaf, "cpu.max") == "30000 50000"
        update(cpu={"period": 100000})
        assert cgroups.read(leaf, "cpu.max") == "30000 100000"
        update(memory={"swap": 80 * MIB})
        assert cgroups.read(leaf, "memory.swap.max") == str(16 * MIB)
        update(memory={"limit": -1, "swap": -1})
        assert (cgroups.read(leaf, "memory.max"), cgroups.read(leaf, "memory.swap.max")) == (
            "max",
            "max",
        )
        # its controller was not handed down at the start: nothing needed it
        assert not os.path.exists(f"{leaf}/hugetlb.2MB.max")
        update(hugepageLimits=[{"pageSize": "2MB", "limit": 2 * MIB}], cpu={"cpus": "0"})
        assert cgroups.read(leaf, "hugetlb.2MB.max") == str(2 * MIB)
        assert cgroups.read(leaf, "cpuset.cpus") == "0"
        with pytest.raises(SyscallFailed):
            update(pids={"limit": 5}, cpu={"cpus": "900"})
        assert cgroups.read(leaf, "pids.max") == "max"  # all or nothing
        with pytest.raises(Unsupported, match='controller "nosuch" not available'):
            update(unified={"nosuch.max": "1"})
        assert [one for one in house.runtime.diff("c") if one.agrees is False] == []


def test_pause_kill_and_delete_reach_what_was_made_inside(house: House) -> None:
    with running(house, "sh", "-c", "sleep 1000 & sleep 1000 & wait") as state:
        leaf = state.cgroups[""]
        eventually(lambda: len(house.runtime.ps("c")) == 3)
        os.makedirs(f"{leaf}/inner/most")
        cgroups.write(f"{leaf}/inner/most", "cgroup.procs", str(house.runtime.ps("c")[-1].pid))
        assert len(house.runtime.ps("c")) == 3
        run(house.runtime.pause("c"))
        assert house.runtime.state("c")[1] is Status.PAUSED
        assert "frozen 1" in cgroups.read(f"{leaf}/inner/most", "cgroup.events")
        run(house.runtime.resume("c"))
        assert house.runtime.state("c")[1] is Status.RUNNING
        run(house.runtime.kill("c", signal.SIGKILL, all_processes=True))
        eventually(lambda: not cgroups.processes(leaf))
    assert not os.path.exists(leaf)


def test_a_paused_one_can_be_killed_and_deleted(house: House) -> None:
    with running(house, "sleep", "1000"):
        run(house.runtime.pause("c"))


def test_exec_goes_where_the_init_is_when_controllers_are_handed_down_inside(house: House) -> None:
    with running(house, "sleep", "1000") as state:
        leaf = state.cgroups[""]
        os.mkdir(f"{leaf}/init.scope")
        cgroups.write(f"{leaf}/init.scope", "cgroup.procs", str(state.pid))
        cgroups.write(leaf, "cgroup.subtree_control", "+memory +pids")
        result = house.exec("c", "cat", "/proc/self/cgroup")
        assert result.output.strip().endswith("/init.scope"), (result.output, result.errors)


def test_levels_are_made_handed_down_to_and_taken_away(house: House) -> None:
    change = resources(path="/pod/one/c", memory={"limit": 32 * MIB})
    with running(house, "sleep", "1000", change=change) as state:
        assert state.cgroups == {"": f"{TOP}/pod/one/c"}
        assert state.cgroup_levels == (f"{TOP}/pod/one", f"{TOP}/pod")
        for level in (f"{TOP}/pod", f"{TOP}/pod/one"):
            assert {"cpu", "io", "memory", "pids"} == set(
                cgroups.read(level, "cgroup.subtree_control").split()
            )
    assert not os.path.exists(f"{TOP}/pod")


def test_a_relative_path_starts_at_the_top(house: House) -> None:
    with running(house, "sleep", "1000", change=resources(path="pod")) as state:
        assert state.cgroups == {"": f"{TOP}/pod"}


def test_a_group_with_processes_hands_nothing_down(house: House) -> None:
    spec = house.spec(resources(path="/session/shell/c", memory={"limit": 32 * MIB}), "true")
    with pytest.raises(SyscallFailed, match="Device or resource busy") as info:
        house.create("c", spec)
    assert f"hand memory, cpu, pids, io down to what is below {SESSION}/shell" in str(info.value)
    assert info.value.hint.startswith(
        f"no internal processes: {SESSION}/shell has processes itself"
    )
    assert os.listdir(f"{SESSION}/shell").count("c") == 0
    # without limits it needs nothing of the sort
    with running(house, "sleep", "1000", change=resources(path="/session/shell/c")) as state:
        assert state.cgroups == {"": f"{SESSION}/shell/c"}
        assert house.runtime.stats("c").memory is None
        # our being refused has changed nothing about the group of somebody else
        assert cgroups.read(f"{SESSION}/shell", "cgroup.type") == "domain"


def test_device_rules_are_enforced(house: House) -> None:
    def change(document: dict[str, Any]) -> None:
        for kind in document["process"]["capabilities"].values():
            kind.append("CAP_MKNOD")
        document["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})

    # 10:229 is fuse: its driver need not be there for an open to be refused, or to be let through
    look = (
        "cd /tmp; rm -f *; mknod fuse c 10 229; mknod full c 1 7; : < full && echo full; : < fuse"
    )
    with running(house, "sleep", "1000", change=change) as state:
        result = house.exec("c", "sh", "-c", look, capabilities=None)
        assert result.output.split() == ["full"]
        assert "fuse: Operation not permitted" in result.errors
        run(house.runtime.update("c", {"devices": [{"allow": True, "access": "rwm"}]}))
        result = house.exec("c", "sh", "-c", look, capabilities=None)
        assert "Operation not permitted" not in result.errors
        assert [name for name, _ in device_filter.attached(state.cgroups[""])] == ["mobyshell_dev"]
        assert [one for one in house.runtime.diff("c") if one.agrees is False] == []


def test_the_script_makes_the_same_groups(house: House) -> None:
    change = resources(path="/scripted/c", memory={"limit": 40 * MIB}, pids={"limit": 20})
    spec = house.spec(change, "sh", "-c", "cd /sys/fs/cgroup; cat memory.max pids.max cpu.weight")
    plan = house.runtime.plan("s", str(house.bundle), spec=spec)
    done = subprocess.run(
        ["sh"], input=script(plan, spec), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, [str(40 * MIB), "20", "100"]), done.stderr
    assert not os.path.exists(f"{TOP}/scripted/c")
    cgroups.remove_empty([f"{TOP}/scripted"])


def as_user(home: Path, group: str, code: str) -> dict[str, Any]:
    """Run `code` as user 12345, whose processes are in `group`: in a fork, where all is loaded."""
    said, errors = home.parent / f"{home.name}.out", home.parent / f"{home.name}.err"
    pid = os.fork()
    if pid == 0:
        try:
            for fd, path in ((1, said), (2, errors)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), fd)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            cgroups.write(group, "cgroup.procs", "0")
            sys.argv = ["", str(home)]
            exec(BECOME + code, {"__name__": "inside"})
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    assert status == 0, errors.read_text()
    found: dict[str, Any] = json.loads(said.read_text())
    return found


@contextmanager
def delegated(*levels: str) -> Iterator[str]:
    """A group that is given to user 12345 as cgroup-v2.rst says, with `levels` below it."""
    top = f"{TOP}/user"
    os.mkdir(top)
    cgroups.write(TOP, "cgroup.subtree_control", "+memory +pids")
    made = [top, *(f"{top}/{one}" for one in levels)]
    try:
        for path in made:
            os.makedirs(path, exist_ok=True)
            for name in ("", "/cgroup.procs", "/cgroup.subtree_control", "/cgroup.threads"):
                os.chown(f"{path}{name}", 12345, 12345)
        yield made[-1]
    finally:
        cgroups.remove([top], timeout=120)


CREATE = """
document = spec_to_json(load_spec(bundle))
document["process"].update(terminal=False, args=["sleep", "1000"])
document["linux"]["resources"] = {"memory": {"limit": 32 << 20}, "pids": {"limit": 9}}
given = parse_spec(json.dumps(document))
try:
    made = run(runtime.create("c", str(bundle), stdio=Stdio(null, null, 2), spec=given))
    run(runtime.start("c"))
    state, _ = runtime.state("c")
    leaf = state.cgroups[""]
    from mobyshell.core.linux import cgroups
    limit = cgroups.read(leaf, "memory.max")
    run(runtime.pause("c"))
    paused = str(runtime.state("c")[1])
    run(runtime.resume("c"))
    run(runtime.update("c", {"pids": {"limit": 7}}))
    stats = runtime.stats("c")
    run(runtime.delete("c", force=True))
    tell(leaf=leaf, limit=limit, paused=paused, pids=stats.pids_limit, left=os.path.exists(leaf))
except MobyshellError as error:
    tell(error=str(error), hint=error.hint)
"""


@pytest.fixture(scope="module")
def loaded() -> None:
    """All that `as_user` needs, before its forks: in this machine it takes many seconds each time."""
    exec(LOAD, {"__name__": "inside"})


@pytest.fixture
def home(loaded: None) -> Iterator[Path]:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        os.chown(directory, 12345, 12345)
        yield Path(directory)


def test_without_root_in_what_was_delegated(home: Path) -> None:
    with delegated("shell") as group:
        said = as_user(home, group, CREATE)
    assert said.pop("leaf").startswith(f"{TOP}/user/mobyshell-")
    assert said == {"limit": str(32 * MIB), "paused": "paused", "pids": 7, "left": False}


def test_without_root_where_only_the_own_group_was_delegated(home: Path) -> None:
    with delegated() as group:
        said = as_user(home, group, CREATE)
    assert "Device or resource busy" in said["error"]
    assert said["hint"].startswith(f"no internal processes: {TOP}/user has processes itself")


def test_without_root_and_without_delegation(home: Path) -> None:
    said = as_user(home, f"{SESSION}/shell", CREATE)
    assert said["error"] == "limits are asked for, but this user may not make cgroups"
    assert "delegated" in said["hint"]


def test_the_container_hands_its_controllers_on(house: House) -> None:
    """Its group is its user's: in a user namespace, too, groups below it can be made, and limited."""

    def change(document: dict[str, Any]) -> None:
        resources(memory={"limit": 64 * MIB}, pids={"limit": 50})(document)
        linux = document["linux"]
        linux["namespaces"].append({"type": "user"})
        ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        linux.update(uidMappings=ids, gidMappings=ids)
        for one in document["mounts"]:
            if one["type"] == "cgroup":
                one.update(source="cgroup", options=["nosuid", "noexec", "nodev"])

    script = """
        cd /sys/fs/cgroup && mkdir init work && echo 0 > init/cgroup.procs
        echo '+memory +pids' > cgroup.subtree_control && echo 7 > work/pids.max
        cat work/pids.max work/cgroup.controllers
        echo max > memory.max || echo kept
    """
    result = house.run("sh", "-c", script, change=change)
    assert result.output.splitlines() == ["7", "memory pids", "kept"], result.errors

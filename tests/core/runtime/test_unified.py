"""Containers as on a machine with cgroup v2 alone: in the v2 hierarchy that a hybrid one has, too.

What needs controllers on v2 is in tests/peers/inside, in a machine that has them there.
"""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import CallDone
from mobyshell.core.linux import cgroups, device_filter
from mobyshell.core.runtime import Host, Runtime
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import House, running
from tests.waiting import eventually

pytestmark = pytest.mark.root

Document = dict[str, Any]


@pytest.fixture
def unified(house: House) -> House:
    """The house on a machine that has v2 only."""
    here = Host.detect()
    top = here.cgroup_root("")
    host = replace(
        here, cgroup_mode="v2", cgroup_own={"": here.cgroup_own[""]}, cgroup_roots={"": top},
        cgroup_usable=top, cgroup_writable=True, cgroup_delegate=cgroups.delegable(),
    )  # fmt: skip
    house.runtime = Runtime(house.runtime.root, sink=house.runtime.sink, host=host)
    return house


def devices(*rules: Document) -> Any:
    def change(document: Document) -> None:
        document["root"]["readonly"] = False
        for kind in document["process"]["capabilities"].values():
            kind.append("CAP_MKNOD")
        document["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"})
        document["linux"]["resources"]["devices"] = list(rules)

    return change


DENY = {"allow": False, "access": "rwm"}
# 10:229 is fuse: its driver need not be there for an open to be refused, or to be let through
LOOK = """
cd /tmp; mknod node c 10 229 && (: < node) 2>&1 | sed 's/.*: //'; rm -f node
mknod null c 1 3 && echo x > null && echo null; rm null
"""


def test_device_rules_are_enforced(unified: House) -> None:
    assert unified.sh(LOOK, devices(DENY)) == ["Operation not permitted", "null"]
    open_to_it = {"allow": True, "type": "c", "major": 10, "minor": 229, "access": "rwm"}
    lines = unified.sh(LOOK, devices(DENY, open_to_it))
    assert lines[-1] == "null"
    assert "Operation not permitted" not in lines
    # the last rule decides, and rules of every container come after all of them
    assert unified.sh(LOOK, devices(open_to_it, DENY)) == ["Operation not permitted", "null"]


def test_the_program_is_planned_traced_and_compared(unified: House) -> None:
    with running(unified, "sleep", "1000") as state:
        (found,) = [
            one for one in unified.runtime.diff("c") if one.path == "linux.resources.devices"
        ]
        assert found.agrees, found
        (name, _), *_ = device_filter.attached(state.cgroups[""])
        assert name == "mobyshell_dev"
        device_filter.attach(state.cgroups[""], device_filter.program([{"allow": True}]))
        (found,) = [
            one for one in unified.runtime.diff("c") if one.path == "linux.resources.devices"
        ]
        assert (found.found, found.agrees) == ("others: mobyshell_dev", False)
    calls = [one for one in unified.events if isinstance(one, CallDone) and one.name == "bpf"]
    assert [one.args[0] for one in calls] == ["BPF_PROG_LOAD", "BPF_PROG_ATTACH"]
    assert "deny a; allow c *:* m" in calls[0].args[1]


def test_update_takes_another_program(unified: House) -> None:
    with running(unified, "sleep", "1000", change=devices(DENY)) as state:
        run(unified.runtime.update("c", {"devices": [{"allow": True, "access": "rwm"}]}))
        result = unified.exec("c", "sh", "-c", LOOK)
        assert "Operation not permitted" not in result.output
        assert len(device_filter.attached(state.cgroups[""])) == 1


def test_what_the_kernel_says_of_a_program_it_refuses(
    unified: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_filter, "program", lambda rules: device_filter.instruction(0xB7, 1))
    with pytest.raises(
        SyscallFailed, match=r"filter the use of devices .* bpf: Invalid argument"
    ) as info:
        unified.create("c", unified.spec(None, "true"))
    assert info.value.hint.startswith("the verifier says: ")


def test_freeze_kill_and_delete_with_what_was_made_inside(unified: House) -> None:
    with running(unified, "sh", "-c", "sleep 1000 & sleep 1000 & wait") as state:
        assert set(state.cgroups) == {""}
        leaf = state.cgroups[""]
        os.mkdir(f"{leaf}/inner")
        cgroups.write(f"{leaf}/inner", "cgroup.procs", str(unified.runtime.ps("c")[-1].pid))
        run(unified.runtime.pause("c"))
        assert unified.runtime.state("c")[1] is Status.PAUSED
        run(unified.runtime.resume("c"))
        assert unified.runtime.state("c")[1] is Status.RUNNING
        run(unified.runtime.kill("c", signal.SIGKILL, all_processes=True))
        eventually(lambda: not cgroups.processes(leaf))


def test_one_more_process_goes_where_the_first_one_is(unified: House) -> None:
    """A container that runs a systemd, or a docker, hands its controllers down inside."""
    with running(unified, "sleep", "1000") as state:
        leaf = state.cgroups[""]
        os.mkdir(f"{leaf}/init.scope")
        for pid in cgroups.processes(leaf):
            cgroups.write(f"{leaf}/init.scope", "cgroup.procs", str(pid))
        controllers = cgroups.read(leaf, "cgroup.controllers").split()
        for one in controllers:
            cgroups.write(leaf, "cgroup.subtree_control", f"+{one}")
        result = unified.exec("c", "sh", "-c", "grep ^0:: /proc/self/cgroup")
        assert result.status == 0, result.errors
        assert result.output.strip().endswith("/init.scope") == bool(controllers)


def test_a_group_with_processes_hands_nothing_down(unified: House) -> None:
    """The kernel's rule of no internal processes, in the words of who has to change something."""
    layout = cgroups.detect()
    assert layout.v2_controllers, "hugetlb at least is on v2 here"
    top = f"{layout.roots['']}/mobyshell-test-busy-{os.getpid()}"
    os.mkdir(top)
    sleeper = os.spawnvp(os.P_NOWAIT, "sleep", ["sleep", "1000"])
    try:
        cgroups.write(top, "cgroup.procs", str(sleeper))
        spec = unified.spec(
            lambda document: document["linux"].update(
                cgroupsPath=f"/{os.path.basename(top)}/c",
                resources={"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]},
            ),
            "true",
        )
        with pytest.raises(SyscallFailed, match="Device or resource busy") as info:
            unified.create("c", spec)
        assert f"hand hugetlb down to what is below {top}" in str(info.value)
        assert f"{top}/cgroup.subtree_control" in str(info.value)
        assert info.value.hint.startswith("no internal processes: ")
        assert os.listdir(unified.runtime.root) == []
        # where nothing is asked of them, controllers that cannot be had are no reason to fail
        plain = unified.spec(
            lambda document: document["linux"].update(cgroupsPath=f"/{os.path.basename(top)}/c"),
            "true",
        )
        unified.finish(_started(unified, plain))
    finally:
        os.kill(sleeper, signal.SIGKILL)
        os.waitpid(sleeper, 0)
        cgroups.remove([top], timeout=60)


def _started(house: House, spec: Any) -> Any:
    container = house.create("c", spec)
    run(house.runtime.start("c"))
    return container


def test_what_was_frozen_inside_is_no_way_to_stay(house: House) -> None:
    """A container with a writable cgroup mount freezes a process where nobody thaws it."""
    with running(house, "sh", "-c", "sleep 1000 & wait") as state:
        directory, file, freeze, _ = cgroups.freezer(state.cgroups) or ("", "", "", "")
        inner = f"{directory}/inner"
        os.mkdir(inner)
        for pid in cgroups.processes(directory):
            cgroups.write(inner, "cgroup.procs", str(pid))
        cgroups.write(inner, file, freeze)
        run(house.runtime.delete("c", force=True))
        assert not os.path.exists(directory)


def test_groups_made_inside_are_no_way_to_be_in_the_way(unified: House) -> None:
    with running(unified, "sleep", "1000") as state:
        fd = os.open(state.cgroups[""], os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(1100):
            os.mkdir("deep", dir_fd=fd)
            below = os.open("deep", os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
        run(unified.runtime.pause("c"))
        run(unified.runtime.resume("c"))
        assert len(unified.runtime.ps("c")) == 1
        run(unified.runtime.delete("c", force=True))
        assert not os.path.exists(state.cgroups[""])


def given_away(uid: int = 0, *, options: tuple[str, ...] = ("nosuid",), namespace: bool = True,
               user: bool = True) -> Any:  # fmt: skip
    """A cgroup that the container writes to; `uid` runs it, of a user namespace from 100000 on."""

    def change(document: Document) -> None:
        linux = document["linux"]
        document["process"]["user"] = {"uid": uid, "gid": 0}
        kinds = [*(["user"] if user else ()), *(["cgroup"] if namespace else ())]
        linux["namespaces"] += [{"type": kind} for kind in kinds]
        if user:
            ids = [{"containerID": 0, "hostID": 100000, "size": 2000}]
            linux.update(uidMappings=ids, gidMappings=ids)
        for one in document["mounts"]:
            if one["type"] == "cgroup":
                one.update(source="cgroup", options=list(options))

    return change


@pytest.mark.parametrize(
    ("change", "owner"),
    [
        (given_away(), 100000),
        (given_away(7), 100007),
        (given_away(7, user=False), 7),
        (given_away(options=("ro",)), 0),
        (given_away(namespace=False), 0),
        (given_away(5000), 0),
    ],
)
def test_whose_the_group_is(unified: House, change: Any, owner: int) -> None:
    plan = unified.runtime.plan("c", str(unified.bundle), spec=unified.spec(change, "true"))
    given = [one.title for one in plan.operations if one.spec.endswith("#cgroup-ownership")]
    assert given == ([f"give the cgroup to uid {owner}, to make groups below"] if owner else [])


def test_the_group_is_its_users(unified: House) -> None:
    script = """
        cd /sys/fs/cgroup
        mkdir below && echo 0 > below/cgroup.procs && cat /proc/self/cgroup
        echo 1 > cgroup.max.depth 2>/dev/null && echo depth
        echo 1 > cgroup.freeze 2>/dev/null && echo freeze
        echo 1 > cgroup.kill 2>/dev/null && echo kill
        echo done
        sleep 1000
    """
    with running(unified, "sh", "-c", script, change=given_away(7)) as state:
        path = state.cgroups[""]
        files = {name: os.stat(f"{path}/{name}").st_uid for name in os.listdir(path)}
        assert os.stat(path).st_uid == 100007
        theirs = {name for name, uid in files.items() if uid == 100007 and name != "below"}
        assert theirs == set(cgroups.delegable()) & set(files)
        output = unified.directory / "c.out"
        eventually(lambda: "done" in output.read_text())
        said = output.read_text().splitlines()
    # its own part, and none of its limits
    mine = [line for line in said if not line[0].isdigit() or line.startswith("0::")]
    assert mine == ["0::/below", "done"]

"""Where cgroups go, and what hands controllers down to them: pure, on machines that are not this one."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, Unsupported
from mobyshell.core.oci import default_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Host
from mobyshell.core.runtime.plan import Operation, Plan, show_call
from mobyshell.core.runtime.planner import make_plan

TOP = "/sys/fs/cgroup"
ROOT = Host(cgroup_mode="v2", cgroup_own={"": f"{TOP}/user.slice/session-1.scope"},
            cgroup_roots={"": TOP}, cgroup_usable=TOP,
            cgroup_v2_controllers=("cpuset", "cpu", "io", "memory", "pids", "rdma"))  # fmt: skip
DELEGATED = replace(
    ROOT, euid=1000, egid=1000, cgroup_own={"": f"{TOP}/u/shell"}, cgroup_usable=f"{TOP}/u",
    cgroup_v2_controllers=("memory", "pids"),
)  # fmt: skip


def plan(
    host: Host, resources: dict[str, Any] | None = None, path: str = "", user: bool = False
) -> Plan:
    document = spec_to_json(default_spec(rootless=user, uid=1000, gid=1000))
    document["linux"]["resources"] = resources or {}
    if path:
        document["linux"]["cgroupsPath"] = path
    return make_plan(parse_spec(json.dumps(document)), bundle="/b", id="c", host=host)


def group(host: Host, path: str = "", user: bool = False) -> str:
    return plan(host, path=path, user=user).cgroups[""]


def handing(made: Plan) -> list[Operation]:
    return [one for one in made.operations if one.title.startswith("hand ")]


def test_the_default_group_lies_beside_ours() -> None:
    assert group(ROOT) == f"{TOP}/user.slice/mobyshell-c"
    assert group(replace(ROOT, cgroup_own={"": TOP})) == f"{TOP}/mobyshell-c"
    assert group(DELEGATED, user=True) == f"{TOP}/u/mobyshell-c"
    # nothing but the group we are in was delegated: there is no beside
    alone = replace(DELEGATED, cgroup_own={"": f"{TOP}/u"})
    assert group(alone, user=True) == f"{TOP}/u/mobyshell-c"


def test_a_relative_path_starts_at_the_top_of_what_we_may_use() -> None:
    assert group(ROOT, "pod/one") == f"{TOP}/pod/one"
    assert group(DELEGATED, "pod/one", user=True) == f"{TOP}/u/pod/one"
    assert group(ROOT, "/pod/one") == f"{TOP}/pod/one"
    assert group(DELEGATED, "/u/pod", user=True) == f"{TOP}/u/pod"
    with pytest.raises(
        Unsupported, match=r"below /sys/fs/cgroup/u only, not at /sys/fs/cgroup/pod"
    ):
        group(DELEGATED, "/pod", user=True)


def test_controllers_are_handed_down_level_by_level_from_the_top() -> None:
    made = plan(ROOT, {"memory": {"limit": 1 << 20}, "cpu": {"cpus": "0"}}, path="/a/b/c")
    titles = [one.title for one in made.operations if "cgroup" in one.title]
    assert titles[:6] == [
        f"hand memory, cpuset, cpu, pids, io down to what is below {TOP}",
        f"make the v2 cgroup {TOP}/a, if it is not there",
        f"hand memory, cpuset, cpu, pids, io down to what is below {TOP}/a",
        f"make the v2 cgroup {TOP}/a/b, if it is not there",
        f"hand memory, cpuset, cpu, pids, io down to what is below {TOP}/a/b",
        f"make the v2 cgroup {TOP}/a/b/c",
    ]
    calls = handing(made)[1].calls
    assert show_call(calls[0]).startswith(f'openat(AT_FDCWD, "{TOP}/a/cgroup.subtree_control"')
    writes = [(show_call(one).split(", ")[1], bool(one.tolerate)) for one in calls[1:-1]]
    assert writes == [
        ("'+memory +cpuset +cpu +pids +io'", True), ("'+memory +cpuset'", False)
    ]  # fmt: skip
    assert calls[1].skip_on_success == 1
    hints = dict(handing(made)[1].hints)
    assert f"{TOP}/a has processes itself" in hints[errno.EBUSY]
    assert "no internal processes" in hints[errno.EBUSY]


def test_what_a_group_with_processes_may_hand_down_is_not_handed_down_alone() -> None:
    """The kernel lets it, makes the group threaded, and what is below it unfit for a container."""
    (first, _) = handing(plan(ROOT, {"cpu": {"shares": 5}}))
    writes = [show_call(one).split(", ")[1] for one in first.calls[1:-1]]
    assert writes == ["'+cpu +memory +pids +io'", "'+cpu +memory'"]
    threads = replace(ROOT, cgroup_v2_controllers=("cpu", "pids"))
    assert handing(plan(threads)) == []
    top, below = handing(plan(threads, {"cpu": {"shares": 5}}))
    assert [one.name for one in top.calls] == ["openat", "write", "write", "close"]
    assert [one.name for one in below.calls][:3] == ["openat", "read", "close"]
    assert below.calls[1].expect == 0
    assert below.calls[1].otherwise.startswith("no internal processes")


def test_levels_that_are_there_are_not_made_and_foreign_ones_left_alone() -> None:
    titles = [one.title for one in plan(ROOT).operations if one.title.startswith(("make", "hand"))]
    assert titles[:3] == [
        f"hand cpu, memory, pids, io down to what is below {TOP}",
        f"hand cpu, memory, pids, io down to what is below {TOP}/user.slice",
        f"make the v2 cgroup {TOP}/user.slice/mobyshell-c",
    ]
    delegated = handing(plan(DELEGATED, user=True))
    assert [one.title for one in delegated] == [f"hand memory, pids down to what is below {TOP}/u"]
    # only counted: a file that may not be opened is no reason to fail
    assert delegated[0].calls[0].skip_on_error == len(delegated[0].calls) - 1


def test_a_controller_that_is_not_to_be_had() -> None:
    with pytest.raises(
        Unsupported, match=r"linux.resources.cpu.shares: no cpu controller is avail"
    ) as info:
        plan(DELEGATED, {"cpu": {"shares": 5}}, user=True)
    assert info.value.hint == f"{TOP}/u/cgroup.controllers lists memory, pids"
    with pytest.raises(
        Unsupported, match=r'"misc.max" can\'t be set: controller "misc" not available'
    ):
        plan(ROOT, {"unified": {"misc.max": "res_a 1"}})
    with pytest.raises(Unsupported, match="only cgroup v1 has"):
        plan(ROOT, {"network": {"classID": 5}})
    with pytest.raises(InvalidSpec, match=r"swap = 5 is less than memory.limit = 6"):
        plan(ROOT, {"memory": {"limit": 6, "swap": 5}})


def test_unified_is_written_last_line_by_line() -> None:
    made = plan(ROOT, {"unified": {"io.max": "8:0 rbps=1\n8:16 wbps=2", "cgroup.max.depth": "3"},
                       "pids": {"limit": 4}})  # fmt: skip
    titles = [one.title for one in made.operations if one.source.startswith("linux.resources")]
    assert titles[-3:] == [
        "pids.max = 4", "io.max: 8:0 rbps=1, 8:16 wbps=2", "cgroup.max.depth = 3",
    ]  # fmt: skip


def test_rdma_huge_pages_and_weights() -> None:
    host = replace(ROOT, cgroup_v2_controllers=("io", "rdma", "hugetlb"))
    made = plan(host, {
        "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10}},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4096}],
        "blockIO": {"weight": 100},
    })  # fmt: skip
    by_title = {one.title: one for one in made.operations}
    assert "rdma.max = mlx5_0 hca_handle=3 hca_object=10" in by_title
    assert by_title["hugetlb.2MB.max = 4096"].calls[0].tolerate == ()
    assert by_title["hugetlb.2MB.rsvd.max = 4096"].calls[0].tolerate == (errno.ENOENT,)
    weight = by_title["io.weight = default 910"]
    assert [show_call(one).split(" -> ")[0] for one in weight.calls if "openat" in one.name] == [
        f'openat(AT_FDCWD, "{made.cgroups[""]}/io.weight", O_WRONLY|O_CLOEXEC)',
        f'openat(AT_FDCWD, "{made.cgroups[""]}/io.bfq.weight", O_WRONLY|O_CLOEXEC)',
    ]
    assert (weight.calls[0].skip_on_error, weight.calls[2].skip_on_success) == (2, 3)


def test_what_v2_has_nothing_for_is_noticed() -> None:
    made = plan(ROOT, {"memory": {"limit": 1 << 20, "swappiness": 10}})
    assert (
        "linux.resources.memory.swappiness has no counterpart on cgroup v2, left out"
        in made.notices
    )


def test_a_hybrid_machine_limits_each_controller_where_it_is() -> None:
    hybrid = Host(
        cgroup_mode="hybrid", cgroup_own={"pids": f"{TOP}/pids", "": f"{TOP}/unified/here"},
        cgroup_roots={"pids": f"{TOP}/pids", "": f"{TOP}/unified"}, cgroup_usable=f"{TOP}/unified",
        cgroup_v2_controllers=("hugetlb",),
    )  # fmt: skip
    made = plan(hybrid, {"pids": {"limit": 4}, "hugepageLimits": [{"pageSize": "2MB", "limit": 0}]})
    assert made.cgroups == {
        "pids": f"{TOP}/pids/mobyshell-c",
        "": f"{TOP}/unified/here/mobyshell-c",
    }
    assert [one.title for one in handing(made)] == [
        f"hand hugetlb down to what is below {TOP}/unified",
        f"hand hugetlb down to what is below {TOP}/unified/here",
    ]
    assert any(one.title == "hugetlb.2MB.max = 0" for one in made.operations)
    with pytest.raises(Unsupported, match="this machine has no cpu controller"):
        plan(hybrid, {"cpu": {"shares": 5}})


def test_the_mount_shows_what_the_names_in_proc_are_about() -> None:
    document = spec_to_json(default_spec())
    shown = {}
    for namespace in (False, True):
        if namespace:
            document["linux"]["namespaces"].append({"type": "cgroup"})
        made = make_plan(parse_spec(json.dumps(document)), bundle="/b", id="c", host=ROOT)
        mount = next(
            one for one in made.operations if one.title.endswith("cgroups on /sys/fs/cgroup")
        )
        shown[namespace] = [show_call(one) for one in mount.calls]
    # with the host's cgroup namespace, as runc and crun do
    top = f'open_tree(AT_FDCWD, "{TOP}"'
    assert any(one.startswith(top) for one in shown[False])
    assert any(one.startswith('fsopen("cgroup2"') for one in shown[True])


PAIR = f"{TOP}/cpu,cpuacct"
TOGETHER = Host(
    cgroup_mode="v1", cpuset=("0-1", "0"),
    cgroup_own={"cpu": PAIR, "cpuacct": PAIR, "memory": f"{TOP}/memory"},
    cgroup_roots={"cpu": PAIR, "cpuacct": PAIR, "memory": f"{TOP}/memory"},
)  # fmt: skip


def test_controllers_that_are_mounted_together_have_one_group() -> None:
    made = plan(TOGETHER, {"cpu": {"shares": 512}})
    assert made.cgroups["cpu"] == made.cgroups["cpuacct"] == f"{PAIR}/mobyshell-c"
    titles = [one.title for one in made.operations]
    assert f"make the cpu,cpuacct cgroup {PAIR}/mobyshell-c" in titles
    assert "move into the cpu,cpuacct cgroup" in titles
    assert sum("mobyshell-c" in one and one.startswith("make the ") for one in titles) == 2
    mount = next(one for one in made.operations if one.title.startswith("mount the container's"))
    calls = [show_call(one) for one in mount.calls]
    assert any('"cpu,cpuacct"' in one and one.startswith("mkdirat") for one in calls)
    links = [one for one in calls if one.startswith("symlinkat")]
    assert links == ['symlinkat("cpu,cpuacct", <mount>, "cpu")',
                     'symlinkat("cpu,cpuacct", <mount>, "cpuacct")']  # fmt: skip


def test_root_of_a_user_namespace_is_not_the_machines() -> None:
    """As under podman of a user: devices are bound, and no program is loaded into the kernel."""
    inside = replace(
        ROOT, in_user_namespace=True, uid=1000, set_groups=False, cgroup_writable=False
    )
    made = plan(inside)
    assert made.cgroups == {}
    calls = [show_call(one) for operation in made.operations for one in operation.calls]
    assert not any(one.startswith("mknodat") for one in calls)
    assert any(one.title.startswith("bind the default devices") for one in made.operations)
    assert not any("@filter" in one or one.startswith("bpf") for one in calls)
    assert any(one.title.startswith("make the default devices") for one in plan(ROOT).operations)
    (groups,) = [
        one for operation in made.operations for one in operation.calls if one.name == "setgroups"
    ]
    assert groups.tolerate == (errno.EPERM,)


def test_who_stays_in_the_runtimes_groups_sees_these() -> None:
    inside = replace(ROOT, in_user_namespace=True, uid=1000, cgroup_writable=False)
    document = spec_to_json(default_spec())
    document["linux"]["resources"] = {}
    document["linux"]["namespaces"] = [{"type": "mount"}, {"type": "uts"}]
    entry = {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["ro"],
    }
    document["mounts"] = [entry]
    made = make_plan(parse_spec(json.dumps(document)), bundle="/b", id="c", host=inside)
    (shown,) = [one for one in made.operations if one.source == "mounts[0]"]
    assert any(f'"{TOP}"' in show_call(one) for one in shown.calls)
    bare = replace(inside, cgroup_own={}, cgroup_mode="none")
    made = make_plan(parse_spec(json.dumps(document)), bundle="/b", id="c", host=bare)
    assert "/sys/fs/cgroup: no cgroup to show, left empty" in made.notices

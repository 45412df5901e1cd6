"""When and where a container runs, as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import scheduling
from mobyshell.core.oci import ExecCPUAffinity, IOPriority, Scheduler
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]
Change = Callable[[Document], object]


def process(**members: Any) -> Change:
    return lambda document: document["process"].update(members)


def looked_at(house: House, change: Change, look: Callable[[int], Any]) -> Any:
    """What `look` finds of the init of a running container, with no difference in `diff`."""
    container = house.create("c", house.spec(change, "sleep", "1000"))
    run(house.runtime.start("c"))
    try:
        wrong = [one for one in house.runtime.diff("c") if one.agrees is False]
        assert wrong == []
        return look(container.pid)
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"policy": "SCHED_OTHER", "nice": 7}, {"policy": 0, "nice": 7}),
        ({"policy": "SCHED_BATCH", "nice": 19}, {"policy": 3, "nice": 19}),
        ({"policy": "SCHED_IDLE"}, {"policy": 5}),
        ({"policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"]}, {"policy": 3, "flags": 1}),
    ],
)  # fmt: skip
def test_scheduler(house: House, given: Document, expected: Document) -> None:
    found = looked_at(house, process(scheduler=given), scheduling.attributes)
    assert {name: getattr(found, name) for name in expected} == expected


def realtime_allowed() -> bool:
    """Whether the cpu controller gives new cgroups a share of real time (CONFIG_RT_GROUP_SCHED)."""
    return not any(Path("/sys/fs/cgroup").glob("cpu*/cpu.rt_runtime_us"))


@pytest.mark.parametrize("policy", ["SCHED_FIFO", "SCHED_RR"])
def test_real_time(house: House, policy: str) -> None:
    change = process(scheduler={"policy": policy, "priority": 3})
    if realtime_allowed():
        found = looked_at(house, change, scheduling.attributes)
        assert (found.policy, found.priority) == (scheduling.POLICIES[policy], 3)
        return
    with pytest.raises(SyscallFailed, match=f"schedule it by {policy}") as caught:
        house.create("c", house.spec(change, "true"))
    assert "cpu.rt_runtime_us" in caught.value.hint


def test_deadline_of_an_exec(house: House) -> None:
    container = house.create("c", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("c"))
    one = Scheduler(policy="SCHED_DEADLINE", flags=("SCHED_FLAG_RESET_ON_FORK",),
                    runtime=42000, deadline=100000, period=1000000)  # fmt: skip
    try:
        try:
            assert house.exec("c", "true", scheduler=one).status == 0
        except SyscallFailed as error:  # a machine whose CPUs are not all ours
            assert "AllowedCPUs" in error.hint
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


def test_io_priority(house: House) -> None:
    given = {"class": "IOPRIO_CLASS_BE", "priority": 6}
    found = looked_at(house, process(ioPriority=given), scheduling.io_priority)
    assert found == ("IOPRIO_CLASS_BE", 6)


def test_personality(house: House) -> None:
    given = {"domain": "LINUX32"}
    machine = house.sh("uname -m", lambda d: d["linux"].update(personality=given))
    assert machine == [{"x86_64": "i686", "aarch64": "armv8l"}.get(os.uname().machine)]
    found = looked_at(
        house, lambda d: d["linux"].update(personality=given),
        lambda pid: Path(f"/proc/{pid}/personality").read_text().strip(),
    )  # fmt: skip
    assert int(found, 16) & 0xFF == 8


def test_memory_policy(house: House) -> None:
    def policy_of(pid: int) -> str:
        return Path(f"/proc/{pid}/numa_maps").read_text().split()[1]

    def change(document: Document) -> None:
        document["linux"]["memoryPolicy"] = {
            "mode": "MPOL_BIND",
            "nodes": "0",
            "flags": ["MPOL_F_STATIC_NODES"],
        }

    if not os.path.exists("/proc/self/numa_maps"):
        with pytest.raises(SyscallFailed, match="set_mempolicy"):
            house.create("c", house.spec(change, "true"))
        return
    assert looked_at(house, change, policy_of) == "bind=static:0"
    with pytest.raises(SyscallFailed, match="take memory by MPOL_BIND, nodes 63"):
        house.create(
            "c", house.spec(lambda d: d["linux"].update(
                memoryPolicy={"mode": "MPOL_BIND", "nodes": "63"}), "true"))  # fmt: skip


CPUS = sorted(os.sched_getaffinity(0))


def test_the_callers_affinity_is_not_the_containers(house: House) -> None:
    os.sched_setaffinity(0, CPUS[:1])
    try:
        (line,) = house.sh("grep Cpus_allowed_list /proc/self/status")
    finally:
        os.sched_setaffinity(0, CPUS)
    found = scheduling.bits(line.split()[1])
    assert all(found >> cpu & 1 for cpu in CPUS)


def test_affinity_of_an_exec(house: House) -> None:
    first, last = str(CPUS[0]), str(CPUS[-1])
    container = house.create(
        "c", house.spec(process(execCPUAffinity={"initial": first, "final": last}), "sleep", "1000")
    )
    run(house.runtime.start("c"))
    show = ("grep", "Cpus_allowed_list", "/proc/self/status")
    try:
        assert house.exec("c", *show).output.split()[1] == last
        other = ExecCPUAffinity(initial=last, final=first)
        assert house.exec("c", *show, exec_cpu_affinity=other).output.split()[1] == first
        with pytest.raises(SyscallFailed) as caught:
            house.exec("c", *show, exec_cpu_affinity=ExecCPUAffinity(final="1000"))
        assert "1000" in caught.value.hint
        idle = IOPriority(cls="IOPRIO_CLASS_IDLE")
        batch = Scheduler(policy="SCHED_BATCH", nice=3)
        done = house.exec("c", "sh", "-c", "ionice; cut -d ' ' -f 19,41 /proc/self/stat",
                          io_priority=idle, scheduler=batch)  # fmt: skip
        assert done.output.split()[0].startswith("idle")
        assert done.output.splitlines()[-1].split() == ["3", "3"]
    finally:
        run(house.runtime.kill("c", 9))
        house.finish(container)


@pytest.mark.parametrize(
    ("text", "mask"), [("0", 1), ("0-2,5", 0b100111), (" 63 - 64", 3 << 63), ("1,1", 2)]
)
def test_lists_of_cpus(text: str, mask: int) -> None:
    assert scheduling.bits(text) == mask
    assert int.from_bytes(scheduling.mask_bytes(mask), "little") == mask
    assert len(scheduling.mask_bytes(mask)) % 8 == 0


def test_unknown_capabilities_are_told_in_runcs_words(house: House) -> None:
    def change(document: Document) -> None:
        for names in document["process"]["capabilities"].values():
            names += ["CAP_NONSENSE", "CAP_ANOTHER"]

    plan = house.runtime.plan("c", str(house.bundle), spec=house.spec(change, "true"))
    ignored = "ignoring unknown or unavailable capabilities: [CAP_ANOTHER CAP_NONSENSE]"
    assert plan.notices[0] == ignored
    assert house.run("true", change=change).status == 0

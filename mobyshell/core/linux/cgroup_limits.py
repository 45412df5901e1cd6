"""`linux.resources` as writes into control files: pure translation, for version 1 and version 2.

Owns the knowledge of which file takes which field, in which order and unit
(config-linux.md#control-groups; Documentation/admin-guide/cgroup-v1/, cgroup-v2.rst). Takes and
gives plain values; touches nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from mobyshell.core.errors import InvalidSpec, Unsupported
from mobyshell.core.linux.cgroups import Write

_R = "linux.resources"


def limits(resources: Mapping[str, Any], groups: Collection[str]) -> tuple[Write, ...]:
    """The writes for a container that has `groups` (v1 controllers; "" is v2).

    What v1 has is limited there, the rest on v2: on a hybrid machine each controller is in one of
    the two. Device rules are writes on v1 only. A write for a controller that neither has is
    returned for v1; the caller sees that it is not among `groups`.
    """
    if not [name for name in groups if name and not name.startswith("name=")] and "" in groups:
        return limits_v2(resources)
    writes = limits_v1(resources)
    if "" not in groups:
        return writes
    if "devices" not in groups:
        writes = tuple(one for one in writes if one.controller != "devices")
    lacking = {one.source for one in writes if one.controller not in groups}
    if not lacking:
        return writes
    unified = tuple(one for one in limits_v2(resources) if one.source in lacking)
    moved = {one.source for one in unified}
    return (*(one for one in writes if one.source not in moved), *unified)


def limits_v1(resources: Mapping[str, Any]) -> tuple[Write, ...]:
    """The writes for the v1 controllers."""
    return (
        *_devices(resources.get("devices") or ()),
        *_memory_v1(resources.get("memory") or {}),
        *_cpu_v1(resources.get("cpu") or {}),
        *_pids(resources.get("pids") or {}, "pids"),
        *_block_v1(resources.get("blockIO") or {}),
        *_huge_pages(resources.get("hugepageLimits") or (), "limit_in_bytes", "hugetlb"),
        *_network(resources.get("network") or {}),
        *_rdma(resources.get("rdma") or {}, "rdma"),
    )


def limits_v2(resources: Mapping[str, Any]) -> tuple[Write, ...]:
    """The writes for the v2 hierarchy (devices are not files there: see `device_filter`).

    Unsupported for what v2 cannot limit at all.
    """
    if any((resources.get("network") or {}).values()):
        raise Unsupported(
            f"{_R}.network needs the net_cls and net_prio controllers, which only cgroup v1 has",
            hint="on v2, match packets by cgroup in nftables (`socket cgroupv2`)",
        )
    return (
        *_memory_v2(resources.get("memory") or {}),
        *_cpu_v2(resources.get("cpu") or {}),
        *_pids(resources.get("pids") or {}, ""),
        *_block_v2(resources.get("blockIO") or {}),
        *_huge_pages(resources.get("hugepageLimits") or (), "max", ""),
        *_rdma(resources.get("rdma") or {}, ""),
        # last: what it says of a file wins. A line is a write: io.max takes one device at a time
        *(
            Write("", file, line, f'{_R}.unified["{file}"]')
            for file, value in (resources.get("unified") or {}).items()
            for line in str(value).splitlines() or ("",)
        ),
    )


def without_v2(resources: Mapping[str, Any]) -> tuple[str, ...]:
    """The members that v2 has nothing for, and that are left out there (as runc does)."""
    members = {
        "memory": ("kernel", "kernelTCP", "swappiness", "disableOOMKiller"),
        "cpu": ("realtimeRuntime", "realtimePeriod"), "blockIO": ("leafWeight",),
    }  # fmt: skip
    return tuple(
        f"{_R}.{family}.{name}"
        for family, names in members.items()
        for name in names
        if (resources.get(family) or {}).get(name)
    )


def without_v1(resources: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that v1 has a file for, in which Linux takes any value since 5.16 and looks at none
    (Documentation/admin-guide/cgroup-v1/memory.rst); runc leaves it out as well."""
    limit = (resources.get("memory") or {}).get("kernel")
    return (f"{_R}.memory.kernel",) if limit and limit != -1 else ()


def device_line(rule: Mapping[str, Any]) -> str:
    """A device rule in the notation of devices.allow: `c 1:3 rwm`."""
    kind = rule.get("type") or "a"
    if kind == "a" and rule.get("major") is None and rule.get("minor") is None:
        return "a" if (rule.get("access") or "rwm") == "rwm" else f"a *:* {rule['access']}"

    def number(key: str) -> str:
        value = rule.get(key)
        return "*" if value is None or value < 0 else str(value)

    return f"{kind} {number('major')}:{number('minor')} {rule.get('access') or 'rwm'}"


# what every container may use, whatever the rules say (config-linux.md#default-devices); the
# first two only make nodes: that gives no access yet
DEFAULT_RULES: Sequence[Mapping[str, Any]] = (
    {"allow": True, "type": "c", "access": "m"}, {"allow": True, "type": "b", "access": "m"},
    *({"allow": True, "type": "c", "major": major, "minor": minor, "access": "rwm"}
      for major, minor in ((1, 3), (1, 8), (1, 7), (5, 0), (1, 5), (1, 9), (136, -1), (5, 2))),
)  # fmt: skip


def _devices(rules: Sequence[Mapping[str, Any]]) -> list[Write]:
    writes = []
    for index, rule in enumerate(rules):
        file = "devices.allow" if rule.get("allow") else "devices.deny"
        writes.append(Write("devices", file, device_line(rule), f"{_R}.devices[{index}]"))
    if rules:
        writes += [
            Write("devices", "devices.allow", device_line(rule), "") for rule in DEFAULT_RULES
        ]
    return writes


def _limit(value: int) -> str:
    """-1 is no limit, in v1's spelling."""
    return str(value)


def _memory_v1(memory: Mapping[str, Any]) -> list[Write]:
    names = {
        "limit": "memory.limit_in_bytes", "swap": "memory.memsw.limit_in_bytes",
        "reservation": "memory.soft_limit_in_bytes", "swappiness": "memory.swappiness",
    }  # fmt: skip
    order = ["limit", "swap", "reservation", "swappiness"]
    if memory.get("swap") == -1:
        # memory + swap may never be below memory: the wider one is opened first
        order = ["swap", "limit", "reservation", "swappiness"]
    writes = [
        Write("memory", names[key], _limit(memory[key]), f"{_R}.memory.{key}")
        for key in order
        if memory.get(key) or (key == "swappiness" and memory.get(key) == 0)
    ]
    if memory.get("kernelTCP"):
        # a kernel without the file limits nothing, which is as good as no limit only if that is asked
        nothing = memory["kernelTCP"] == -1
        writes.append(
            Write("memory", "memory.kmem.tcp.limit_in_bytes", _limit(memory["kernelTCP"]),
                  f"{_R}.memory.kernelTCP", optional=nothing)
        )  # fmt: skip
    if memory.get("disableOOMKiller"):
        source = f"{_R}.memory.disableOOMKiller"
        writes.append(Write("memory", "memory.oom_control", "1", source))
    if memory.get("useHierarchy"):
        source = f"{_R}.memory.useHierarchy"
        writes.insert(0, Write("memory", "memory.use_hierarchy", "1", source))
    return writes


_ZERO = ("idle", "burst")
"""For these 0 is a value; for the others it is the absence of one, as with runc."""

_ABSENT: Mapping[str, tuple[str, ...]] = {
    "memory": ("limit", "reservation", "swap", "kernel", "kernelTCP"),
    "cpu": ("shares", "quota", "period", "realtimeRuntime", "realtimePeriod"),
    "blockIO": ("weight", "leafWeight"),
}


def given(resources: Mapping[str, Any]) -> dict[str, Any]:
    """`resources` without the members whose 0 says that nothing is given.

    dockerd sends a 0 for each limit of its own that an update leaves alone, and runc takes it so.
    """
    return {
        family: {key: one for key, one in value.items() if one != 0 or key not in _ABSENT[family]}
        if family in _ABSENT and isinstance(value, Mapping)
        else value
        for family, value in resources.items()
    }


def _cpu_v1(cpu: Mapping[str, Any]) -> list[Write]:
    names = (
        ("shares", "cpu", "cpu.shares"), ("period", "cpu", "cpu.cfs_period_us"),
        ("quota", "cpu", "cpu.cfs_quota_us"), ("burst", "cpu", "cpu.cfs_burst_us"),
        ("realtimePeriod", "cpu", "cpu.rt_period_us"),
        ("realtimeRuntime", "cpu", "cpu.rt_runtime_us"), ("idle", "cpu", "cpu.idle"),
        ("cpus", "cpuset", "cpuset.cpus"), ("mems", "cpuset", "cpuset.mems"),
    )  # fmt: skip
    return [
        # a kernel that knows no burst has none
        Write(controller, file, str(cpu[key]), f"{_R}.cpu.{key}", optional=cpu[key] == 0)
        for key, controller, file in names
        if cpu.get(key) not in (None, "", 0) or (key in _ZERO and cpu.get(key) == 0)
    ]


def _pids(pids: Mapping[str, Any], controller: str) -> list[Write]:
    limit = pids.get("limit")
    if limit is None:
        return []
    # 0 is a limit since runtime-spec 1.3: no further process. So is 1, and with it there is room
    # for the first one at its birth into the cgroup; runc 1.4 writes it so, too
    text = "max" if limit < 0 else str(max(limit, 1))
    return [Write(controller, "pids.max", text, f"{_R}.pids.limit")]


_THROTTLE = (
    ("throttleReadBpsDevice", "read_bps", "rbps"), ("throttleWriteBpsDevice", "write_bps", "wbps"),
    ("throttleReadIOPSDevice", "read_iops", "riops"),
    ("throttleWriteIOPSDevice", "write_iops", "wiops"),
)  # fmt: skip


def _block_v1(block: Mapping[str, Any]) -> list[Write]:
    writes = []
    for key, file in (("weight", "blkio.bfq.weight"), ("leafWeight", "blkio.leaf_weight")):
        if block.get(key):
            writes.append(Write("blkio", file, str(block[key]), f"{_R}.blockIO.{key}"))
    for index, entry in enumerate(block.get("weightDevice") or ()):
        source = f"{_R}.blockIO.weightDevice[{index}]"
        device = f"{entry['major']}:{entry['minor']}"
        if entry.get("weight"):
            value = f"{device} {entry['weight']}"
            writes.append(Write("blkio", "blkio.bfq.weight_device", value, source))
    for key, v1, _ in _THROTTLE:
        for index, entry in enumerate(block.get(key) or ()):
            value = f"{entry['major']}:{entry['minor']} {entry['rate']}"
            source = f"{_R}.blockIO.{key}[{index}]"
            writes.append(Write("blkio", f"blkio.throttle.{v1}_device", value, source))
    return writes


def _huge_pages(entries: Sequence[Mapping[str, Any]], suffix: str, controller: str) -> list[Write]:
    """What is used, and (Linux 5.7) what is reserved: without the second a mapping that reserves
    too much is killed at its first touch instead of being refused."""
    return [
        Write(controller, f"hugetlb.{entry['pageSize']}.{kind}{suffix}", str(entry["limit"]),
              f"{_R}.hugepageLimits[{index}]", optional=bool(kind))
        for index, entry in enumerate(entries)
        for kind in ("", "rsvd.")
    ]  # fmt: skip


def _rdma(devices: Mapping[str, Mapping[str, Any]], controller: str) -> list[Write]:
    """Documentation/admin-guide/cgroup-v1/rdma.rst; v2 has the same file."""
    writes = []
    for name, entry in devices.items():
        given = (("hca_handle", entry.get("hcaHandles")), ("hca_object", entry.get("hcaObjects")))
        words = [f"{key}={value}" for key, value in given if value is not None]
        if words:
            value = " ".join((name, *words))
            writes.append(Write(controller, "rdma.max", value, f'{_R}.rdma["{name}"]'))
    return writes


def _network(network: Mapping[str, Any]) -> list[Write]:
    writes = []
    if network.get("classID"):
        value = str(network["classID"])
        writes.append(Write("net_cls", "net_cls.classid", value, f"{_R}.network.classID"))
    for index, entry in enumerate(network.get("priorities") or ()):
        value = f"{entry['name']} {entry['priority']}"
        source = f"{_R}.network.priorities[{index}]"
        writes.append(Write("net_prio", "net_prio.ifpriomap", value, source))
    return writes


def _memory_v2(memory: Mapping[str, Any]) -> list[Write]:
    writes = []
    limit, swap = memory.get("limit"), memory.get("swap")
    if limit == -1 and not swap:
        swap = -1  # none at all, as on v1, where memory + swap can never be less than memory
    if swap is not None and swap != 0:
        if swap == -1:
            value = "max"
        elif limit is None or limit == -1:
            raise Unsupported(
                f"{_R}.memory.swap needs a memory limit on cgroup v2",
                hint="v1 counts memory + swap together, v2 counts swap alone: set memory.limit too",
            )
        elif swap < limit:
            raise InvalidSpec(
                f"{_R}.memory.swap = {swap} is less than memory.limit = {limit}",
                hint="it is memory + swap: the same number allows no swap",
            )
        else:
            value = str(swap - limit)
        # a kernel that does not count swap has no file: nothing to limit, or nothing to open up
        nothing = value in ("max", "0")
        source = f"{_R}.memory.{'swap' if memory.get('swap') else 'limit'}"
        writes.append(Write("", "memory.swap.max", value, source, optional=nothing))
    if limit is not None and limit != 0:
        value = "max" if limit == -1 else str(limit)
        writes.append(Write("", "memory.max", value, f"{_R}.memory.limit"))
    if memory.get("reservation"):
        value = "max" if memory["reservation"] == -1 else str(memory["reservation"])
        writes.append(Write("", "memory.low", value, f"{_R}.memory.reservation"))
    return writes


def shares_to_weight(shares: int) -> int:
    """v1 cpu.shares [2, 262144] as v2 cpu.weight [1, 10000], by the linear formula of KEP-2254."""
    return 1 + (min(max(shares, 2), 262144) - 2) * 9999 // 262142


def _cpu_v2(cpu: Mapping[str, Any]) -> list[Write]:
    writes = []
    if cpu.get("idle") is not None:
        writes.append(Write("", "cpu.idle", str(cpu["idle"]), f"{_R}.cpu.idle"))
    if cpu.get("shares"):
        value = str(shares_to_weight(cpu["shares"]))
        writes.append(Write("", "cpu.weight", value, f"{_R}.cpu.shares"))
    quota, period = cpu.get("quota"), cpu.get("period")
    if quota or period:
        text = "max" if not quota or quota < 0 else str(quota)
        value = f"{text} {period or 100000}"
        source = f"{_R}.cpu.{'quota' if quota else 'period'}"
        writes.append(Write("", "cpu.max", value, source))
    if cpu.get("burst") is not None:
        writes.append(Write("", "cpu.max.burst", str(cpu["burst"]), f"{_R}.cpu.burst"))
    for key in ("cpus", "mems"):
        if cpu.get(key):
            writes.append(Write("", f"cpuset.{key}", str(cpu[key]), f"{_R}.cpu.{key}"))
    return writes


def blkio_to_io_weight(weight: int) -> int:
    """v1 blkio weight [10, 1000] as v2 io.weight [1, 10000]."""
    return 1 + (min(max(weight, 10), 1000) - 10) * 9999 // 990


def _block_v2(block: Mapping[str, Any]) -> list[Write]:
    writes = []
    # io.weight is iocost's; a kernel with the BFQ scheduler alone has a file of its own, in v1's unit
    bfq = "io.bfq.weight"
    if block.get("weight"):
        source = f"{_R}.blockIO.weight"
        value = f"default {blkio_to_io_weight(block['weight'])}"
        other = (bfq, str(block["weight"]))
        writes.append(Write("", "io.weight", value, source, otherwise=other))
    for index, entry in enumerate(block.get("weightDevice") or ()):
        if entry.get("weight"):
            source = f"{_R}.blockIO.weightDevice[{index}]"
            weight = blkio_to_io_weight(entry["weight"])
            device = f"{entry['major']}:{entry['minor']}"
            other = (bfq, f"{device} {entry['weight']}")
            writes.append(Write("", "io.weight", f"{device} {weight}", source, otherwise=other))
    for key, _, v2 in _THROTTLE:
        for index, entry in enumerate(block.get(key) or ()):
            value = f"{entry['major']}:{entry['minor']} {v2}={entry['rate']}"
            writes.append(Write("", "io.max", value, f"{_R}.blockIO.{key}[{index}]"))
    return writes

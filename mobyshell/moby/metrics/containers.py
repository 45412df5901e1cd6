"""What cgroups count, by the names that containerd gives it (metrics/cgroups/v1 and v2).

Owns the two lists of names. A dashboard for containerd works here; which of the lists it is depends on
the machine, and on a machine with both it is v1's, as there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from mobyshell.runc.counters import ControlFiles

LARGEST = (1 << 63) - 4096
"""What v1 says where there is no limit (a page short of the highest number)."""


class Sample(NamedTuple):
    """One number. `labels` beside the container's own."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str] = {}


def samples(paths: Mapping[str, str]) -> Iterator[Sample]:
    """All that the cgroups at `paths` (controller → directory, v2: "") count. What is not counted here
    is left out."""
    files = ControlFiles(paths)
    yield from _v1(files) if {"cpuacct", "memory", "pids"} & set(paths) else _v2(files)


# v1

_MEMORY_V1 = (
    "cache", "rss", "rss_huge", "mapped_file", "dirty", "writeback", "pgpgin", "pgpgout", "pgfault",
    "pgmajfault", "inactive_anon", "active_anon", "inactive_file", "active_file", "unevictable",
    "hierarchical_memory_limit", "hierarchical_memsw_limit",
)  # fmt: skip
_USAGES = {"usage": "", "swap": "memsw.", "kernel": "kmem.", "kerneltcp": "kmem.tcp."}
_USAGE = (("limit", "limit_in_bytes"), ("usage", "usage_in_bytes"), ("max", "max_usage_in_bytes"))


def _v1(files: ControlFiles) -> Iterator[Sample]:
    if "cpuacct" in files.paths:
        yield Sample(
            "cpu_total_nanoseconds", "The total cpu time", files.number("cpuacct", "cpuacct.usage")
        )
        times = files.fields("cpuacct", "cpuacct.stat")
        tick = 10_000_000
        yield Sample(
            "cpu_kernel_nanoseconds", "The total kernel cpu time", times.get("system", 0) * tick
        )
        yield Sample("cpu_user_nanoseconds", "The total user cpu time", times.get("user", 0) * tick)
        for cpu, value in enumerate(files.numbers("cpuacct", "cpuacct.usage_percpu")):
            yield Sample(
                "per_cpu_nanoseconds", "The total cpu time per cpu", value, {"cpu": str(cpu)}
            )
    stat = files.fields("cpu", "cpu.stat")
    for name, key, unit in (
        ("cpu_throttle_periods", "nr_periods", "total"),
        ("cpu_throttled_periods", "nr_throttled", "total"),
        ("cpu_throttled_time", "throttled_time", "nanoseconds"),
    ):
        if key in stat:
            yield Sample(f"{name}_{unit}", "Of the throttling of cpu time", stat[key])
    yield from _memory_v1(files)
    yield from _pids(files, "pids")
    yield from _blkio(files)
    yield from _hugetlb(files)


def _memory_v1(files: ControlFiles) -> Iterator[Sample]:
    if "memory" not in files.paths:
        return
    raw = files.fields("memory", "memory.stat")
    for prefix in ("", "total_"):
        for name in _MEMORY_V1:
            if prefix + name in raw:
                yield Sample(f"memory_{prefix}{name}_bytes", f"memory.stat's {prefix}{name}",
                             raw[prefix + name])  # fmt: skip
    for kind, part in _USAGES.items():
        for name, file in _USAGE:
            path = f"memory.{part}{file}"
            if files.text("memory", path):
                yield Sample(f"memory_{kind}_{name}_bytes", f"The {kind} memory's {name}",
                             files.number("memory", path))  # fmt: skip
        if files.text("memory", f"memory.{part}failcnt"):
            yield Sample(f"memory_{kind}_failcnt_total", f"How often the {kind} limit was hit",
                         files.number("memory", f"memory.{part}failcnt"))  # fmt: skip
    kills = files.fields("memory", "memory.oom_control")
    if "oom_kill" in kills:
        yield Sample("memory_oom_total", "Processes killed for want of memory", kills["oom_kill"])


_BLKIO = {
    "io_service_bytes_recursive": "bytes", "io_serviced_recursive": "total",
    "io_queued_recursive": "total", "io_service_time_recursive": "total",
    "io_wait_time_recursive": "total", "io_merged_recursive": "total", "io_time_recursive": "total",
    "sectors_recursive": "total",
}  # fmt: skip
_SCHEDULERS = ("blkio.", "blkio.bfq.", "blkio.throttle.")
"""Who counts: CFQ, BFQ, else the throttling, whichever has seen anything."""


def _blkio(files: ControlFiles) -> Iterator[Sample]:
    devices = _devices()
    for name, unit in _BLKIO.items():
        for scheduler in _SCHEDULERS:
            found = list(_of_devices(files.text("blkio", f"{scheduler}{name}")))
            for device, op, value in found:
                major, _, minor = device.partition(":")
                labels = {"op": op, "device": devices.get(device, ""), "major": major,
                          "minor": minor}  # fmt: skip
                yield Sample(f"blkio_{name}_{unit}", f"The blkio {name}", value, labels)
            if found:
                break


def _of_devices(text: str) -> Iterator[tuple[str, str, int]]:
    """(device, operation or "", number) of the lines of one of blkio's files."""
    for line in text.splitlines():
        words = line.split()
        if len(words) in (2, 3) and ":" in words[0] and words[-1].isdecimal():
            yield words[0], words[1] if len(words) == 3 else "", int(words[-1])


def _devices() -> dict[str, str]:
    """The files of the machine's block devices, by their numbers."""
    try:
        with open("/proc/partitions") as file:
            lines = [line.split() for line in file]
    except OSError:
        return {}
    return {f"{one[0]}:{one[1]}": f"/dev/{one[3]}" for one in lines
            if len(one) == 4 and one[0].isdecimal()}  # fmt: skip


def _hugetlb(files: ControlFiles) -> Iterator[Sample]:
    for size, one in files.hugetlb().items():
        for name, value in one.items():
            unit = "total" if name == "failcnt" else "bytes"
            yield Sample(f"hugetlb_{name}_{unit}", f"The hugetlb {name}", value, {"page": size})


# v2

_CPU_V2 = (
    ("usage_usec", "microseconds"), ("user_usec", "microseconds"), ("system_usec", "microseconds"),
    ("nr_periods", "total"), ("nr_throttled", "total"), ("throttled_usec", "microseconds"),
)  # fmt: skip
_MEMORY_V2 = {
    "anon": "anon", "file": "file", "kernel_stack": "kernel_stack", "slab": "slab",
    "slab_reclaimable": "slab_reclaimable", "slab_unreclaimable": "slab_unreclaimable",
    "sock": "sock", "shmem": "shmem", "file_mapped": "file_mapped", "file_dirty": "file_dirty",
    "file_writeback": "file_writeback", "anon_thp": "anon_thp", "inactive_anon": "inactive_anon",
    "active_anon": "active_anon", "inactive_file": "inactive_file", "active_file": "active_file",
    "unevictable": "unevictable", "pgfault": "pgfault", "pgmajfault": "pgmajfault",
    "workingset_refault": "workingset_refault_anon", "workingset_activate": "workingset_activate_anon",
    "workingset_nodereclaim": "workingset_nodereclaim", "pgrefill": "pgrefill", "pgscan": "pgscan",
    "pgsteal": "pgsteal", "pgactivate": "pgactivate", "pgdeactivate": "pgdeactivate",
    "pglazyfree": "pglazyfree", "pglazyfreed": "pglazyfreed", "thp_fault_alloc": "thp_fault_alloc",
    "thp_collapse_alloc": "thp_collapse_alloc",
}  # fmt: skip


def _v2(files: ControlFiles) -> Iterator[Sample]:
    stat = files.fields("", "cpu.stat")
    for key, unit in _CPU_V2:
        if key in stat:
            yield Sample(f"cpu_{key}_{unit}", f"cpu.stat's {key}", stat[key])
    raw = files.fields("", "memory.stat")
    for name, key in _MEMORY_V2.items():
        if key in raw:
            yield Sample(f"memory_{name}_bytes", f"memory.stat's {key}", raw[key])
    for name, file in (
        ("usage", "memory.current"), ("usage_limit", "memory.max"),
        ("swap_usage", "memory.swap.current"), ("swap_limit", "memory.swap.max"),
    ):  # fmt: skip
        if files.text("", file):
            yield Sample(f"memory_{name}_bytes", file, files.limit("", file))
    events = files.fields("", "memory.events")
    if "oom" in events:
        yield Sample("memory_oom_total", "How often memory could not be had", events["oom"])
    yield from _pids(files, "")
    for line in files.text("", "io.stat").splitlines():
        device, _, rest = line.partition(" ")
        major, _, minor = device.partition(":")
        for word in rest.split():
            key, _, value = word.partition("=")
            if key in ("rbytes", "wbytes", "rios", "wios") and value.isdecimal():
                unit = "bytes" if key.endswith("bytes") else "total"
                yield Sample(f"io_{key}_{unit}", f"io.stat's {key}", int(value),
                             {"major": major, "minor": minor})  # fmt: skip
    yield from _hugetlb(files)


def _pids(files: ControlFiles, controller: str) -> Iterator[Sample]:
    if files.text(controller, "pids.current"):
        yield Sample(
            "pids_current", "The current number of pids", files.number(controller, "pids.current")
        )
        limit = files.text(controller, "pids.max")
        most = int(limit) if limit.isdecimal() else 0
        if not controller:  # no limit is the largest number of v2, and none of v1
            most = files.limit("", "pids.max")
        yield Sample("pids_limit", "The limit to the number of pids allowed", most)

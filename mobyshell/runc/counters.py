"""What cgroups count, in the JSON that `runc events --stats` writes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import cgroups


def counted(paths: Mapping[str, str]) -> dict[str, Any]:
    """The counters of the cgroups `paths`; what is not counted here is 0, empty or left out."""
    reader = (
        _V1(paths) if "cpuacct" in paths or "memory" in paths or "pids" in paths else _V2(paths)
    )
    return {
        "cpu": reader.cpu(),
        "cpuset": reader.cpuset(),
        "memory": reader.memory(),
        "pids": reader.pids(),
        "blkio": reader.blkio(),
        "hugetlb": reader.hugetlb(),
        "intel_rdt": {},
        "network_interfaces": None,
    }


def oom_kills(paths: Mapping[str, str]) -> int:
    """How many processes the kernel has killed there for want of memory."""
    if "memory" in paths:
        return ControlFiles(paths).fields("memory", "memory.oom_control").get("oom_kill", 0)
    return ControlFiles(paths).fields("", "memory.events").get("oom_kill", 0)


class ControlFiles:
    """Control files, read forgivingly: what is not there counts nothing."""

    def __init__(self, paths: Mapping[str, str]) -> None:
        self.paths = paths

    def text(self, controller: str, file: str) -> str:
        path = self.paths.get(controller)
        if path is None:
            return ""
        try:
            return cgroups.read(path, file)
        except SyscallFailed:
            return ""

    def number(self, controller: str, file: str) -> int:
        text = self.text(controller, file)
        return int(text) if text.lstrip("-").isdecimal() else 0

    def numbers(self, controller: str, file: str) -> list[int]:
        return [int(one) for one in self.text(controller, file).split() if one.isdecimal()]

    def fields(self, controller: str, file: str) -> dict[str, int]:
        found = {}
        for line in self.text(controller, file).splitlines():
            key, _, value = line.partition(" ")
            if value.strip().isdecimal():
                found[key] = int(value)
        return found

    def limit(self, controller: str, file: str) -> int:
        """A limit; `max` is the largest number there is."""
        return (
            (1 << 64) - 1 if self.text(controller, file) == "max" else self.number(controller, file)
        )

    def hugetlb(self) -> dict[str, Any]:
        """By size of page, as the control files name them."""
        path = self.paths.get("hugetlb", self.paths.get(""))
        controller = "hugetlb" if "hugetlb" in self.paths else ""
        usage, top, failed = (
            ("usage_in_bytes", "max_usage_in_bytes", "failcnt")
            if controller
            else ("current", "", "events")
        )
        found = {}
        for name in sorted(os.listdir(path)) if path and os.path.isdir(path) else ():
            words = name.split(".")
            if len(words) == 3 and words[0] == "hugetlb" and words[2] == usage:
                base = f"hugetlb.{words[1]}"
                one = {"usage": self.number(controller, name)}
                if top:
                    one["max"] = self.number(controller, f"{base}.{top}")
                    one["failcnt"] = self.number(controller, f"{base}.{failed}")
                else:
                    one["failcnt"] = self.fields("", f"{base}.{failed}").get("max", 0)
                found[words[1]] = one
        return found

    def set_of(self, controller: str, file: str) -> list[int]:
        """The numbers of a list such as `0-3,8`."""
        found: list[int] = []
        for part in self.text(controller, file).split(","):
            first, _, last = part.partition("-")
            if first.strip().isdecimal():
                found += range(int(first), int(last or first) + 1)
        return found


class _V1(ControlFiles):
    def cpu(self) -> dict[str, Any]:
        stat = self.fields("cpu", "cpu.stat")
        times = self.fields("cpuacct", "cpuacct.stat")
        tick = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        return {
            "usage": {
                "total": self.number("cpuacct", "cpuacct.usage"),
                "percpu": self.numbers("cpuacct", "cpuacct.usage_percpu"),
                "percpu_kernel": self.numbers("cpuacct", "cpuacct.usage_percpu_sys"),
                "percpu_user": self.numbers("cpuacct", "cpuacct.usage_percpu_user"),
                "kernel": times.get("system", 0) * tick,
                "user": times.get("user", 0) * tick,
            },
            "throttling": {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_time", 0),
            },
        }

    def cpuset(self) -> dict[str, Any]:
        def flag(name: str) -> int:
            return self.number("cpuset", f"cpuset.{name}")

        return {
            "cpus": self.set_of("cpuset", "cpuset.cpus"),
            "cpu_exclusive": flag("cpu_exclusive"),
            "mems": self.set_of("cpuset", "cpuset.mems"),
            "mem_hardwall": flag("mem_hardwall"),
            "mem_exclusive": flag("mem_exclusive"),
            "memory_migrate": flag("memory_migrate"),
            "memory_spread_page": flag("memory_spread_page"),
            "memory_spread_slab": flag("memory_spread_slab"),
            "memory_pressure": flag("memory_pressure"),
            "sched_load_balance": flag("sched_load_balance"),
            "sched_relax_domain_level": flag("sched_relax_domain_level"),
        }

    def _usage(self, kind: str) -> dict[str, int]:
        base = f"memory.{kind}." if kind else "memory."
        return {
            "limit": self.number("memory", f"{base}limit_in_bytes"),
            "usage": self.number("memory", f"{base}usage_in_bytes"),
            "max": self.number("memory", f"{base}max_usage_in_bytes"),
            "failcnt": self.number("memory", f"{base}failcnt"),
        }

    def memory(self) -> dict[str, Any]:
        raw = self.fields("memory", "memory.stat")
        return {
            "cache": raw.get("cache", 0),
            "usage": self._usage(""),
            "swap": self._usage("memsw"),
            "kernel": self._usage("kmem"),
            "kernelTCP": self._usage("kmem.tcp"),
            "raw": raw,
        }

    def pids(self) -> dict[str, int]:
        found = {"current": self.number("pids", "pids.current")}
        if self.text("pids", "pids.max") != "max":
            found["limit"] = self.number("pids", "pids.max")
        return found

    def blkio(self) -> dict[str, Any]:
        names = {
            "ioServiceBytesRecursive": "io_service_bytes_recursive",
            "ioServicedRecursive": "io_serviced_recursive",
        }
        found = {}
        for key, name in names.items():
            rows = self._entries(f"blkio.bfq.{name}") or self._entries(f"blkio.throttle.{name}")
            if rows:
                found[key] = rows
        return found

    def _entries(self, file: str) -> list[dict[str, Any]]:
        rows = []
        for line in self.text("blkio", file).splitlines():
            words = line.split()
            if len(words) == 3:
                major, _, minor = words[0].partition(":")
                rows.append({"major": int(major), "minor": int(minor), "op": words[1],
                             "value": int(words[2])})  # fmt: skip
        return rows


class _V2(ControlFiles):
    def cpu(self) -> dict[str, Any]:
        stat = self.fields("", "cpu.stat")
        return {
            "usage": {
                "total": stat.get("usage_usec", 0) * 1000,
                "kernel": stat.get("system_usec", 0) * 1000,
                "user": stat.get("user_usec", 0) * 1000,
            },
            "throttling": {
                "periods": stat.get("nr_periods", 0),
                "throttledPeriods": stat.get("nr_throttled", 0),
                "throttledTime": stat.get("throttled_usec", 0) * 1000,
            },
        }

    def cpuset(self) -> dict[str, Any]:
        return {
            "cpus": self.set_of("", "cpuset.cpus.effective"),
            "mems": self.set_of("", "cpuset.mems.effective"),
        }

    def memory(self) -> dict[str, Any]:
        raw = self.fields("", "memory.stat")
        events = self.fields("", "memory.events")
        usage = self.number("", "memory.current")
        return {
            "cache": raw.get("file", 0),
            "usage": {
                "limit": self.limit("", "memory.max"),
                "usage": usage,
                "max": self.number("", "memory.peak"),
                "failcnt": events.get("max", 0),
            },
            "swap": {
                # in v1's sense: memory and swap together
                "limit": min(
                    self.limit("", "memory.swap.max") + self.limit("", "memory.max"), (1 << 64) - 1
                ),
                "usage": self.number("", "memory.swap.current") + usage,
                "failcnt": 0,
            },
            "kernel": {"failcnt": 0},
            "kernelTCP": {"failcnt": 0},
            "raw": raw,
        }

    def pids(self) -> dict[str, int]:
        found = {"current": self.number("", "pids.current")}
        if self.text("", "pids.max") not in ("max", ""):
            found["limit"] = self.number("", "pids.max")
        return found

    def blkio(self) -> dict[str, Any]:
        kinds = {"rbytes": ("bytes", "Read"), "wbytes": ("bytes", "Write"),
                 "rios": ("count", "Read"), "wios": ("count", "Write")}  # fmt: skip
        rows: dict[str, list[dict[str, Any]]] = {"bytes": [], "count": []}
        for line in self.text("", "io.stat").splitlines():
            device, _, rest = line.partition(" ")
            major, _, minor = device.partition(":")
            for word in rest.split():
                key, _, value = word.partition("=")
                if key in kinds and value.isdecimal():
                    where, op = kinds[key]
                    rows[where].append({"major": int(major), "minor": int(minor), "op": op,
                                        "value": int(value)})  # fmt: skip
        return {
            "ioServiceBytesRecursive": rows["bytes"],
            "ioServicedRecursive": rows["count"],
        }

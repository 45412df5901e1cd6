"""The cgroups of the container against `linux.cgroupsPath` and `linux.resources`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.cgroup_limits import DEFAULT_RULES, limits
from mobyshell.core.linux.cgroups import Write
from mobyshell.core.oci import Spec, spec_to_json
from mobyshell.core.runtime.diff.words import line, listed, size, unknown
from mobyshell.core.runtime.groups import filters_devices
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference

_BYTES = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes", "memory.soft_limit_in_bytes",
          "memory.max", "memory.low", "memory.swap.max")  # fmt: skip
_PAGE = 4096


def limit_lines(spec: Spec, state: State) -> Iterator[Difference]:
    """Membership first, then limit by limit."""
    if not state.cgroups:
        return
    yield _membership(state)
    resources = spec.linux.resources if spec.linux else None
    if resources is None:
        return
    asked = spec_to_json(resources)
    writes = limits(asked, state.cgroups)
    if asked.get("devices") and filters_devices(state.cgroups):
        yield _filter(asked["devices"], state)
    devices = [one for one in writes if one.file.startswith("devices.")]
    if devices:
        yield _devices(devices, state)
    for one in writes:
        there = state.cgroups.get(one.controller)
        if one.optional and there and not os.path.exists(f"{there}/{one.file}"):
            continue  # this kernel does without
        if one not in devices:
            yield _limit(one, state)


def _membership(state: State) -> Difference:
    where = {name or "v2": path for name, path in state.cgroups.items()}
    missing = [name for name, path in where.items() if state.pid not in cgroups.processes(path)]
    wanted = f"in {len(where)} cgroups"
    found = f"not in: {listed(missing)}" if missing else wanted
    return line("linux.cgroupsPath", wanted, found, next(iter(where.values())))


def _devices(writes: list[Write], state: State) -> Difference:
    """The rules in their order against the list that the kernel keeps of what is allowed."""
    rules: dict[str, None] = {}
    for one in writes:
        if one.value == "a":
            rules = {"a *:* rwm": None} if one.file == "devices.allow" else {}
        elif one.file == "devices.allow" and "a *:* rwm" not in rules:
            rules[one.value] = None
        else:
            rules.pop(one.value, None)
    try:
        found = set(cgroups.read(state.cgroups["devices"], "devices.list").splitlines())
    except (KeyError, MobyshellError):
        return unknown("linux.resources.devices", f"{len(rules)} rules", "no devices.list here")
    wanted = set(rules)
    more, less = sorted(found - wanted), sorted(wanted - found)
    words = f"{len(wanted)} rules"
    if not more and not less:
        return line("linux.resources.devices", words, words, "allowed is what is listed")
    parts = [f"more: {', '.join(more)}"] * bool(more) + [f"less: {', '.join(less)}"] * bool(less)
    return line("linux.resources.devices", words, "; ".join(parts))


def _filter(rules: list[dict[str, Any]], state: State) -> Difference:
    """The program of the rules, by its tag, against those on the v2 group."""
    from mobyshell.core.linux import device_filter

    where, wanted = "linux.resources.devices", f"the filter of {len(rules)} rules"
    code = device_filter.program((*rules, *DEFAULT_RULES))
    try:
        found = device_filter.attached(state.cgroups[""])
    except (OSError, MobyshellError):
        return unknown(where, wanted, "only root may look at BPF programs")
    if any(tag in device_filter.tags(code) for _, tag in found):
        return line(where, wanted, wanted, "attached to the v2 cgroup")
    names = listed([name or "one without a name" for name, _ in found])
    return line(where, wanted, f"others: {names}" if found else "none")


def _limit(write: Write, state: State) -> Difference:
    try:
        found = cgroups.read(state.cgroups[write.controller], write.file)
    except (KeyError, MobyshellError):
        if write.otherwise is not None:
            file, value = write.otherwise
            return _limit(replace(write, file=file, value=value, otherwise=None), state)
        return unknown(write.source, _shown(write, write.value), f"no {write.file} here")
    first, _, rest = write.value.partition(" ")
    if rest and ":" in first:
        # a line for each device; io.max has more on it than was written
        row = next((text for text in found.splitlines() if text.startswith(f"{first} ")), "none")
        agrees = set(rest.split()) <= set(row.split())
        return Difference(write.source, write.value, write.value if agrees else row, agrees,
                          write.file)  # fmt: skip
    if write.file == "memory.oom_control":
        found = found.partition("\n")[0].removeprefix("oom_kill_disable ")
    if write.file in ("io.weight", "io.bfq.weight"):
        found = found.partition("\n")[0]
    if write.file == "rdma.max":
        name = write.value.partition(" ")[0]
        found = next((text for text in found.splitlines() if text.startswith(f"{name} ")), "none")
        agrees = set(write.value.split()) <= set(found.split())
        return Difference(write.source, write.value, write.value if agrees else found, agrees,
                          write.file)  # fmt: skip
    if write.source.startswith("linux.resources.unified"):
        return _unified(write, found)
    return Difference(
        write.source, _shown(write, write.value), _shown(write, found),
        _same(write, found), write.file,
    )  # fmt: skip


def _unified(write: Write, found: str) -> Difference:
    """A file as somebody wrote it: the kernel shows some with defaults beside what was written."""
    wanted = write.value.removeprefix("default ")
    shown = found.removeprefix("default ").splitlines()
    agrees = any(set(wanted.split()) <= set(line.split()) for line in shown) or (
        wanted.isdecimal() and len(shown) == 1 and shown[0].isdecimal()
        and int(wanted) // _PAGE * _PAGE == int(shown[0])
    )  # fmt: skip
    words = wanted if agrees else " ".join(shown) or "nothing"
    return Difference(write.source, wanted, words, agrees, write.file)


def _same(write: Write, found: str) -> bool:
    if write.file.startswith("cpuset."):
        return _cpus(write.value) == _cpus(found)
    if write.file in _BYTES:
        if _unlimited(write.value) or _unlimited(found):
            return _unlimited(write.value) and _unlimited(found)
        # the kernel counts pages
        return int(write.value) // _PAGE * _PAGE == int(found)
    return write.value == found


def _cpus(text: str) -> set[int]:
    """`0-2,5` as numbers (cpuset(7), "List format")."""
    numbers: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        try:
            numbers.update(range(int(low), int(high or low) + 1))
        except ValueError:
            continue
    return numbers


def _unlimited(value: str) -> bool:
    """v1 shows no limit as the largest multiple of a page (page_counter.h)."""
    return value in ("-1", "max") or (value.isdecimal() and int(value) >= 2**63 - 65536)


def _shown(write: Write, value: str) -> str:
    if _unlimited(value):
        return "unlimited"
    if write.file in _BYTES and value.isdecimal():
        return size(int(value))
    return value

"""A container as a unit of systemd: its name and place, and its limits as properties. Pure.

Sources: systemd.resource-control(5), systemd.slice(5), org.freedesktop.systemd1(5); cgroupsPath as
`slice:prefix:name`, and the annotations `org.systemd.property.NAME`, as runc reads them. What a
property cannot say is written into the control files all the same, by us, once the unit is there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.linux.cgroup_limits import DEFAULT_RULES, limits_v2, shares_to_weight
from mobyshell.core.linux.systemd import Property

ANNOTATION = "org.systemd.property."
_NONE = 2**64 - 1
"""systemd's CGROUP_LIMIT_MAX, "infinity"."""


_MOST_CPUS = 1 << 16


@dataclass(frozen=True, slots=True)
class Unit:
    """A transient unit. `path`: its cgroup, below the root of the manager's."""

    name: str
    slice: str

    @property
    def path(self) -> str:
        return f"{expand_slice(self.slice).rstrip('/')}/{self.name}"

    @property
    def is_slice(self) -> bool:
        return self.name.endswith(".slice")


def unit_of(cgroups_path: str, id: str, *, user: bool) -> Unit:
    """The unit that `cgroupsPath` means; without one, a scope in the slice for services, or for
    users. InvalidSpec if it is not `slice:prefix:name`."""
    slice, prefix, name = "", "mobyshell", id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3 or "/" in parts[1] + parts[2] or not parts[2]:
            raise InvalidSpec(
                'expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, '
                f'got "{cgroups_path:.200}" instead'
            )
        slice, prefix, name = parts
    if not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    unit = Unit(name, slice or ("user.slice" if user else "system.slice"))
    expand_slice(unit.slice)
    return unit


def expand_slice(name: str) -> str:
    """The cgroup of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)). InvalidSpec."""
    stem = name.removesuffix(".slice")
    if name == "-.slice":
        return "/"
    parts = stem.split("-")
    if stem == name or "/" in name or "" in parts:
        raise InvalidSpec(f"invalid slice name: {name:.200}")
    return "/" + "/".join("-".join(parts[: end + 1]) + ".slice" for end in range(len(parts)))


def start_properties(
    unit: Unit, id: str, resources: Mapping[str, Any], annotations: Mapping[str, str],
    *, v2: bool,
) -> list[Property]:  # fmt: skip
    """What the unit is started with, but for its first process (`PIDs`)."""
    belongs: Property = (
        ("Wants", ("as", [unit.slice])) if unit.is_slice else ("Slice", ("s", unit.slice))
    )
    found: list[Property] = [("Description", ("s", f"container {id}")), belongs]
    if not unit.is_slice:
        found.append(("Delegate", ("b", True)))
    accounting = ("Memory", "CPU", "IO" if v2 else "BlockIO", "Tasks")
    found += [(f"{one}Accounting", ("b", True)) for one in accounting]
    found.append(("DefaultDependencies", ("b", False)))
    found += annotated(annotations)
    return found + limit_properties(resources, v2=v2)


def annotated(annotations: Mapping[str, str]) -> list[Property]:
    """The properties in `org.systemd.property.*`. Names that end in Sec are seconds; systemd's own
    are in microseconds, and end in USec."""
    from mobyshell.core.runtime import gvariant

    found: list[Property] = []
    for key, text in annotations.items():
        name = key.removeprefix(ANNOTATION)
        if name == key:
            continue
        if not (name.isascii() and name.isalpha() and name[0].isupper()):
            raise InvalidSpec(f"annotations[{key}]: not the name of a property of systemd")
        kind, value = gvariant.parse(text, f"annotations[{key}]")
        if name.endswith("Sec") and not name.endswith("USec"):
            if kind not in "ynqiuxtd" or not 0 <= value * 1_000_000 < _NONE:
                raise InvalidSpec(f"annotations[{key}] = {text:.100}: not a number of seconds")
            name, kind, value = name.removesuffix("Sec") + "USec", "t", int(value * 1_000_000)
        found.append((name, (kind, value)))
    return found


def limit_properties(resources: Mapping[str, Any], *, v2: bool) -> list[Property]:
    """`linux.resources` as far as systemd has words for it; also for an update."""
    memory, cpu = resources.get("memory") or {}, resources.get("cpu") or {}
    found: list[Property] = []

    def add(name: str, value: int | None) -> None:
        if value:
            found.append((name, ("t", _NONE if value < 0 else value)))

    if resources.get("devices"):
        found += device_properties(resources["devices"])
    add("MemoryMax" if v2 else "MemoryLimit", memory.get("limit"))
    if v2:
        add("MemoryLow", memory.get("reservation"))
        swap = [one for one in limits_v2({"memory": memory}) if one.file == "memory.swap.max"]
        if swap and memory.get("swap"):
            value = _NONE if swap[0].value == "max" else int(swap[0].value)
            found.append(("MemorySwapMax", ("t", value)))
    if cpu.get("idle") and v2:
        found.append(("CPUWeight", ("t", 0)))
    elif cpu.get("shares"):
        shares = cpu["shares"]
        add("CPUWeight" if v2 else "CPUShares", shares_to_weight(shares) if v2 else shares)
    found += _quota(cpu.get("quota"), cpu.get("period"))
    add("TasksMax", (resources.get("pids") or {}).get("limit"))
    for name, key in (("AllowedCPUs", "cpus"), ("AllowedMemoryNodes", "mems")):
        if cpu.get(key):
            found.append((name, ("ay", mask(cpu[key]))))
    if not v2:
        add("BlockIOWeight", (resources.get("blockIO") or {}).get("weight"))
    return found + _unified(resources.get("unified") or {})


def _quota(quota: int | None, period: int | None) -> list[Property]:
    found: list[Property] = []
    if period:
        found.append(("CPUQuotaPeriodUSec", ("t", period)))
    if quota:
        second = _NONE
        if quota > 0:
            # systemd counts in steps of 10 ms of a second: rounded up, not to give less
            second = -(-quota * 1_000_000 // (period or 100_000) // 10_000) * 10_000
            second = min(second, _NONE)
        found.append(("CPUQuotaPerSecUSec", ("t", second)))
    return found


_UNIFIED = {
    "cpu.weight": "CPUWeight", "memory.min": "MemoryMin", "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh", "memory.max": "MemoryMax", "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
}  # fmt: skip


def _unified(files: Mapping[str, str]) -> list[Property]:
    found: list[Property] = []
    for file, value in files.items():
        text = value.strip()
        if file in _UNIFIED and (text == "max" or text.isdecimal()):
            found.append((_UNIFIED[file], ("t", _NONE if text == "max" else _number(text))))
        elif file == "cpu.max":
            quota, _, period = text.partition(" ")
            number = -1 if quota == "max" else _number(quota) if quota.isdecimal() else 0
            found += _quota(number, _number(period) if period.strip().isdecimal() else None)
        elif file in ("cpuset.cpus", "cpuset.mems") and text:
            name = "AllowedCPUs" if file == "cpuset.cpus" else "AllowedMemoryNodes"
            found.append((name, ("ay", mask(text))))
    return found


def _number(digits: str) -> int:
    """As large as D-Bus has them; it is for the control file to refuse what is too much."""
    return min(int(digits[:40]), _NONE)


def mask(numbers: str) -> bytes:
    """`0-2,9` as systemd takes it: a bit each, the lowest byte first."""
    bits = 0
    try:
        for part in numbers.split(","):
            low, _, high = part.strip().partition("-")
            if int(high or low) >= _MOST_CPUS:
                raise ValueError
            for one in range(int(low), int(high or low) + 1):
                bits |= 1 << one
    except ValueError:
        raise InvalidSpec(f"not a list of CPUs or nodes: {numbers:.100}") from None
    return bits.to_bytes(max((bits.bit_length() + 7) // 8, 1), "little")


def device_properties(rules: Sequence[Mapping[str, Any]]) -> list[Property]:
    """Device rules as systemd's own list. It knows no denials after what is allowed: there it
    allows more, and what we put on the group ourselves decides."""
    everything = True
    allowed: list[tuple[str, str]] = []
    for rule in (*rules, *DEFAULT_RULES):
        whole = all(rule.get(one) in (None, -1) for one in ("major", "minor"))
        kind, access = rule.get("type") or "a", rule.get("access") or "rwm"
        if kind == "a" and whole and set(access) == set("rwm"):
            everything, allowed = bool(rule.get("allow")), []
        elif rule.get("allow"):
            kinds = ("c", "b") if kind == "a" else (kind,)
            allowed += [(_device(one, rule), access) for one in kinds]
    if everything:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    unique = list(dict.fromkeys(allowed))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", unique))]


def _device(kind: str, rule: Mapping[str, Any]) -> str:
    major, minor = rule.get("major"), rule.get("minor")
    word = "char" if kind == "c" else "block"
    if major is None or major < 0:
        return f"{word}-*"
    # by number, so that neither a node nor a line of /proc/devices need be there
    return f"{word}-{major}" if minor is None or minor < 0 else f"/dev/{word}/{major}:{minor}"


def to_json(properties: Sequence[Property]) -> str:
    """Properties as text, for a plan."""
    return json.dumps([(name, kind, list(value) if isinstance(value, bytes) else value)
                       for name, (kind, value) in properties])  # fmt: skip


def from_json(text: str) -> list[Property]:
    """What `to_json` wrote."""
    return [
        (name, (kind, bytes(value) if kind == "ay" else _shaped(kind, value)))
        for name, kind, value in json.loads(text)
    ]


def _shaped(kind: str, value: Any) -> Any:
    """JSON has lists where D-Bus has tuples."""
    if kind.startswith("a") and isinstance(value, list):
        return [_shaped(kind[1:], one) for one in value]
    return tuple(value) if kind.startswith("(") else value

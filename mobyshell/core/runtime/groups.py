"""Where a container's cgroups go, and the operations that make and limit them. Pure.

Owns the places: on v1 and beside it below the runtime's own group; on v2 alone beside it, because
a group with processes in it can hand no controllers down (no internal processes). An absolute
cgroupsPath starts at the hierarchy's root, a relative one at the highest group that we may use.
"""

from __future__ import annotations

import os.path
from binascii import crc32
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from mobyshell.core.errors import Unsupported
from mobyshell.core.linux.cgroup_limits import limits, without_v1, without_v2
from mobyshell.core.linux.cgroups import Write, together
from mobyshell.core.oci import Linux, Mount, Spec, spec_to_json
from mobyshell.core.runtime.host import Host
from mobyshell.core.runtime.operations import cgroup_mounts, cgroups, mounts
from mobyshell.core.runtime.plan import Operation, Phase
from mobyshell.core.values import replace

TYPE_CHECKING = False  # see commands.registry
if TYPE_CHECKING:
    from mobyshell.core.runtime.units import Unit

COUNTED = ("cpu", "memory", "pids", "io")
"""v2 controllers that every container gets where they are to be had: statistics come from them."""


THREADED = ("cpu", "cpuset", "perf_event", "pids")
"""v2 controllers that a group with processes may hand down, becoming a threaded one (cgroup-v2.rst,
"Threads")."""


def resources_of(linux: Linux) -> dict[str, Any]:
    """`linux.resources` as JSON values; empty if there are none."""
    return spec_to_json(linux.resources) if linux.resources is not None else {}


def default_name(root: Path, id: str) -> str:
    """What a container's cgroup is called if its spec does not say it: equal ids of different roots
    have different ones."""
    family = root.name if root.parent.name == "mobyshell" else f"{crc32(bytes(root)):08x}"
    return f"mobyshell-{family}-{id}"


def choose(linux: Linux, host: Host, default: str, notices: list[str]) -> dict[str, str]:
    """Controller ("" for v2) → directory of the container's cgroup; empty where none can be made.

    `default` is its name if the spec has no cgroupsPath. Raises Unsupported for limits where no
    group can be made, and for a cgroupsPath that this user may not use.
    """
    if not host.cgroup_own:
        return {}
    if not host.cgroup_writable:
        asked = resources_of(linux)
        if {key: value for key, value in asked.items() if key != "devices" and value}:
            raise Unsupported(
                "limits are asked for, but this user may not make cgroups",
                hint="run as root, or have the cgroup delegated to this user",
            )
        notices.append("no cgroups: they are not writable for this user")
        return {}
    path = linux.cgroups_path or ""
    groups = {}
    for controller, own in host.cgroup_own.items():
        if path.startswith("/"):
            base = host.cgroup_root(controller)
        elif host.cgroup_mode != "v2":
            base = own
        else:
            base = host.cgroup_top if path else beside(own, host.cgroup_top)
        groups[controller] = os.path.normpath(f"{base}/{(path or default).strip('/')}")
    unified = groups.get("")
    if host.cgroup_mode == "v2" and unified and not _below(unified, host.cgroup_top):
        raise Unsupported(
            f"linux.cgroupsPath = {path}: this user may make cgroups below "
            f"{host.cgroup_top} only, not at {unified}",
            hint="a path without a leading / starts there",
        )
    return groups


def beside(own: str, usable: str) -> str:
    """The group in which groups beside `own` are made; `own` itself if we may use no more."""
    return own if own == usable else os.path.dirname(own)


def _below(path: str, top: str) -> bool:
    return path.startswith(f"{top}/")


def prepare(
    linux: Linux, host: Host, groups: Mapping[str, str], notices: list[str],
    entered: Phase = Phase.PREPARE,
) -> list[Operation]:  # fmt: skip
    """The operations that make `groups` and limit them, in the phase `entered` those that a child
    enters and is not born in. Unsupported for limits there are not."""
    asked = resources_of(linux)
    writes = checked(asked, host, groups) if groups else ()
    operations: list[Operation] = []
    for controller, path in together(groups).items():
        if controller == "":
            needed = {one.needs: one.source for one in writes if not one.controller and one.needs}
            operations += _unified(host, path, needed)
            continue
        operations.append(replace(_version_1(host, controller, path), phase=entered))
    return operations + _limiting(asked, writes, host, groups, notices, entered)


def _version_1(host: Host, controller: str, path: str, *, shared: bool = False) -> Operation:
    names = controller.split(",")
    base = host.cgroup_own[names[0]]
    if not _below(path, base):
        base = host.cgroup_root(names[0])
    cpus, nodes = host.cpuset
    inherit = [("cpuset.cpus", cpus), ("cpuset.mems", nodes)] if "cpuset" in names else []
    return cgroups.make(controller, path, base, inherit, shared=shared)


def _limiting(
    asked: Mapping[str, Any], writes: Sequence[Write], host: Host, groups: Mapping[str, str],
    notices: list[str], entered: Phase = Phase.PREPARE,
) -> list[Operation]:  # fmt: skip
    if set(groups) == {""}:
        notices += [f"{one} has no counterpart on cgroup v2, left out" for one in without_v2(asked)]
    elif "memory" in groups:
        notices += [
            f"{one} limits nothing in Linux any more, left out" for one in without_v1(asked)
        ]
    operations = []
    for group in cgroups.grouped(writes):
        controller = group[0].controller
        limits = cgroups.limits(group, groups[controller])
        operations.append(replace(limits, phase=entered) if controller else limits)
    rules = asked.get("devices") or ()
    if rules and filters_devices(groups):
        if host.privileged:
            from mobyshell.core.runtime.operations.device_filter import filter_devices

            operations.append(filter_devices(groups[""], rules))
        else:
            notices.append(
                "linux.resources.devices is not enforced: that takes a BPF program, which only "
                "root may load; without root there are no device nodes either"
            )
    return operations


UNMANAGED = ("cpuset", "freezer", "hugetlb", "misc", "net_cls", "net_prio", "perf_event", "rdma")
"""Controllers in which systemd makes no groups on v1; on v2 it knows cpuset of them."""


def as_unit(linux: Linux, host: Host, id: str) -> tuple[Unit, dict[str, str]]:
    """The unit that a container is to be, and where systemd puts its groups: below its root, or
    below the user's manager.

    InvalidSpec for a cgroupsPath that names none; Unsupported without cgroups, or for a user
    where systemd delegates none (v1).
    """
    from mobyshell.core.runtime.units import unit_of

    unit = unit_of(linux.cgroups_path or "", id, user=host.uid != 0)
    top = "" if host.uid == 0 else f"/user.slice/user-{host.uid}.slice/user@{host.uid}.service"
    if not host.cgroup_own or (top and host.cgroup_mode != "v2"):
        raise Unsupported(
            f"systemd has no cgroups to give on this machine ({host.cgroup_mode})",
            hint="users' own systemd has them on cgroup v2 alone" if top else "",
        )
    return unit, {name: f"{host.cgroup_root(name)}{top}{unit.path}" for name in host.cgroup_own}


def attach_unit(
    spec: Spec, host: Host, id: str, unit: Unit, groups: Mapping[str, str], notices: list[str]
) -> list[Operation]:
    """The operations that have systemd start `unit` around the child, and then make and limit
    what systemd does not."""
    from mobyshell.core.runtime.operations.units import start_unit
    from mobyshell.core.runtime.units import start_properties

    asked = resources_of(spec.linux) if spec.linux else {}
    writes = checked(asked, host, groups)
    properties = start_properties(
        unit, id, asked, spec.annotations or {}, v2=host.cgroup_mode == "v2"
    )
    operations = [start_unit(unit, properties)]
    if host.cgroup_mode != "v2":
        for name, path in together(groups).items():
            operations.append(_version_1(host, name, path, shared=True))
            operations.append(cgroups.attach_child(name, path))
    elif unit.is_slice:
        operations.append(cgroups.attach_child("", groups[""]))
    needed = {
        one.needs: one.source
        for one in writes
        if not one.controller
        and one.needs in UNMANAGED
        and one.needs != "cpuset"
        and host.cgroup_mode == "v2"
    }
    if needed:
        level = os.path.dirname(groups[""])
        operations.append(cgroups.enable(level, needed, (), next(iter(needed)), root=False))
    operations += _limiting(asked, writes, host, groups, notices)
    return [replace(one, phase=Phase.ATTACH) for one in operations]


def filters_devices(groups: Collection[str]) -> bool:
    """Whether device rules are a program on the v2 group here, not files of a v1 controller."""
    return "" in groups and "devices" not in groups


def mount(
    index: int, entry: Mount, linux: Linux, host: Host, groups: dict[str, str], bundle: str,
    notices: list[str], label: str | None,
) -> Operation:  # fmt: skip
    """The mount of type cgroup: the container's, or those it stays in; an empty tmpfs where there
    are no cgroups to show. `label`: as of `mounts.mount`."""
    if shown := groups or dict(host.cgroup_own):
        inside = any(one.type == "cgroup" for one in linux.namespaces or ())
        top = host.cgroup_root("") if "" in shown else ""
        return cgroup_mounts.mount(
            index, entry, shown, host.cgroup_mode, top=top, namespace=inside, label=label
        )
    notices.append(f"{entry.destination}: no cgroup to show, left empty")
    kept = tuple(one for one in entry.options or () if one in ("nosuid", "noexec", "nodev", "ro"))
    empty = replace(entry, type="tmpfs", source="tmpfs", options=kept)
    return mounts.mount(index, empty, bundle, label=label)


def _unified(host: Host, path: str, needed: Mapping[str, str]) -> list[Operation]:
    """The v2 group, with what it needs handed down to it from the first level that we may use."""
    available = host.cgroup_v2_controllers
    wanted = [one for one in COUNTED if one in available] if host.cgroup_mode == "v2" else []
    names = (*needed, *wanted, *available)
    witness = next((one for one in names if one not in THREADED and one in available), "")
    top = host.cgroup_top if _below(path, host.cgroup_top) else host.cgroup_root("")
    levels = [top]
    for step in path.removeprefix(top).strip("/").split("/")[:-1]:
        levels.append(f"{levels[-1]}/{step}")
    operations = []
    for level in levels:
        if not f"{host.cgroup_own['']}/".startswith(f"{level}/"):
            operations.append(cgroups.level(level))
        if needed or (wanted and witness):
            root = level == host.cgroup_root("")
            operations.append(cgroups.enable(level, needed, wanted, witness, root=root))
    return [*operations, cgroups.make("", path, os.path.dirname(path), ())]


def checked(asked: Mapping[str, Any], host: Host, groups: Mapping[str, str]) -> tuple[Write, ...]:
    """The writes for `linux.resources`. Unsupported for a controller that this machine lacks."""
    if host.cgroup_mode != "v2" and asked.get("unified"):
        raise Unsupported(
            "linux.resources.unified needs cgroup v2 alone",
            hint=f"this machine has {host.cgroup_mode}: use the members for each controller",
        )
    writes = limits(asked, groups)
    for one in writes:
        if one.controller not in groups:
            raise Unsupported(
                f"{one.source}: this machine has no {one.controller} controller",
                hint="`mobyshell doctor` lists the controllers",
            )
        if not one.controller and one.needs and one.needs not in host.cgroup_v2_controllers:
            raise _not_there(one, host)
    return writes


def _not_there(write: Write, host: Host) -> Unsupported:
    where = host.cgroup_top
    hint = f"{where}/cgroup.controllers lists {_listed(host.cgroup_v2_controllers)}"
    if write.source.startswith("linux.resources.unified"):
        message = f'unified resource "{write.file}" can\'t be set: controller "{write.needs}" not available'
    elif host.cgroup_mode == "hybrid":
        message = f"{write.source}: this machine has no {write.needs} controller"
    else:
        message = f"{write.source}: no {write.needs} controller is available below {where}"
    return Unsupported(message, hint=hint)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"

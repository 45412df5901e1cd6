"""`linux`: namespaces, devices, limits and what else only Linux has (config-linux.md)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci.formats import INTERFACE, LINE, NUMBER_LIST
from mobyshell.core.oci.kinds import (
    I64,
    ID,
    array,
    boolean,
    extras,
    integer,
    mapping,
    member,
    one_of,
    record,
    text,
)  # fmt: skip
from mobyshell.core.oci.process import IDMapping
from mobyshell.core.oci.resources import Resources
from mobyshell.core.oci.seccomp import Seccomp
from mobyshell.core.values import named_value

NAMESPACES = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")

PROPAGATIONS = (
    "shared", "rshared", "slave", "rslave", "private", "rprivate", "unbindable", "runbindable",
)  # fmt: skip


@named_value
class Namespace:
    """A namespace: a new one, or the existing one at `path`."""

    type: str = member("type", one_of(*NAMESPACES), required=True)
    path: str | None = member("path", text(absolute=True))
    extra: dict[str, Any] = extras()


@named_value
class Device:
    """A device node to be made."""

    path: str = member("path", text(absolute=True), required=True)
    type: str = member("type", one_of("c", "b", "u", "p"), required=True)
    major: int | None = member("major", I64)
    minor: int | None = member("minor", I64)
    file_mode: int | None = member("fileMode", integer(0, 0o177777))
    uid: int | None = member("uid", ID)
    gid: int | None = member("gid", ID)
    extra: dict[str, Any] = extras()


@named_value
class NetDevice:
    """A network device of the host to be moved in (runtime-spec 1.3); `name` is its new one."""

    name: str | None = member("name", INTERFACE)
    extra: dict[str, Any] = extras()


@named_value
class TimeOffset:
    """How far a clock is ahead in a time namespace."""

    secs: int | None = member("secs", I64)
    nanosecs: int | None = member("nanosecs", integer(0, 999_999_999))
    extra: dict[str, Any] = extras()


@named_value
class IntelRdt:
    """Cache and memory bandwidth allocation of Intel processors."""

    clos_id: str | None = member("closID", text())
    schemata: tuple[str, ...] | None = member("schemata", array(LINE))
    l3_cache_schema: str | None = member("l3CacheSchema", LINE)
    mem_bw_schema: str | None = member("memBwSchema", LINE)
    enable_cmt: bool | None = member("enableCMT", boolean)
    enable_mbm: bool | None = member("enableMBM", boolean)
    enable_monitoring: bool | None = member("enableMonitoring", boolean)
    extra: dict[str, Any] = extras()


@named_value
class Personality:
    """The execution domain (personality(2))."""

    domain: str = member("domain", one_of("LINUX", "LINUX32"), required=True)
    flags: tuple[str, ...] | None = member("flags", array(text()))
    extra: dict[str, Any] = extras()


MEMORY_MODES = (
    "MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE", "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY", "MPOL_LOCAL",
)  # fmt: skip
MEMORY_FLAGS = ("MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES")


@named_value
class MemoryPolicy:
    """The NUMA memory policy (set_mempolicy(2))."""

    mode: str = member("mode", one_of(*MEMORY_MODES), required=True)
    nodes: str | None = member("nodes", NUMBER_LIST)
    flags: tuple[str, ...] | None = member("flags", array(one_of(*MEMORY_FLAGS)))
    extra: dict[str, Any] = extras()


_MAPPINGS = "config-linux.md#user-namespace-mappings"


@named_value
class Linux:
    """Everything that is Linux's own."""

    uid_mappings: tuple[IDMapping, ...] | None = member(
        "uidMappings", array(record(IDMapping)), _MAPPINGS
    )
    gid_mappings: tuple[IDMapping, ...] | None = member(
        "gidMappings", array(record(IDMapping)), _MAPPINGS
    )
    sysctl: dict[str, str] | None = member("sysctl", mapping(text()), "config-linux.md#sysctl")
    resources: Resources | None = member(
        "resources", record(Resources), "config-linux.md#control-groups"
    )
    cgroups_path: str | None = member("cgroupsPath", text(), "config-linux.md#cgroups-path")
    namespaces: tuple[Namespace, ...] | None = member(
        "namespaces", array(record(Namespace)), "config-linux.md#namespaces"
    )
    devices: tuple[Device, ...] | None = member(
        "devices", array(record(Device)), "config-linux.md#devices"
    )
    net_devices: dict[str, NetDevice] | None = member(
        "netDevices", mapping(record(NetDevice), INTERFACE),
        "config-linux.md#network-devices",
    )  # fmt: skip
    seccomp: Seccomp | None = member("seccomp", record(Seccomp), "config-linux.md#seccomp")
    rootfs_propagation: str | None = member(
        "rootfsPropagation", one_of(*PROPAGATIONS, ""),
        "config-linux.md#rootfs-mount-propagation",
    )  # fmt: skip
    masked_paths: tuple[str, ...] | None = member(
        "maskedPaths", array(text(absolute=True)), "config-linux.md#masked-paths"
    )
    readonly_paths: tuple[str, ...] | None = member(
        "readonlyPaths", array(text(absolute=True)), "config-linux.md#readonly-paths"
    )
    mount_label: str | None = member("mountLabel", text(), "config-linux.md#mount-label")
    intel_rdt: IntelRdt | None = member("intelRdt", record(IntelRdt), "config-linux.md#intelrdt")
    memory_policy: MemoryPolicy | None = member(
        "memoryPolicy", record(MemoryPolicy), "config-linux.md#memory-policy"
    )
    personality: Personality | None = member(
        "personality", record(Personality), "config-linux.md#personality"
    )
    time_offsets: dict[str, TimeOffset] | None = member(
        "timeOffsets",
        mapping(record(TimeOffset), one_of("monotonic", "boottime")),
        "config-linux.md#offset-for-time-namespace",
    )
    extra: dict[str, Any] = extras()

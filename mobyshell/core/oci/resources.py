"""`linux.resources`: what the container's cgroups allow (config-linux.md#control-groups)."""

from __future__ import annotations

from typing import Any

from mobyshell.core.oci.formats import ACCESS, CONTROL_FILE, INTERFACE, NUMBER_LIST, PAGE_SIZE, WORD
from mobyshell.core.oci.kinds import (
    U16,
    U32,
    U64,
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
from mobyshell.core.values import named_value

_LIMIT = integer(-1, 2**63 - 1)  # -1 is no limit
_DEVICE_NUMBER = integer(-1, 2**32 - 1)  # -1 is every number, as if it were absent


@named_value
class DeviceCgroup:
    """A rule of the device allow list; absent numbers are wildcards."""

    allow: bool = member("allow", boolean, required=True)
    type: str | None = member("type", one_of("a", "c", "b", ""))
    major: int | None = member("major", _DEVICE_NUMBER)
    minor: int | None = member("minor", _DEVICE_NUMBER)
    access: str | None = member("access", ACCESS)
    extra: dict[str, Any] = extras()


@named_value
class Memory:
    """Memory limits in bytes; -1 is none."""

    limit: int | None = member("limit", _LIMIT)
    reservation: int | None = member("reservation", _LIMIT)
    swap: int | None = member("swap", _LIMIT)
    kernel: int | None = member("kernel", _LIMIT)
    kernel_tcp: int | None = member("kernelTCP", _LIMIT)
    swappiness: int | None = member("swappiness", integer(0, 100))
    disable_oom_killer: bool | None = member("disableOOMKiller", boolean)
    use_hierarchy: bool | None = member("useHierarchy", boolean)
    check_before_update: bool | None = member("checkBeforeUpdate", boolean)
    extra: dict[str, Any] = extras()


@named_value
class CPU:
    """CPU time: shares, quota and period in microseconds, and which CPUs and memory nodes."""

    shares: int | None = member("shares", U64)
    quota: int | None = member("quota", _LIMIT)
    burst: int | None = member("burst", U64)
    period: int | None = member("period", U64)
    realtime_runtime: int | None = member("realtimeRuntime", _LIMIT)
    realtime_period: int | None = member("realtimePeriod", U64)
    cpus: str | None = member("cpus", NUMBER_LIST)
    mems: str | None = member("mems", NUMBER_LIST)
    idle: int | None = member("idle", integer(0, 1))
    extra: dict[str, Any] = extras()


@named_value
class Pids:
    """How many processes; -1 is no limit, 0 none beside the first."""

    limit: int | None = member("limit", _LIMIT)
    extra: dict[str, Any] = extras()


@named_value
class WeightDevice:
    """A weight for one block device."""

    major: int = member("major", U32, required=True)
    minor: int = member("minor", U32, required=True)
    weight: int | None = member("weight", U16)
    leaf_weight: int | None = member("leafWeight", U16)
    extra: dict[str, Any] = extras()


@named_value
class ThrottleDevice:
    """A rate for one block device, bytes or operations per second."""

    major: int = member("major", U32, required=True)
    minor: int = member("minor", U32, required=True)
    rate: int = member("rate", U64, required=True)
    extra: dict[str, Any] = extras()


_THROTTLE = array(record(ThrottleDevice))


@named_value
class BlockIO:
    """Block I/O weights and rates."""

    weight: int | None = member("weight", U16)
    leaf_weight: int | None = member("leafWeight", U16)
    weight_device: tuple[WeightDevice, ...] | None = member(
        "weightDevice", array(record(WeightDevice))
    )
    throttle_read_bps_device: tuple[ThrottleDevice, ...] | None = member(
        "throttleReadBpsDevice", _THROTTLE
    )
    throttle_write_bps_device: tuple[ThrottleDevice, ...] | None = member(
        "throttleWriteBpsDevice", _THROTTLE
    )
    throttle_read_iops_device: tuple[ThrottleDevice, ...] | None = member(
        "throttleReadIOPSDevice", _THROTTLE
    )
    throttle_write_iops_device: tuple[ThrottleDevice, ...] | None = member(
        "throttleWriteIOPSDevice", _THROTTLE
    )
    extra: dict[str, Any] = extras()


@named_value
class HugepageLimit:
    """A limit on huge pages of one size, in bytes."""

    page_size: str = member("pageSize", PAGE_SIZE, required=True)
    limit: int = member("limit", U64, required=True)
    extra: dict[str, Any] = extras()


@named_value
class InterfacePriority:
    """The priority of traffic through one interface."""

    name: str = member("name", INTERFACE, required=True)
    priority: int = member("priority", U32, required=True)
    extra: dict[str, Any] = extras()


@named_value
class Network:
    """Class and priorities of network traffic (v1)."""

    class_id: int | None = member("classID", U32)
    priorities: tuple[InterfacePriority, ...] | None = member(
        "priorities", array(record(InterfacePriority))
    )
    extra: dict[str, Any] = extras()


@named_value
class Rdma:
    """Limits of one RDMA device."""

    hca_handles: int | None = member("hcaHandles", U32)
    hca_objects: int | None = member("hcaObjects", U32)
    extra: dict[str, Any] = extras()


@named_value
class Resources:
    """All limits."""

    devices: tuple[DeviceCgroup, ...] | None = member(
        "devices", array(record(DeviceCgroup)), "config-linux.md#allowed-device-list"
    )
    memory: Memory | None = member("memory", record(Memory), "config-linux.md#memory")
    cpu: CPU | None = member("cpu", record(CPU), "config-linux.md#cpu")
    pids: Pids | None = member("pids", record(Pids), "config-linux.md#pids")
    block_io: BlockIO | None = member("blockIO", record(BlockIO), "config-linux.md#block-io")
    hugepage_limits: tuple[HugepageLimit, ...] | None = member(
        "hugepageLimits", array(record(HugepageLimit)), "config-linux.md#huge-page-limits"
    )
    network: Network | None = member("network", record(Network), "config-linux.md#network-1")
    rdma: dict[str, Rdma] | None = member(
        "rdma", mapping(record(Rdma), WORD), "config-linux.md#rdma"
    )
    unified: dict[str, str] | None = member(
        "unified", mapping(text(), CONTROL_FILE), "config-linux.md#unified"
    )
    extra: dict[str, Any] = extras()

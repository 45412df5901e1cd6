"""What the kernel keeps of when and where a process runs: CPU and I/O scheduling, CPUs, memory nodes.

Owns the numbers, and the bytes of the kernel's structs (sched(7), ioprio_set(2),
sched_setaffinity(2), set_mempolicy(2), personality(2)); `attributes` and `io_priority` ask it.
"""

from __future__ import annotations

import struct

from mobyshell.core.linux.syscalls import call
from mobyshell.core.values import named_value

POLICIES = {
    "SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_ISO": 4,
    "SCHED_IDLE": 5, "SCHED_DEADLINE": 6,
}  # fmt: skip

SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01, "SCHED_FLAG_RECLAIM": 0x02, "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08, "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20, "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}  # fmt: skip

IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
IOPRIO_WHO_PROCESS = 1
_IO_CLASS_SHIFT = 13

MEMORY_MODES = {
    "MPOL_DEFAULT": 0, "MPOL_PREFERRED": 1, "MPOL_BIND": 2, "MPOL_INTERLEAVE": 3, "MPOL_LOCAL": 4,
    "MPOL_PREFERRED_MANY": 5, "MPOL_WEIGHTED_INTERLEAVE": 6,
}  # fmt: skip
MEMORY_FLAGS = {
    "MPOL_F_STATIC_NODES": 1 << 15, "MPOL_F_RELATIVE_NODES": 1 << 14,
    "MPOL_F_NUMA_BALANCING": 1 << 13,
}  # fmt: skip

PERSONALITIES = {"LINUX": 0x0000, "LINUX32": 0x0008}

EVERY_CPU = b"\xff" * 1024
"""An affinity mask of more CPUs than a kernel can have: it takes those there are."""

# struct sched_attr as of Linux 5.3 (sched_setattr(2)): size, policy, flags, nice, priority,
# runtime, deadline, period, util_min, util_max
_ATTR = struct.Struct("=IIQiIQQQII")


@named_value
class Attributes:
    """struct sched_attr; times in nanoseconds."""

    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime: int = 0
    deadline: int = 0
    period: int = 0

    def pack(self) -> bytes:
        """As the kernel takes it."""
        return _ATTR.pack(
            _ATTR.size, self.policy, self.flags, self.nice, self.priority, self.runtime,
            self.deadline, self.period, 0, 0,
        )  # fmt: skip


def attributes(pid: int) -> Attributes:
    """How `pid` is scheduled (sched_getattr(2)). SyscallFailed if it is gone."""
    import ctypes

    buffer = ctypes.create_string_buffer(_ATTR.size)
    call("sched_getattr", pid, buffer, _ATTR.size, 0)
    _, policy, flags, nice, priority, runtime, deadline, period, _, _ = _ATTR.unpack(buffer.raw)
    return Attributes(
        policy=policy, flags=flags, nice=nice, priority=priority, runtime=runtime,
        deadline=deadline, period=period,
    )  # fmt: skip


def io_priority_value(name: str, level: int) -> int:
    """An I/O class and its level (0 first, 7 last) as one number."""
    return IO_CLASSES[name] << _IO_CLASS_SHIFT | level


def io_priority(pid: int) -> tuple[str, int]:
    """(class, level) of `pid`; the class is empty where none was set. SyscallFailed if it is gone."""
    value = call("ioprio_get", IOPRIO_WHO_PROCESS, pid)
    names = {number: name for name, number in IO_CLASSES.items()}
    return names.get(value >> _IO_CLASS_SHIFT, ""), value & 0b111


def bits(numbers: str) -> int:
    """A list of CPUs or nodes as in cpuset(7), `0-2,5`, as a bit mask. ValueError if it is none."""
    mask = 0
    for part in numbers.replace(" ", "").split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            mask |= 1 << number
    return mask


def mask_bytes(mask: int) -> bytes:
    """A bit mask in whole words, as the kernel takes it."""
    words = max((mask.bit_length() + 63) // 64, 1)
    return mask.to_bytes(8 * words, "little")

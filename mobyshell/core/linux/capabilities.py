"""Capabilities by name and number (capabilities(7), include/uapi/linux/capability.h)."""

from __future__ import annotations

from mobyshell.core.errors import UsageError

NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG",
    "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

_NUMBERS = {name: number for number, name in enumerate(NAMES)}


def known(name: str) -> bool:
    """Whether `name` is a capability this version knows."""
    return name in _NUMBERS


def number(name: str) -> int:
    """The number of capability `name`. Raises UsageError for an unknown name."""
    try:
        return _NUMBERS[name]
    except KeyError:
        raise UsageError(f"unknown capability {name}") from None


def names(mask: int) -> tuple[str, ...]:
    """The names of the capabilities in `mask`, in order; a bit without a name as `CAP_n`."""
    return tuple(
        NAMES[bit] if bit < len(NAMES) else f"CAP_{bit}"
        for bit in range(64)
        if mask >> bit & 1
    )  # fmt: skip


def held() -> int:
    """The mask of those that this process may hand on: permitted, and in its bounding set."""
    with open("/proc/self/status") as file:
        fields = dict(line.split(":", 1) for line in file if line.startswith("Cap"))
    return int(fields["CapPrm"], 16) & int(fields["CapBnd"], 16)


def last() -> int:
    """The highest capability of this kernel (/proc/sys/kernel/cap_last_cap)."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        return int(file.read())

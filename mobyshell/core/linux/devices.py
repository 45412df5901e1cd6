"""Device nodes: kinds, numbers, and those that every container has. Values only; touches nothing."""

from __future__ import annotations

import os
import stat

KINDS = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
"""The spec's types of a device (config-linux.md#devices) as the file types of inode(7)."""

DEFAULT = (
    ("/dev/null", 1, 3), ("/dev/zero", 1, 5), ("/dev/full", 1, 7), ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9), ("/dev/tty", 5, 0),
)  # fmt: skip
"""config-linux.md#default-devices: character devices, mode 0666, of root."""

LINKS = (
    ("/proc/self/fd", "fd"), ("/proc/self/fd/0", "stdin"), ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"), ("pts/ptmx", "ptmx"),
)  # fmt: skip
"""(target, name in /dev): runtime-linux.md#dev-symbolic-links; ptmx is that of the own devpts."""

NULL = (stat.S_IFCHR, 1, 3)
"""Kind, major and minor number of /dev/null."""

PTMX = (stat.S_IFCHR, 5, 2)
"""Kind, major and minor number of the multiplexer of pseudo terminals (pts(4))."""


def number(major: int, minor: int) -> int:
    """The kernel's encoding of a device number, as mknodat(2) takes it."""
    return os.makedev(major, minor)


def describe(type: str, major: int | None, minor: int | None) -> str:
    """A device as people write it: `c 1:3`, `b 8:0`, `p`."""
    kind = "c" if type == "u" else type
    return "p" if kind == "p" else f"{kind} {major or 0}:{minor or 0}"

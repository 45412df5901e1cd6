"""Calls by which a program makes sure of what it has opened, before it relies on it.

Owns the comparisons. A program decides nothing and has no comparison of its own: the kernel makes
it, with the futex calls that look at a word of memory.
"""

from __future__ import annotations

import errno
import struct

from mobyshell.core.linux import constants as c
from mobyshell.core.linux.constants import show_flags
from mobyshell.core.runtime.operations.calls import CWD, EMPTY, close, flags
from mobyshell.core.runtime.plan import Call, Cell, Data, Flags, Scratch, Text


def stat_into(held: Cell | Flags, into: Scratch) -> Call:
    """What `held` is (statx(2)), into 256 bytes of memory."""
    how = flags("at", c.AT_EMPTY_PATH)
    return Call("statx", (held, EMPTY, how, Flags(c.STATX_BASIC_STATS, "STATX_BASIC_STATS"), into))


def equal(
    memory: Scratch, offset: int, value: int, otherwise: str, *,
    tolerate: bool = False, skip_on_error: int = 0,
) -> Call:  # fmt: skip
    """Go on only if the 32 bits at `offset` of `memory` are `value`; `otherwise` says what is wrong.

    The kernel compares: FUTEX_CMP_REQUEUE, which here has nobody to wake, fails with EAGAIN if
    they are not (futex(2)). So a program needs no comparison of its own.
    """
    at = Scratch(memory.name, memory.size, offset)
    compare = Flags(c.FUTEX_CMP_REQUEUE | c.FUTEX_PRIVATE_FLAG, "FUTEX_CMP_REQUEUE_PRIVATE")
    return Call(
        "futex", (at, compare, 0, 0, memory, value), otherwise=otherwise,
        tolerate=(errno.EAGAIN,) if tolerate else (), skip_on_error=skip_on_error,
    )  # fmt: skip


def clear_bits(memory: Scratch, offset: int, bits: int) -> Call:
    """Clear `bits` of the 32 at `offset`: at most the lowest eleven, or all from one of them up
    (negative, as -256). The kernel does it: FUTEX_WAKE_OP with FUTEX_OP_ANDN (futex(2))."""
    at = Scratch(memory.name, memory.size, offset)
    act = Flags(c.FUTEX_WAKE_OP | c.FUTEX_PRIVATE_FLAG, "FUTEX_WAKE_OP_PRIVATE")
    how = Flags(c.FUTEX_OP_ANDN << 28 | (bits & 0xFFF) << 12, f"FUTEX_OP_ANDN {bits:#x}")
    return Call("futex", (memory, act, 0, 0, at, how))


def clear_bit(memory: Scratch, offset: int, number: int) -> Call:
    """Clear one bit of the 32 at `offset` (FUTEX_OP_OPARG_SHIFT)."""
    at = Scratch(memory.name, memory.size, offset)
    act = Flags(c.FUTEX_WAKE_OP | c.FUTEX_PRIVATE_FLAG, "FUTEX_WAKE_OP_PRIVATE")
    shift = (c.FUTEX_OP_ANDN | c.FUTEX_OP_OPARG_SHIFT) << 28
    return Call("futex", (memory, act, 0, 0, at, Flags(shift | number << 12, f"ANDN 1<<{number}")))


# statvfs(3): f_flags of struct statfs lies at 80; the bits of access times, as one value each
_FLAGS_AT = 80
_LOCKED = (
    (c.MOUNT_ATTR_RDONLY, 1, "ro"), (c.MOUNT_ATTR_NOSUID, 2, "nosuid"),
    (c.MOUNT_ATTR_NODEV, 4, "nodev"), (c.MOUNT_ATTR_NOEXEC, 8, "noexec"),
)  # fmt: skip
_ST_ATIME = {c.MOUNT_ATTR_NOATIME: 1024, c.MOUNT_ATTR_RELATIME: 4096, c.MOUNT_ATTR_STRICTATIME: 0}
_ST_NODIRATIME = 2048


def must_not_take_away(mount: Cell | Flags, on: int, clear: int, what: str) -> list[Call]:
    """Go on only if a mount of the host has none of the attributes `clear`, and the access times
    that `on` says: in a user namespace nobody may take away what the host's mount came with."""
    memory = Scratch("flags of what is bound", 120)
    look = Call("fstatfs", (mount, memory))
    said = f"operation not permitted: a user namespace may not take {{}} away from {what}"
    calls: list[Call] = []
    for bit, flag, name in _LOCKED:
        if clear & bit:
            calls += [
                look,
                clear_bits(memory, _FLAGS_AT, ~flag),
                equal(memory, _FLAGS_AT, 0, said.format(name)),
            ]
    if clear & c.MOUNT_ATTR__ATIME:
        wanted = _ST_ATIME[on & c.MOUNT_ATTR__ATIME]
        wanted |= _ST_NODIRATIME if on & c.MOUNT_ATTR_NODIRATIME else 0
        calls += [
            look,
            clear_bits(memory, _FLAGS_AT, 0x3FF),
            clear_bit(memory, _FLAGS_AT, 13),  # nosymfollow
            equal(memory, _FLAGS_AT, wanted, said.format("its access times")),
        ]
    return calls


def must_be_device(
    held: Cell | Flags, name: str, kind: int, major: int, minor: int, otherwise: str
) -> list[Call]:
    """Go on only if `held` is this device (statx(2): stx_mode, stx_rdev_major, stx_rdev_minor)."""
    memory = Scratch(f"stat of {name}", 256)
    return [
        stat_into(held, memory),
        clear_bits(memory, 28, 0o777),
        equal(memory, 28, kind, otherwise),
        equal(memory, 128, major, otherwise),
        equal(memory, 132, minor, otherwise),
    ]


def must_be_on(held: Cell | Flags, name: str, magic: int, otherwise: str) -> list[Call]:
    """Go on only if `held` lies on a filesystem of this kind (statfs(2): f_type)."""
    memory = Scratch(f"filesystem of {name}", 120)
    return [Call("fstatfs", (held, memory)), equal(memory, 0, magic, otherwise)]


def must_not_be_on(held: Cell | Flags, name: str, magic: int, otherwise: str) -> list[Call]:
    """Go on only if `held` lies on a filesystem of another kind."""
    memory = Scratch(f"filesystem of {name}", 120)
    return [
        Call("fstatfs", (held, memory)),
        equal(memory, 0, magic, otherwise, tolerate=True, skip_on_error=1),
        equal(memory, 0, 0, otherwise),
    ]


def write_proc(path: str, text: str) -> list[Call]:
    """Write `text` into the file `path` of /proc, if that is a procfs, seen from its root.

    The mount table may be a container's: a link or another file system in the place of /proc, or
    a mount within it, would send what is written somewhere else (CVE-2019-16884, CVE-2025-52881).
    """
    proc, file = Cell("proc"), Cell("file")
    said = "/proc is not a procfs"
    root = Scratch("stat of /proc", 256)
    how = c.O_PATH | c.O_DIRECTORY | c.O_NOFOLLOW | c.O_CLOEXEC
    # no link but procfs's own `self`, nothing mounted over it, nothing outside
    resolve = c.RESOLVE_BENEATH | c.RESOLVE_NO_XDEV | c.RESOLVE_NO_MAGICLINKS
    write = c.O_WRONLY | c.O_CLOEXEC
    open_how = Data(
        struct.pack("=QQQ", write, 0, resolve),
        f"{{{show_flags('open', write)}, {show_flags('resolve', resolve)}}}",
    )
    data = text.encode()
    return [
        Call("openat", (CWD, Text("/proc"), flags("open", how)), result=proc, otherwise=said),
        *must_be_on(proc, "/proc", c.PROC_SUPER_MAGIC, said),
        stat_into(proc, root),
        equal(root, 32, 1, "/proc shows a part of a procfs"),
        Call("openat2", (proc, Text(path.removeprefix("/proc/")), open_how, 24), result=file),
        close(proc),
        Call("write", (file, Data(data, repr(text)), len(data))),
        close(file),
    ]

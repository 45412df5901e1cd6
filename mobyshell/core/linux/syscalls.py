"""System calls by number, through libc's `syscall(2)`: what Python's `os` does not offer.

Owns the number tables and the one ctypes handle on libc. Every other file of this package that
needs a raw call goes through `call`, which turns a refusal into `SyscallFailed` with a hint.
Numbers: arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h (aarch64,
riscv64). Calls since Linux 5.0 have one number everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import os

from mobyshell.core.errors import SyscallFailed, Unsupported

_EVERYWHERE = {
    "pidfd_send_signal": 424, "open_tree": 428, "move_mount": 429, "fsopen": 430,
    "fsconfig": 431, "fsmount": 432, "fspick": 433, "pidfd_open": 434, "clone3": 435,
    "close_range": 436, "openat2": 437, "pidfd_getfd": 438, "mount_setattr": 442,
    "listmount": 458, "statmount": 457,
}  # fmt: skip

_X86_64 = {
    "read": 0, "write": 1, "close": 3, "rt_sigaction": 13, "rt_sigprocmask": 14, "ioctl": 16,
    "dup": 32, "nanosleep": 35, "getpid": 39, "socket": 41, "connect": 42, "sendmsg": 46, "clone": 56,
    "execve": 59, "exit": 60, "wait4": 61, "kill": 62, "fcntl": 72, "chdir": 80, "fchdir": 81,
    "rename": 82, "mkdir": 83,
    "rmdir": 84, "unlink": 87, "fchmod": 91, "fchown": 93, "umask": 95, "setuid": 105,
    "setgid": 106, "setsid": 112, "setgroups": 116, "setresuid": 117, "setresgid": 119,
    "capget": 125, "capset": 126, "mknod": 133, "pivot_root": 155, "prctl": 157, "chroot": 161,
    "sethostname": 170, "setdomainname": 171, "gettid": 186, "futex": 202,
    "exit_group": 231, "waitid": 247, "keyctl": 250, "openat": 257, "mkdirat": 258,
    "mknodat": 259, "fchownat": 260, "unlinkat": 263, "symlinkat": 266, "readlinkat": 267,
    "fchmodat": 268, "unshare": 272, "dup3": 292, "pipe2": 293, "prlimit64": 302, "setns": 308,
    "seccomp": 317, "memfd_create": 319, "bpf": 321, "execveat": 322, "mount": 165, "umount2": 166,
    "inotify_init1": 294, "inotify_add_watch": 254, "inotify_rm_watch": 255, "fstatfs": 138,
    "getcwd": 79, "set_tid_address": 218, "fsetxattr": 190, "statx": 332, "faccessat2": 439,
    "personality": 135, "sched_setaffinity": 203, "set_mempolicy": 238, "ioprio_set": 251, "ioprio_get": 252,
    "sched_setattr": 314, "sched_getattr": 315, "renameat2": 316,
}  # fmt: skip

_GENERIC = {
    "fsetxattr": 7, "getcwd": 17, "dup": 23, "dup3": 24, "fcntl": 25, "inotify_init1": 26,
    "inotify_add_watch": 27, "inotify_rm_watch": 28, "ioctl": 29, "mknodat": 33, "mkdirat": 34,
    "unlinkat": 35, "symlinkat": 36, "umount2": 39, "mount": 40, "pivot_root": 41, "fstatfs": 44,
    "chdir": 49, "fchdir": 50, "chroot": 51, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
    "fchown": 55, "openat": 56, "close": 57, "pipe2": 59, "read": 63, "write": 64,
    "readlinkat": 78, "capget": 90, "capset": 91, "exit": 93, "exit_group": 94, "waitid": 95,
    "set_tid_address": 96, "unshare": 97, "futex": 98, "nanosleep": 101, "kill": 129, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "setgid": 144, "setuid": 146, "setresuid": 147, "setresgid": 149,
    "setsid": 157, "setgroups": 159, "sethostname": 161, "setdomainname": 162, "umask": 166,
    "prctl": 167, "getpid": 172, "gettid": 178, "socket": 198, "connect": 203, "sendmsg": 211, "keyctl": 219,
    "clone": 220, "execve": 221, "wait4": 260, "prlimit64": 261, "setns": 268, "seccomp": 277,
    "memfd_create": 279, "bpf": 280, "execveat": 281, "statx": 291, "faccessat2": 439, "ioprio_set": 30,
    "ioprio_get": 31, "personality": 92, "sched_setaffinity": 122, "set_mempolicy": 237,
    "sched_setattr": 274, "sched_getattr": 275, "renameat2": 276,
}  # fmt: skip

_TABLES = {"x86_64": _X86_64, "aarch64": _GENERIC, "riscv64": _GENERIC}

MACHINE = os.uname().machine

_SINCE = {
    "openat2": "5.6", "open_tree": "5.2", "move_mount": "5.2", "fsopen": "5.2", "fsconfig": "5.2",
    "fsmount": "5.2", "mount_setattr": "5.12", "clone3": "5.3", "pidfd_open": "5.3",
    "pidfd_send_signal": "5.1", "pidfd_getfd": "5.6", "close_range": "5.9", "fspick": "5.2",
}  # fmt: skip

libc = ctypes.CDLL(None, use_errno=True)
"""The C library of this process."""

syscall = libc.syscall
"""`syscall(number, a0 … a5)`: always called with seven integers; -1 and ctypes' errno on failure."""
syscall.restype = ctypes.c_long
syscall.argtypes = (ctypes.c_long,) + (ctypes.c_ulong,) * 6


def number(name: str) -> int:
    """The number of system call `name` on this machine. Raises Unsupported if it has none."""
    table = _TABLES.get(MACHINE)
    if table is None:
        raise Unsupported(
            f"mobyshell does not know the system calls of {MACHINE}",
            hint=f"known: {', '.join(_TABLES)}",
        )
    found = _EVERYWHERE.get(name, table.get(name))
    if found is None:
        raise Unsupported(f"system call {name} has no number on {MACHINE}")
    return found


def call(name: str, *args: int | bytes | ctypes.Array[ctypes.c_char], path: str = "",
         what: str = "") -> int:  # fmt: skip
    """Make system call `name` and return its result.

    Bytes are passed as pointers (and must then be NUL-terminated where the kernel wants a
    string). Raises SyscallFailed with `path` and `what` it was about.
    """
    words = [0, 0, 0, 0, 0, 0]
    keep = []
    for position, arg in enumerate(args):
        if isinstance(arg, int):
            words[position] = arg & 0xFFFFFFFFFFFFFFFF
        else:
            buffer = ctypes.create_string_buffer(arg, len(arg)) if isinstance(arg, bytes) else arg
            keep.append(buffer)
            words[position] = ctypes.addressof(buffer)
    result: int = syscall(number(name), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise SyscallFailed(name, code, path=path, what=what, hint=hint(name, code))
    return result


def hint(name: str, code: int) -> str:
    """What usually helps against errno `code` of system call `name`; empty if nothing general."""
    if code == errno.ENOSYS:
        since = _SINCE.get(name)
        return f"needs Linux {since} or newer" if since else "this kernel does not have the call"
    if code == errno.EPERM and name in ("clone3", "unshare"):
        return "a namespace needs CAP_SYS_ADMIN, or a user namespace around it"
    if code == errno.ENOSPC and name in ("clone3", "unshare", "mkdir", "mkdirat"):
        return "a limit is reached: see /proc/sys/user/max_*_namespaces and cgroup.max.descendants"
    if code == errno.EPERM and name in ("prlimit64",):
        return "raising a hard limit needs CAP_SYS_RESOURCE"
    if code == errno.ENODEV and name in ("fsopen", "mount"):
        return "this kernel does not know the file system: /proc/filesystems lists them"
    if code == errno.EINVAL and name == "fsconfig":
        return "the file system does not know the option, or not its value; dmesg may say why"
    if code == errno.EINVAL and name == "mount":
        return (
            "the file system does not know the option, or not its value (dmesg may say why); or how a "
            "mount propagates was asked of what is none, as the root of a chroot"
        )
    if code == errno.EPERM and name in ("fsconfig", "fsmount", "fsopen", "mount"):
        return "in a user namespace the kernel lets few file systems be mounted"
    if code == errno.EPERM and name == "mount_setattr":
        return "an attribute that the mount came with into a user namespace is locked"
    if code == errno.EAGAIN and name in ("clone3", "execve"):
        return "the limit of processes is reached: pids.max of the cgroup, or RLIMIT_NPROC"
    return ""

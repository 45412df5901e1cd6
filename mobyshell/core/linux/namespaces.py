"""Namespaces as the kernel shows them: kinds, inodes, owners, and who is in each.

Owns the looking. Entering is done by a process of its own (`enter`), never here.
"""

from __future__ import annotations

import errno
import fcntl
import os
from dataclasses import dataclass, field

from mobyshell.core.linux import constants as c

KINDS: dict[str, int] = {
    "cgroup": c.CLONE_NEWCGROUP, "ipc": c.CLONE_NEWIPC, "mnt": c.CLONE_NEWNS,
    "net": c.CLONE_NEWNET, "pid": c.CLONE_NEWPID, "time": c.CLONE_NEWTIME,
    "user": c.CLONE_NEWUSER, "uts": c.CLONE_NEWUTS,
}  # fmt: skip
"""The eight kinds, by their names in /proc/PID/ns, with their CLONE flags (namespaces(7))."""

# ioctl_ns(2)
_NS_GET_USERNS, _NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB701, 0xB702, 0xB704


@dataclass(frozen=True, slots=True)
class NamespaceInfo:
    """One namespace. `user_namespace` owns it, `parent` contains it (pid and user only); 0 where
    the kernel does not tell. `command` is that of its first process."""

    kind: str
    inode: int
    user_namespace: int = 0
    parent: int = 0
    owner_uid: int | None = None
    pids: tuple[int, ...] = ()
    command: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that can be seen at one moment. `unreadable`: processes that do not let us look."""

    namespaces: tuple[NamespaceInfo, ...]
    unreadable: int


@dataclass(slots=True)
class _Found:
    kind: str
    pids: list[int] = field(default_factory=list)
    relations: tuple[int, int, int | None] | None = None


def inode(pid: int, kind: str) -> int:
    """The inode of the namespace of `kind` that `pid` is in. OSError if it cannot be read."""
    return os.stat(f"/proc/{pid}/ns/{kind}").st_ino


def snapshot(proc: str = "/proc") -> Snapshot:
    """Every namespace that a process visible in /proc is in; ended processes are passed over."""
    found: dict[int, _Found] = {}
    unreadable = 0
    for name in os.listdir(proc):
        if not name.isdecimal():
            continue
        try:
            refused = _collect(int(name), found)
        except (FileNotFoundError, ProcessLookupError):
            continue
        unreadable += refused
    namespaces = [
        NamespaceInfo(one.kind, number, *(one.relations or (0, 0, None)),
                      pids=tuple(sorted(one.pids)), command=_command(min(one.pids)))
        for number, one in found.items()
    ]  # fmt: skip
    namespaces.sort(key=lambda one: (one.kind, one.inode))
    return Snapshot(tuple(namespaces), unreadable)


def _collect(pid: int, found: dict[int, _Found]) -> bool:
    """Add the namespaces of `pid`; True if they may not be read."""
    for kind in KINDS:
        path = f"/proc/{pid}/ns/{kind}"
        try:
            number = os.stat(path).st_ino
        except PermissionError:
            return True
        except FileNotFoundError:
            if os.path.exists(f"/proc/{pid}"):
                continue  # a kernel without this kind
            raise
        one = found.setdefault(number, _Found(kind))
        one.pids.append(pid)
        if one.relations is None:
            one.relations = _relations(path)
    return False


def _relations(path: str) -> tuple[int, int, int | None]:
    """(inode of the owning user namespace, inode of the parent, uid of the owner)."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _ask(fd, _NS_GET_USERNS), _ask(fd, _NS_GET_PARENT), _owner(fd)
    finally:
        os.close(fd)


def _ask(fd: int, request: int) -> int:
    try:
        other = fcntl.ioctl(fd, request)
    except OSError as error:
        # EPERM: outside of what we may see; EINVAL: kinds without a parent; ENOTTY: old kernel
        if error.errno in (errno.EPERM, errno.EINVAL, errno.ENOTTY):
            return 0
        raise
    try:
        return os.fstat(other).st_ino
    finally:
        os.close(other)


def _owner(fd: int) -> int | None:
    buffer = bytearray(4)
    try:
        fcntl.ioctl(fd, _NS_GET_OWNER_UID, buffer)
    except OSError:
        return None  # only user namespaces have one
    return int.from_bytes(buffer, "little")


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).rstrip(b"\0").split(b"\0")
        if words != [b""]:
            return b" ".join(words).decode(errors="replace")
        with open(f"/proc/{pid}/comm", "rb") as file:
            return f"[{file.read().decode(errors='replace').strip()}]"
    except OSError:
        return ""

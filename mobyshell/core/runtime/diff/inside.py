"""Looking below a container's root from outside. Its owner may be hostile.

Paths are opened by openat2(2) with its root as the root and no magic link followed, O_PATH only,
so that no device, FIFO or file is ever opened; and not at all where a filesystem is mounted whose
answers come from a process, which could let us wait for ever.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mounts import MountInfo
from mobyshell.core.linux.syscalls import call

_ANSWERED_BY_A_PROCESS = ("fuse", "nfs", "9p", "cifs", "smb", "afs", "ceph", "virtiofs", "autofs")


class Inside:
    """The root of a process, for looking only."""

    def __init__(self, fd: int, table: tuple[MountInfo, ...]) -> None:
        self._fd = fd
        self.table = table
        self.trusted = not any(one.fstype.startswith(_ANSWERED_BY_A_PROCESS) for one in table)
        """Whether it is safe to look up a path at all."""

    def find(self, path: str, flags: int = 0) -> int | None:
        """An O_PATH descriptor of `path`, the caller's to close; None if there is nothing."""
        if not self.trusted:
            return None
        how = (c.O_PATH | os.O_CLOEXEC | flags).to_bytes(8, "little") + bytes(8)
        how += (c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS).to_bytes(8, "little")
        name = os.fsencode(path.lstrip("/") or ".") + b"\0"
        try:
            return call("openat2", self._fd, name, how, len(how), path=path)
        except SyscallFailed:
            return None

    def link(self, path: str) -> str | None:
        """What the link `path` says; None if there is none."""
        fd = self.find(path, os.O_NOFOLLOW)
        if fd is None:
            return None
        try:
            return os.readlink("", dir_fd=fd)
        except OSError:
            return None
        finally:
            os.close(fd)

    def exists(self, path: str) -> bool:
        """Whether there is something at `path`."""
        fd = self.find(path)
        if fd is None:
            return False
        os.close(fd)
        return True

    def stat(self, path: str) -> os.stat_result | None:
        """What is at `path`; None if there is nothing."""
        fd = self.find(path)
        if fd is None:
            return None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def mount_at(self, path: str) -> MountInfo | None:
        """What is mounted at `path`, on top, links on the way followed; None if nothing is."""
        point = os.path.normpath("/" + path.lstrip("/"))
        for one in reversed(self.table):
            if one.mount_point == point:
                return one
        fd = self.find(path)
        if fd is None:
            return None
        try:
            number = _mount_id(fd)
        finally:
            os.close(fd)
        found = next((one for one in self.table if one.mount_id == number), None)
        # a path that is no mount point lies on the mount above it
        if found is None or point.startswith(found.mount_point.rstrip("/") + "/"):
            return None
        return found


def _mount_id(fd: int) -> int:
    """By /proc/self/fdinfo (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{fd}") as file:
        for text in file:
            key, _, value = text.partition(":")
            if key == "mnt_id":
                return int(value)
    return -1


@contextmanager
def looking_inside(pid: int, table: tuple[MountInfo, ...]) -> Iterator[Inside]:
    """The root of process `pid`, whose mounts are `table`."""
    fd = os.open(f"/proc/{pid}/root", c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Inside(fd, table)
    finally:
        os.close(fd)

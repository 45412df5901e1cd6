"""The root of a container without a mount namespace of its own: a mount in the runtime's namespace.

All that such a container mounts lies in the bind of its rootfs onto itself, so that one lazy
unmount takes it all away. Owns knowing that bind again, by its number: what others mount in its
place is left alone.
"""

from __future__ import annotations

import os
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.linux.syscalls import call

FILE = "root-mount"


class HostRoot:
    """Of one container in the making. `rootfs` is empty for one that has a mount namespace."""

    def __init__(self, rootfs: str) -> None:
        self._rootfs = rootfs
        self._before = _mount_at(rootfs) if rootfs else 0

    def keep(self, directory: Path) -> None:
        """Remember in the container's directory what `release` will have to unmount."""
        if self._rootfs:
            (directory / FILE).write_text(str(_mount_at(self._rootfs)))

    def undo(self) -> None:
        """Take the mount back, if it was made."""
        if self._rootfs and _mount_at(self._rootfs) != self._before:
            _unmount(self._rootfs)


def left(directory: Path, rootfs: str) -> str:
    """Where the mount is that a container has left, whose root.path is `rootfs`; "" if there is none."""
    try:
        number = int((directory / FILE).read_text())
    except (OSError, ValueError):
        return ""
    end = f"/{os.path.normpath(rootfs).lstrip('/')}"
    for one in read_mountinfo(os.getpid()):
        if one.mount_id == number and one.mount_point.endswith(end):
            return one.mount_point
    return ""


def release(directory: Path, rootfs: str) -> None:
    """Unmount what a container left, if it left anything. SyscallFailed if that is refused."""
    try:
        with open(f"{directory}/{FILE}") as file:
            number = int(file.read())
        if _mount_at(rootfs) == number:
            _unmount(rootfs)
    except (FileNotFoundError, NotADirectoryError):
        return  # the usual container; or its rootfs is gone, and the mount with it
    (directory / FILE).unlink(missing_ok=True)


def _mount_at(path: str) -> int:
    """The number of the topmost mount at `path` (proc_pid_fdinfo(5))."""
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        with open(f"/proc/self/fdinfo/{fd}") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
    finally:
        os.close(fd)
    return int(fields["mnt_id"])


def _unmount(path: str) -> None:
    # not through a link that was put there meanwhile
    place = os.fsencode(os.path.realpath(path)) + b"\0"
    try:
        call("umount2", place, c.MNT_DETACH | c.UMOUNT_NOFOLLOW, path=path)
    except SyscallFailed as error:
        raise SyscallFailed(
            "umount2", error.errno, path=path, what="unmount the root of the container",
            hint="it has no mount namespace of its own, so its mounts are the host's",
        ) from None  # fmt: skip

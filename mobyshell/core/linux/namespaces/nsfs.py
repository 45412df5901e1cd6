"""What the kernel tells of a namespace that one has a descriptor of (ioctl_ns(2)).

Owns the requests, and the opening of the file that a `Door` leads to. Enters nothing.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.namespaces.kinds import BY_FLAG
from mobyshell.core.linux.namespaces.values import Door
from mobyshell.core.linux.paths import open_in_root

# linux/nsfs.h
_GET_USERNS, _GET_PARENT, _GET_NSTYPE, _GET_OWNER_UID = 0xB701, 0xB702, 0xB703, 0xB704
_MNT_GET_INFO = 0x8010B70A  # Linux 6.12
_MNT_INFO = struct.Struct("=IIQ")  # size, mounts, id

STEPS = {"owner": _GET_USERNS, "parent": _GET_PARENT}
"""From a namespace to a relative of it."""

# EPERM: outside of what we may see; EINVAL: kinds without a parent; ENOTTY: an older kernel
_UNTOLD = (errno.EPERM, errno.EINVAL, errno.ENOTTY)


def kind_of(fd: int) -> str:
    """The kind of a namespace. OSError (ENOTTY) if `fd` is none."""
    return BY_FLAG.get(fcntl.ioctl(fd, _GET_NSTYPE), "")


def relative(fd: int, step: str) -> int | None:
    """A descriptor of the owning user namespace, or of the parent; None where it is not told: the
    first of all, one outside of what we may see, a kind without parents."""
    try:
        return fcntl.ioctl(fd, STEPS[step])
    except OSError as error:
        if error.errno in _UNTOLD:
            return None
        raise


def relative_inode(fd: int, step: str) -> int:
    """The inode of that relative; 0 where it is not told."""
    other = relative(fd, step)
    if other is None:
        return 0
    try:
        return os.fstat(other).st_ino
    finally:
        os.close(other)


def owner_uid(fd: int) -> int | None:
    """Who made a user namespace, as a uid of ours; None for the other kinds."""
    buffer = bytearray(4)
    try:
        fcntl.ioctl(fd, _GET_OWNER_UID, buffer)
    except OSError as error:
        if error.errno in _UNTOLD:
            return None
        raise
    return int.from_bytes(buffer, "little")


def mount_count(fd: int) -> int | None:
    """How many mounts a mount namespace has; None before Linux 6.12, or where we may not know."""
    buffer = bytearray(_MNT_INFO.size)
    try:
        fcntl.ioctl(fd, _MNT_GET_INFO, buffer)
    except OSError:
        return None
    return int(_MNT_INFO.unpack(buffer)[1])


@contextmanager
def opened(door: Door, kind: str, inode: int) -> Iterator[int]:
    """A descriptor of the namespace behind `door`. NotFound if it is another one by now, or none;
    OSError, SyscallFailed if it may not be opened."""
    fd = _open(door)
    try:
        for step in door.steps:
            other = relative(fd, step)
            if other is None:
                raise NotFound(f"the {step} of {door.path} is not told")
            os.close(fd)
            fd = other
        # a number in /proc may be another process's by now, a mount may be gone
        if os.fstat(fd).st_ino != inode or kind_of(fd) != kind:
            raise NotFound(f"the {kind} namespace {inode} is not behind {door.path} any more")
        yield fd
    finally:
        os.close(fd)


def _open(door: Door) -> int:
    """What stands there is looked at before it is opened: a descriptor of a stranger's, or a place in
    his tree, may be a FIFO by now, which would make us wait."""
    try:
        place = _find(door)
    except (FileNotFoundError, ProcessLookupError):
        raise NotFound(f"{door.path} is gone") from None
    try:
        # nsfs has no devices and no pipes: a file of its device is a namespace
        if os.fstat(place).st_dev != os.stat("/proc/self/ns/mnt").st_dev:
            raise NotFound(f"{door.path} is no namespace any more")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def _find(door: Door) -> int:
    if not door.root:
        return os.open(door.path, c.O_PATH | os.O_CLOEXEC)
    root = os.open(f"/proc/{door.root}/root", c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_in_root(root, door.path, c.O_PATH | os.O_NOFOLLOW)
    except MobyshellError as error:
        raise NotFound(f"{door.path} is gone: {error.message}") from None
    finally:
        os.close(root)

"""Copying, comparing and syncing files by what Python's `os` does not offer: reflinks, holes, syncfs(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.syscalls import libc

FICLONE = 0x40049409
"""ioctl_ficlone(2)"""

_CHUNK = 1 << 30
_PIECE = 1 << 20
_NO_CLONE = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.EPERM}
_NO_RANGE = {errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}


def sync_filesystem(fd: int, *, path: str = "") -> None:
    """Write all of the filesystem that `fd` is on to its disk: syncfs(2).

    Raises SyscallFailed, also with an error that an earlier write of anybody there met unseen.
    """
    if libc.syncfs(ctypes.c_int(fd)) != 0:
        raise SyscallFailed("syncfs", ctypes.get_errno(), path=path)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Have the names in a directory on the disk. OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def same_bytes(one: int, other: int) -> bool:
    """Whether two open files hold the same from where they are to their ends. OSError."""
    while True:
        left, right = os.read(one, _PIECE), os.read(other, _PIECE)
        if left != right:
            return False
        if not left:
            return True


def clone(source: int, target: int) -> bool:
    """Let the empty file `target` share the blocks of `source`. False where that cannot be done."""
    try:
        fcntl.ioctl(target, FICLONE, source)
    except OSError as error:
        if error.errno in _NO_CLONE:
            return False
        raise
    return True


def copy(source: int, target: int, size: int) -> None:
    """Copy `size` bytes of a regular file into an empty one, holes remaining holes.

    OSError, such as ENOSPC. Sharing blocks where the filesystem can (ioctl_ficlone(2)), else
    within the kernel (copy_file_range(2)), else by reading and writing.
    """
    if size == 0 or clone(source, target):
        return
    position = 0
    while position < size:
        try:
            start = os.lseek(source, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            break  # nothing but a hole
        end = min(os.lseek(source, start, os.SEEK_HOLE), size)
        _copy_range(source, target, start, end)
        position = end
    os.ftruncate(target, size)


def _copy_range(source: int, target: int, start: int, end: int) -> None:
    while start < end:
        try:
            done = os.copy_file_range(source, target, min(end - start, _CHUNK), start, start)
        except OSError as error:
            if error.errno not in _NO_RANGE:
                raise
            done = os.pwrite(target, os.pread(source, min(end - start, 1 << 20), start), start)
        if done == 0:
            return  # it has become shorter
        start += done

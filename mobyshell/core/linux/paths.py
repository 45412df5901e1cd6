"""Paths beneath a root that belongs to a stranger, by openat2(2): no link leads out of it."""

from __future__ import annotations

import errno
import os
import stat
import struct

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call


def _openat2(root: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    return call("openat2", root, os.fsencode(path) + b"\0", how, len(how), path=path)


def open_beneath(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` below the directory `root`, with no symbolic link on the way or at its end.

    SyscallFailed with ELOOP if there is one, with EXDEV if the path would lead out.
    """
    return _openat2(root, path, flags, mode, c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS)


def open_same_mount(root: int, path: str, flags: int) -> int:
    """Open `path` as `open_beneath` does, and in the mount of `root`: EXDEV at a mount point."""
    resolve = c.RESOLVE_BENEATH | c.RESOLVE_NO_SYMLINKS | c.RESOLVE_NO_XDEV
    return _openat2(root, path, flags, 0, resolve)


def open_in_root(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open `path` as a process would whose root is `root`: links are followed, inside."""
    return _openat2(root, path.lstrip("/") or ".", flags, mode, c.RESOLVE_IN_ROOT)


def read_in_root(root: int, path: str, most: int) -> bytes:
    """The regular file `path` as a process would see it whose root is `root`, but at most its first
    `most` bytes. SyscallFailed if it cannot be opened, OSError if it is no regular file."""
    fd = _openat2(
        root, path.lstrip("/"), os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY, 0,
        c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS,
    )  # fmt: skip
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        chunks, left = [], most
        while left > 0 and (chunk := os.read(fd, left)):
            chunks.append(chunk)
            left -= len(chunk)
        return b"".join(chunks)
    finally:
        os.close(fd)


def make_directories(root: int, path: str, mode: int = 0o755) -> int:
    """mkdir -p `path` below `root`; an O_PATH descriptor of it. No symbolic link is followed."""
    directory = c.O_PATH | os.O_DIRECTORY
    try:
        return open_beneath(root, path or ".", directory)
    except SyscallFailed as error:
        if error.errno != errno.ENOENT:
            raise
    current = open_beneath(root, ".", directory)
    for part in path.split("/"):
        try:
            os.mkdir(part, mode, dir_fd=current)
        except FileExistsError:
            pass
        except OSError as error:
            os.close(current)
            raise SyscallFailed.of(error, "mkdirat", path=path) from None
        try:
            deeper = open_beneath(current, part, directory)
        finally:
            os.close(current)
        current = deeper
    return current

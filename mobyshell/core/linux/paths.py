"""Paths beneath a root that belongs to a stranger, by openat2(2): no link leads out of it."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call, libc, number

_CHUNK = 64 << 10


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


def open_directory_in_root(root: int, path: bytes) -> int:
    """An O_PATH descriptor of the directory `path`, found as a process would whose root is `root`.

    OSError, in the class for its errno: callers ask for what may not be there, and often.
    """
    return _open_in_root(root, path, _DIRECTORY_IN_ROOT)


def open_file_in_root(root: int, path: bytes) -> int:
    """A descriptor of what `path` is, for looking at only; found and refused as by
    `open_directory_in_root`."""
    return _open_in_root(root, path, _FILE_IN_ROOT)


def _open_in_root(root: int, path: bytes, how: bytes) -> int:
    while True:
        fd: int = _syscall(_OPENAT2, root, path or b".", how, len(how))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        # openat2(2): EAGAIN if somebody renamed something meanwhile, anywhere
        if code not in (errno.EAGAIN, errno.EINTR):
            raise OSError(code, os.strerror(code), path)


_DIRECTORY_IN_ROOT = struct.pack(
    "=QQQ", c.O_PATH | c.O_DIRECTORY | c.O_CLOEXEC, 0, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
)
_FILE_IN_ROOT = struct.pack(
    "=QQQ", c.O_PATH | c.O_CLOEXEC, 0, c.RESOLVE_IN_ROOT | c.RESOLVE_NO_MAGICLINKS
)
_OPENAT2 = number("openat2")
_syscall = libc["syscall"]  # a way of its own, without the copies that `call` makes
_syscall.restype = ctypes.c_long
_syscall.argtypes = (
    ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t,
)  # fmt: skip


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
        return read_most(fd, most)
    finally:
        os.close(fd)


def read_most(fd: int, most: int) -> bytes:
    """At most the next `most` bytes of an open file. OSError."""
    chunks, left = [], most
    # not all at once: memory for the most there may be would be made for the little there is
    while left > 0 and (chunk := os.read(fd, min(left, _CHUNK))):
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


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


def make_private(path: str) -> None:
    """mkdir -p `path`, where each directory that is made is its owner's alone. OSError."""
    missing = []
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for one in reversed(missing):
        try:
            os.mkdir(one, 0o700)
        except FileExistsError:
            if not os.path.isdir(one):
                raise


MOST_LINKS = 40
"""As many links as the kernel follows in one path (path_resolution(7))."""


def make_in_root(root: int, path: str, *, directory: bool) -> None:
    """Make the directory, or the empty file, that `path` leads to for a process whose root is `root`:
    where a link leads nowhere, what it says is made. What is there is left as it is.

    The way is walked here, each step by the descriptor of the one before, so it never leads out,
    whatever changes meanwhile. OSError (ELOOP, ENOTDIR, EROFS …) if it cannot be made.
    """
    way = [os.open(".", c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)]
    parts, links, tries = deque(path.split("/")), 0, 0
    try:
        while parts:
            part = parts.popleft()
            if part in ("", ".", ".."):
                if part == ".." and len(way) > 1:
                    os.close(way.pop())
                continue
            last = all(one in ("", ".") for one in parts)
            try:
                fd = os.open(part, c.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=way[-1])
            except FileNotFoundError:
                tries += 1  # somebody may take away what we make, again and again
                if tries > os.pathconf("/", "PC_PATH_MAX"):
                    raise
                _make(way[-1], part, directory or not last)
                parts.appendleft(part)
                continue
            mode = os.fstat(fd).st_mode
            if stat.S_ISLNK(mode):
                target = os.readlink("", dir_fd=fd)
                os.close(fd)
                links += 1
                if links > MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if target.startswith("/"):
                    while len(way) > 1:
                        os.close(way.pop())
                parts.extendleft(reversed(target.split("/")))
                continue
            way.append(fd)
            if not stat.S_ISDIR(mode) and not (last and not directory):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    finally:
        for fd in way:
            os.close(fd)


def _make(parent: int, name: str, directory: bool) -> None:
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, how, 0o644, dir_fd=parent))
    except FileExistsError:
        pass  # the next look tells what it is


@contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Look up and make files with the rights, and in the name, of somebody else (setfsuid(2)).

    Only for root; for anybody else nothing changes. Of the calling thread alone.
    """
    if os.geteuid() != 0 or (uid, gid) == (0, 0):
        yield
        return
    libc.setfsgid(gid)
    libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(0)
        libc.setfsgid(os.getegid())

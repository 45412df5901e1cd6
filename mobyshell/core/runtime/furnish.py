"""What a child asks its creator to do for its mounts, by descriptors.

A program of system calls can neither walk a tree, nor read a link, nor make one file's mode
another's. The child hands over the directory that a tmpfs will cover and the mount that nobody sees
yet, or its root and a path in it, and waits. What is in there belongs to a stranger, and may change
while we look: no link is followed by the kernel, nothing but plain files is ever opened.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.paths import acting_as, make_in_root, open_beneath
from mobyshell.core.linux.syscalls import call
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.handing import make_user_namespace
from mobyshell.core.runtime.operations.trees import Ids
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.steps import Readable, Steps
from mobyshell.core.values import value

ASKED = (b"m", b"c", b"d", b"f", b"i")
"""The words. m: the mode of a directory, as text into the memory that is named; c: a directory's
entries into a mount, and with o its owner; d, f: a directory, a file is made at the path that
follows, beneath the root; i: a mount's ids are mapped as `Ids.as_word` says."""

TOGETHER = 64
"""So many files are copied before others have their turn."""

_BYTES = 16 << 20


@value
class Asking:
    """Who asks: the child's pid, its program, what it is at, and how processes are made here."""

    pid: int
    program: Program
    what: str
    executor: Executor


def furnish(word: bytes, handed: tuple[int, ...], asking: Asking) -> Steps[None]:
    """Do what the child asks with the descriptors it `handed` over; closes them.

    SyscallFailed with what the child is at, and with the path that could not be made or copied.
    """
    try:
        copying = word[:1] == b"c"
        if len(handed) != (2 if copying else 1):
            raise SyscallFailed("recvmsg", errno.EBADF, what=asking.what)
        try:
            yield from _answer(word[:1], word[1:], handed, asking)
        except OSError as error:
            path = os.fsdecode(word[1:])
            raise SyscallFailed(
                "copy" if copying else "mkdirat", error.errno or 0,
                path=str(error.filename or ".") if copying else path, what=asking.what,
                hint="a tmpfs has size=, half of the memory by default" if copying else "",
            ) from None  # fmt: skip
        except SyscallFailed as error:
            raise SyscallFailed(
                error.syscall, error.errno, path=error.path, what=asking.what, hint=error.hint
            ) from None
    finally:
        for fd in handed:
            os.close(fd)


def _answer(kind: bytes, argument: bytes, handed: tuple[int, ...], asking: Asking) -> Steps[None]:
    held = handed[0]
    if kind == b"c":
        if argument == b"o":
            _own(handed[1], os.fstat(held))
        yield from _copy_all(held, handed[1])
    elif kind == b"m":
        mode = stat.S_IMODE(os.fstat(held).st_mode)
        asking.program.put(argument.decode(), f"{mode:o}".encode())
    elif kind == b"i":
        _map_ids(held, Ids.of_word(argument), asking)
    else:
        with acting_as(*root_of(asking.pid)):
            make_in_root(held, os.fsdecode(argument), directory=kind == b"d")


def _map_ids(mount: int, ids: Ids, asking: Asking) -> None:
    if ids.namespace:
        namespace = os.open(ids.namespace, os.O_RDONLY | os.O_CLOEXEC)
    else:
        namespace = make_user_namespace(asking.executor, ids.uids, ids.gids, asking.what)
    try:
        attributes = struct.pack("=QQQQ", c.MOUNT_ATTR_IDMAP, 0, 0, namespace)
        at = c.AT_EMPTY_PATH | (c.AT_RECURSIVE if ids.recursive else 0)
        call("mount_setattr", mount, b"\0", at, attributes, len(attributes))
    finally:
        os.close(namespace)


def root_of(pid: int) -> tuple[int, int]:
    """(uid, gid) by which the host knows root of the user namespace of `pid`."""
    found = []
    for kind in ("uid", "gid"):
        with open(f"/proc/{pid}/{kind}_map") as file:
            rows = [tuple(map(int, row.split())) for row in file]
        found.append(next((outside for inside, outside, _ in rows if inside == 0), 65534))
    return found[0], found[1]


def _at(fd: int) -> str:
    """A path of what `fd`, which may be O_PATH, is: a magic link of our own /proc."""
    return f"/proc/self/fd/{fd}"


def _own(new: int, there: os.stat_result) -> None:
    here = os.fstat(new)
    if (there.st_uid, there.st_gid) != (here.st_uid, here.st_gid):
        try:
            os.chown(_at(new), there.st_uid, there.st_gid)
        except PermissionError:
            pass  # of a user whom this one may not make files for: they are then this one's


def _own_and_mode(old: int, new: int) -> None:
    there = os.fstat(old)
    _own(new, there)
    os.chmod(_at(new), stat.S_IMODE(there.st_mode))


@contextmanager
def _opened(root: int, path: str, flags: int = c.O_PATH) -> Iterator[int]:
    fd = open_beneath(root, path, flags)
    try:
        yield fd
    finally:
        os.close(fd)


def _copy_all(covered: int, made: int) -> Steps[None]:
    """Every entry, directories before what is in them; a few at a time."""
    waiting, done = ["."], 0
    while waiting:
        way = waiting.pop()
        with _opened(covered, way, os.O_RDONLY | os.O_DIRECTORY) as old, _opened(made, way) as new:
            for name in os.listdir(old):
                if (yield from _copy(old, new, name)):
                    waiting.append(f"{way}/{name}")
                done += 1
                if done % TOGETHER == 0:
                    yield Readable((), 0)


def _copy(old: int, new: int, name: str) -> Steps[bool]:
    """Copy one entry of the directory `old` into `new`; whether it is a directory."""
    with _opened(old, name, c.O_PATH | os.O_NOFOLLOW) as source:
        there = os.fstat(source)
        kind = stat.S_IFMT(there.st_mode)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink("", dir_fd=source), name, dir_fd=new)
            _give(name, new, there)
            return False
        if kind == stat.S_IFDIR:
            os.mkdir(name, 0o700, dir_fd=new)
        elif kind == stat.S_IFREG:
            yield from _copy_file(source, new, name)
        elif kind == stat.S_IFSOCK:
            return False  # nobody listens on a copy
        else:
            os.mknod(name, kind | 0o600, there.st_rdev, dir_fd=new)
        with _opened(new, name, c.O_PATH | os.O_NOFOLLOW) as made:
            _own_and_mode(source, made)
            os.utime(_at(made), ns=(there.st_atime_ns, there.st_mtime_ns))
        return kind == stat.S_IFDIR


def _give(name: str, directory: int, there: os.stat_result) -> None:
    try:
        os.chown(name, there.st_uid, there.st_gid, dir_fd=directory, follow_symlinks=False)
    except PermissionError:
        pass


def _copy_file(source: int, directory: int, name: str) -> Steps[None]:
    # by the descriptor that was looked at: nobody can have put a device or a FIFO in its place
    read = os.open(_at(source), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        write = os.open(name, how, 0o600, dir_fd=directory)
        try:
            while os.sendfile(write, read, None, _BYTES):
                yield Readable((), 0)
        finally:
            os.close(write)
    finally:
        os.close(read)

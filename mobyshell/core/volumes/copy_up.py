"""What an image has where a volume is mounted, copied into the volume at its first use.

Owns the copying of a tree that a stranger made: every file of it is reached by descriptors, its
path is resolved inside the image's root, and nothing in it leads out. Only an empty volume is
filled, and it is filled at once: by a rename of the whole copy.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.paths import open_beneath, open_in_root
from mobyshell.core.volumes.volumes import Volume

_BYTES = 1 << 22
_DEEPEST = 512


def copy_up(root: int, path: str, volume: Volume) -> bool:
    """Copy the directory `path` of the image whose root is the descriptor `root` into `volume`, with
    owners, modes, times, hard links and extended attributes. False if the volume is not empty, or
    there is no such directory. SyscallFailed: the volume is then as it was."""
    if os.listdir(volume.path):
        return False
    try:
        source = open_in_root(root, path, os.O_RDONLY | os.O_DIRECTORY)
    except SyscallFailed as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return False
        raise
    copy = f"{os.path.dirname(volume.path)}/.copy-{os.urandom(6).hex()}"
    try:
        os.mkdir(copy, 0o700)
        target = os.open(copy, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _Copier().directory(source, target, 0)
            os.fsync(target)
        finally:
            os.close(target)
        os.rename(copy, volume.path)  # over an empty directory, or not at all
    except OSError as error:
        shutil.rmtree(copy, ignore_errors=True)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False  # somebody else filled it meanwhile
        raise SyscallFailed.of(error, "copy", path=path) from None
    except BaseException:
        shutil.rmtree(copy, ignore_errors=True)
        raise
    finally:
        os.close(source)
    return True


class _Copier:
    def __init__(self) -> None:
        self._linked: dict[tuple[int, int], str] = {}
        self._top = -1

    def directory(self, source: int, target: int, depth: int, way: str = ".") -> None:
        """Copy what is in one directory, and then what it is itself."""
        if depth > _DEEPEST:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG), way)
        if self._top < 0:
            self._top = target
        for name in sorted(os.listdir(source)):
            self._entry(source, target, name, depth, f"{way}/{name}")
        _dress(source, target)

    def _entry(self, source: int, target: int, name: str, depth: int, way: str) -> None:
        fd = open_beneath(source, name, c.O_PATH | os.O_NOFOLLOW)
        try:
            there = os.fstat(fd)
            kind = stat.S_IFMT(there.st_mode)
            if kind == stat.S_IFDIR:
                self._below(fd, target, name, depth, way)
                return
            if kind == stat.S_IFSOCK:
                return  # nobody listens on a copy
            known = self._linked.get((there.st_dev, there.st_ino))
            if known is not None:
                os.link(known, name, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
                return
            if there.st_nlink > 1:
                self._linked[there.st_dev, there.st_ino] = way
            if kind == stat.S_IFLNK:
                os.symlink(os.readlink("", dir_fd=fd), name, dir_fd=target)
                os.chown(name, there.st_uid, there.st_gid, dir_fd=target, follow_symlinks=False)
                times = (there.st_atime_ns, there.st_mtime_ns)
                os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
            elif kind == stat.S_IFREG:
                _file(fd, target, name)
            else:
                os.mknod(name, kind | 0o600, there.st_rdev, dir_fd=target)
                made = open_beneath(target, name, c.O_PATH | os.O_NOFOLLOW)
                try:
                    _dress(fd, made)
                finally:
                    os.close(made)
        finally:
            os.close(fd)

    def _below(self, fd: int, target: int, name: str, depth: int, way: str) -> None:
        os.mkdir(name, 0o700, dir_fd=target)
        old = os.open(_at(fd), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            new = open_beneath(target, name, os.O_RDONLY | os.O_DIRECTORY)
            try:
                self.directory(old, new, depth + 1, way)
            finally:
                os.close(new)
        finally:
            os.close(old)


def _file(fd: int, target: int, name: str) -> None:
    # by the descriptor that was looked at: nobody can have put something else in its place
    read = os.open(_at(fd), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        how = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        write = os.open(name, how, 0o600, dir_fd=target)
        try:
            _data(read, write, os.fstat(read).st_size)
            _dress(fd, write)
        finally:
            os.close(write)
    finally:
        os.close(read)


def _data(read: int, write: int, size: int) -> None:
    """The data between the holes."""
    at = 0
    while at < size:
        try:
            start = os.lseek(read, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # a hole until the end
            raise
        at = os.lseek(read, start, os.SEEK_HOLE)
        os.lseek(read, start, os.SEEK_SET)
        os.lseek(write, start, os.SEEK_SET)
        left = at - start
        while left > 0:
            sent = os.sendfile(write, read, None, min(left, _BYTES))
            if not sent:
                return  # it became shorter
            left -= sent
    os.ftruncate(write, size)


def _dress(source: int, target: int) -> None:
    """Owner first, which takes set-user-id and capabilities away; then those; then the times."""
    there = os.fstat(source)
    os.chown(_at(target), there.st_uid, there.st_gid)
    os.chmod(_at(target), stat.S_IMODE(there.st_mode))
    with suppress(OSError):  # a file system without them
        for name in os.listxattr(_at(source)):
            os.setxattr(_at(target), name, os.getxattr(_at(source), name))
    os.utime(_at(target), ns=(there.st_atime_ns, there.st_mtime_ns))


def _at(fd: int) -> str:
    return f"/proc/self/fd/{fd}"

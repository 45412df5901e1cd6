"""A tree copied with all that belongs to its files: owners, modes, times, extended attributes, hard
links, holes, devices; also what an overlayfs within a container has noted at them.

The source is a stranger's and is walked by `trees`; the target is a new directory that nobody
else knows. As root; another user copies what is theirs.
"""

from __future__ import annotations

import os
import stat

from mobyshell.core.errors import StoreDamaged
from mobyshell.core.linux import files
from mobyshell.core.store.snapshots import trees
from mobyshell.core.store.snapshots.driver import copy_attributes, copy_xattrs
from mobyshell.core.store.snapshots.idmaps import IdMaps


def copy_tree(source: int, target: int, maps: IdMaps) -> None:
    """Copy what is in the directory `source`, and its own attributes, into the empty directory
    `target`. Owners are translated by `maps`. OSError, such as ENOSPC."""
    copy = _Copy(source, target, maps)
    try:
        for found in trees.walk(source, leave=copy.leave):
            copy.add(found)
        copy.finish()
    finally:
        copy.close()


class _Copy:
    """Where in the target we are: in the directory that the walk is in."""

    def __init__(self, source: int, target: int, maps: IdMaps) -> None:
        self._source, self._target, self._maps = source, target, maps
        self._here = os.open(".", trees.DIRECTORY, dir_fd=target)
        self._depth = 0
        self._linked: dict[tuple[int, int], str] = {}

    def close(self) -> None:
        os.close(self._here)

    def add(self, found: trees.Found) -> None:
        info, name = found.info, found.name
        if found.path.count("/") != self._depth:
            raise StoreDamaged(f"{found.path} was changed while it was copied")
        if stat.S_ISDIR(info.st_mode):
            os.mkdir(name, 0o700, dir_fd=self._here)
            self._move(name, 1)
            return
        if info.st_nlink > 1:
            first = self._linked.setdefault((info.st_dev, info.st_ino), found.path)
            if first != found.path:
                os.link(first, name, src_dir_fd=self._target, dst_dir_fd=self._here,
                        follow_symlinks=False)  # fmt: skip
                return
        if stat.S_ISREG(info.st_mode):
            self._regular(found)
        else:
            self._special(found)

    def leave(self, parent: int, path: str) -> None:
        """All that is in the directory is there: its times change no more."""
        source = os.open(os.path.basename(path), trees.DIRECTORY, dir_fd=parent)
        try:
            copy_attributes(source, self._here, self._maps)
        finally:
            os.close(source)
        self._move("..", -1)

    def finish(self) -> None:
        copy_attributes(self._source, self._target, self._maps)

    def _move(self, name: str, by: int) -> None:
        there = os.open(name, trees.DIRECTORY, dir_fd=self._here)
        os.close(self._here)
        self._here = there
        self._depth += by

    def _regular(self, found: trees.Found) -> None:
        how = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        source = os.open(found.name, how, dir_fd=found.parent)
        try:
            new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            target = os.open(found.name, new, 0o600, dir_fd=self._here)
            try:
                files.copy(source, target, os.fstat(source).st_size)
                copy_attributes(source, target, self._maps)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _special(self, found: trees.Found) -> None:
        info, name, here = found.info, found.name, self._here
        if stat.S_ISLNK(info.st_mode):
            os.symlink(os.readlink(name, dir_fd=found.parent), name, dir_fd=here)
        else:
            os.mknod(name, info.st_mode, info.st_rdev, dir_fd=here)
        uid, gid = self._maps.uids.outside(info.st_uid), self._maps.gids.outside(info.st_gid)
        os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)
        copy_xattrs(f"/proc/self/fd/{found.parent}/{name}", f"/proc/self/fd/{here}/{name}",
                    follow_symlinks=False)  # fmt: skip
        if not stat.S_ISLNK(info.st_mode):
            os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=here)
        os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=here, follow_symlinks=False)

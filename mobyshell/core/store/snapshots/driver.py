"""What differs between snapshotters: how a new tree begins, and how it is mounted.

`snapshotter.TreeSnapshotter` keeps the rules, the rows and the directories; a `Driver` knows files
only. Another kind of snapshotter is another driver, if its trees are directories.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Protocol

from mobyshell.core.store.snapshots.idmaps import IdMaps
from mobyshell.core.store.snapshots.protocol import Form, Kind, Mount, Usage

NO_MAPS = IdMaps()

FILES = "fs"
"""The name, in a tree's directory, of the directory that holds its files."""


class Driver(Protocol):
    """`tree` and `parents` are trees' directories; parents the nearest first."""

    @property
    def name(self) -> str:
        """The snapshotter's."""

    @property
    def form(self) -> Form:
        """How a tree that has parents says that something is deleted."""

    @property
    def rebases(self) -> bool:
        """Whether a tree that was made without parents can be given some."""

    def check(self, directory: Path) -> None:
        """Unsupported, with what would help, if trees below `directory` could not be mounted."""

    def make(self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps) -> None:
        """Fill a new directory. OSError."""

    def mounts(
        self, tree: Path, kind: Kind, parents: Sequence[Path], maps: IdMaps
    ) -> tuple[Mount, ...]:
        """What to mount."""

    def measure(self, tree: Path, parents: Sequence[Path]) -> Usage:
        """What the tree takes without its parents. OSError."""

    def settle(self, tree: Path) -> None:
        """Called when a tree has become committed."""


def bind(source: Path, *, writable: bool, maps: IdMaps = NO_MAPS) -> tuple[Mount, ...]:
    """A tree that is mounted as it is."""
    options = ("rw" if writable else "ro", "rbind", *maps.options())
    return (Mount("bind", str(source), options),)


def make_files(tree: Path, like: Path | None, maps: IdMaps) -> Path:
    """An empty directory for files, in its attributes like the parent's, or 0755 of the root user
    of the namespace that it is for."""
    files = tree / FILES
    files.mkdir()
    fd = os.open(files, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if like is None:
            os.fchmod(fd, 0o755)
            if maps:
                os.fchown(fd, maps.uids.outside(0), maps.gids.outside(0))
            return files
        source = os.open(like, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            copy_attributes(source, fd, maps, whole=False)
        finally:
            os.close(source)
    finally:
        os.close(fd)
    return files


def copy_attributes(source: int, target: int, maps: IdMaps, *, whole: bool = True) -> None:
    """Owner, mode, extended attributes, times: of what both descriptors are open on. Not `whole`:
    without what overlayfs has noted, which tells of the place and not of the file. OSError."""
    info = os.fstat(source)
    uid, gid = maps.uids.outside(info.st_uid), maps.gids.outside(info.st_gid)
    own = os.fstat(target)
    if (own.st_uid, own.st_gid) != (uid, gid):
        os.fchown(target, uid, gid)
    copy_xattrs(source, target, whole=whole)
    # after the owner: a change of that takes setuid away
    os.fchmod(target, stat.S_IMODE(info.st_mode))
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))


def copy_xattrs(
    source: int | str, target: int | str, *, follow_symlinks: bool = True, whole: bool = True
) -> None:
    """Extended attributes. What the target's filesystem has no room or no
    word for is an OSError, as elsewhere; what only the privileged may write, is left out."""
    for name in os.listxattr(source, follow_symlinks=follow_symlinks):
        if not whole and name.startswith(("trusted.overlay.", "user.overlay.")):
            continue
        value = os.getxattr(source, name, follow_symlinks=follow_symlinks)
        privileged = name.startswith(("trusted.", "security."))
        with suppress(PermissionError) if privileged and os.geteuid() else nullcontext():
            os.setxattr(target, name, value, follow_symlinks=follow_symlinks)

"""Whose a file of a layer in the making is, and what it may do: given away at once by root, and by
others at the end, by a program in the store's user namespace. Owns no path but those that it is told.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store.owners import Owners
from mobyshell.core.store.snapshots.inside import Inside
from mobyshell.moby.build.context import CAPABILITY

_HINT = "the file has attributes (getfattr -d -m -) that cannot be kept where the store lies"


class Owning:
    """For one directory, by the rules of a store."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._later: dict[Path, tuple[int, int]] = {}
        self._capable: dict[Path, bytes] = {}

    @property
    def enter(self) -> tuple[str, ...]:
        """The words of a program that starts another where these owners are (`Owners.enter`)."""
        return tuple(self._owners.enter)

    def give(self, path: Path, uid: int, gid: int) -> None:
        """Let a file, or a link itself, be of these ids, as a container knows them. OSError."""
        if not self._owners.uids:
            os.chown(path, uid, gid, follow_symlinks=False)
        elif self._owners.several:
            # what is not ours any more, we could neither write nor give a mode
            self._later[path] = uid, gid

    def mark(self, path: Path, attributes: Mapping[str, bytes]) -> None:
        """Extended attributes of a regular file, after it was given away: that takes capabilities
        away. SyscallFailed."""
        for name, value in attributes.items():
            if name == CAPABILITY and self._owners.uids:
                # of a user namespace's root: only there
                self._capable[path] = value
                continue
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError as error:
                raise SyscallFailed.of(error, "setxattr", path=str(path), hint=_HINT) from error

    def of(self, found: os.stat_result) -> tuple[int, int]:
        """Whose a file on the disk is, as a container knows them."""
        return self._owners.inside(found.st_uid, found.st_gid)

    def finish(self) -> None:
        """Give away what is still to be. SyscallFailed."""
        gone = {path: ids for path, ids in self._later.items() if ids != (0, 0)}
        capable = dict(self._capable)
        self._later.clear()
        self._capable.clear()
        if not gone and not capable:
            return
        inside = Inside(self._owners.enter)
        for path, (uid, gid) in gone.items():
            found = path.lstat()
            mode = None if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)
            try:
                inside.give(path, uid, gid, mode)
            except OSError as error:
                raise SyscallFailed.of(error, "chown", path=str(path)) from error
        for path, value in capable.items():
            try:
                inside.mark(path, CAPABILITY, _unbound(value))
            except OSError as error:
                raise SyscallFailed.of(error, "setxattr", path=str(path), hint=_HINT) from error


def _unbound(capabilities: bytes) -> bytes:
    """Without whose root they are for: as they are written in the namespace where that root is
    (capabilities(7), version 3; linux/capability.h)."""
    (magic,) = struct.unpack_from("<I", capabilities)
    if magic & _REVISION != _VERSION_3:
        return capabilities
    return struct.pack("<I", _VERSION_2 | magic & ~_REVISION) + capabilities[4:20]


_REVISION, _VERSION_2, _VERSION_3 = 0xFF000000, 0x02000000, 0x03000000

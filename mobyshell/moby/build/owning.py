"""Whose a file of a layer in the making is: given away at once by root, and by others at the end, by a
program in the store's user namespace. Owns no path but those that it is told.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store.owners import Owners
from mobyshell.core.store.snapshots.inside import Inside


class Owning:
    """For one directory, by the rules of a store."""

    def __init__(self, owners: Owners) -> None:
        self._owners = owners
        self._later: dict[Path, tuple[int, int]] = {}

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

    def of(self, found: os.stat_result) -> tuple[int, int]:
        """Whose a file on the disk is, as a container knows them."""
        return self._owners.inside(found.st_uid, found.st_gid)

    def finish(self) -> None:
        """Give away what is still to be. SyscallFailed."""
        gone = {path: ids for path, ids in self._later.items() if ids != (0, 0)}
        self._later.clear()
        if not gone:
            return
        inside = Inside(self._owners.enter)
        for path, (uid, gid) in gone.items():
            found = path.lstat()
            mode = None if stat.S_ISLNK(found.st_mode) else stat.S_IMODE(found.st_mode)
            try:
                inside.give(path, uid, gid, mode)
            except OSError as error:
                raise SyscallFailed.of(error, "chown", path=str(path)) from error

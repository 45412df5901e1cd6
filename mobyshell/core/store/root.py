"""Where everything of the store lies.

Owns the names below the store's root, and that nobody else may pass through it: images hold
setuid programs, which the users of the machine must not reach (CVE-2021-41091, -41103).

    meta.db              names, labels, relations (SQLite), with its -wal and -shm
    locks/               one file a lock; they are never removed
    content/blobs/       <algorithm>/<hex>: bytes by their digest, mode 0444
    content/ingest/      <id>/: what is being written
    content/identity     which database the files are of
    content/sequence     how far that has come
    snapshots/           <snapshotter>/<id>/: trees
    volumes/ networks/   what containers share
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mobyshell.core.errors import Refused, SyscallFailed
from mobyshell.core.values import value


@value
class StoreRoot:
    """The directory of a store, and the places below it."""

    path: Path

    @property
    def database(self) -> Path:
        return self.path / "meta.db"

    @property
    def locks(self) -> Path:
        return self.path / "locks"

    @property
    def blobs(self) -> Path:
        return self.path / "content" / "blobs"

    @property
    def ingests(self) -> Path:
        return self.path / "content" / "ingest"

    @property
    def identity(self) -> Path:
        return self.path / "content" / "identity"

    @property
    def sequence(self) -> Path:
        return self.path / "content" / "sequence"

    @property
    def snapshots(self) -> Path:
        return self.path / "snapshots"

    @property
    def scratch(self) -> Path:
        """What is in the making, and no snapshot: gone with who makes it, or collected."""
        return self.path / "build"

    def make(self) -> None:
        """Make what is missing, for the owner alone.

        Raises:
            Refused: the root belongs to somebody else, or others may write into it.
            SyscallFailed: it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = os.stat(self.path)
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise Refused(
                    f"the store {self.path} is another user's, or others may write into it",
                    hint="choose another directory by --root or MOBYSHELL_ROOT",
                )
            if found.st_mode & stat.S_IRWXO or found.st_mode & stat.S_IRWXG:
                self.path.chmod(0o700)
            content = self.blobs.parent
            for below in (self.locks, content, self.blobs, self.ingests, self.snapshots):
                below.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise SyscallFailed.of(error, "mkdir", path=str(self.path)) from error

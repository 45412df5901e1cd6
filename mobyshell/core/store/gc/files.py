"""The files that no row names: blobs, and ingests that nobody goes on with.

Each is looked up again behind the blobs' door, where nobody is between a rename and its row, and
nobody between making a directory and locking it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.blobs import Blobs
from mobyshell.core.store.content.ingest import COMMITTING
from mobyshell.core.store.database import Database
from mobyshell.core.store.gc.gather import YOUNG
from mobyshell.core.store.gc.graph import Node
from mobyshell.core.store.locks import lock_directory
from mobyshell.core.store.root import StoreRoot

_AT_ONCE = 64
"""Files that are removed while nobody can commit."""


def sweep_blobs(root: StoreRoot, database: Database) -> int:
    """Remove the files of blobs that have no row; the bytes that this gave back."""
    blobs = Blobs(root)
    with database.read() as sql:
        named = {row[0] for row in sql.execute("SELECT digest FROM blobs")}
    orphans = [digest for digest, _ in blobs.files() if digest not in named]
    freed = 0
    for at in range(0, len(orphans), _AT_ONCE):
        with blobs.door.alone(), database.read() as sql:
            kept = _committing(root)
            for digest in orphans[at : at + _AT_ONCE]:
                row = sql.execute("SELECT 1 FROM blobs WHERE digest = ?", (digest,)).fetchone()
                if row is None and digest not in kept:
                    freed += blobs.remove(digest)
    return freed


def sweep_ingests(root: StoreRoot, database: Database, stale: Iterable[Node], now: float) -> int:
    """Remove ingests that are too old, and directories that no ingest has, unless they are being
    written; the bytes that this gave back."""
    if not any(root.ingests.iterdir()):
        return 0
    old = {(node.namespace, node.key) for node in stale}
    freed = 0
    with Blobs(root).door.alone():
        for directory in root.ingests.iterdir():
            fd = lock_directory(directory) if directory.is_dir() else None
            if fd is None:
                continue
            try:
                freed += _sweep_ingest(database, directory, old, now)
            finally:
                os.close(fd)
    return freed


def _sweep_ingest(
    database: Database, directory: Path, old: set[tuple[str, str]], now: float
) -> int:
    with database.read() as sql:
        row = sql.execute("SELECT namespace, ref FROM ingests WHERE directory = ?",
                          (directory.name,)).fetchone()  # fmt: skip
    if row is not None:
        if row not in old or _touched(directory) + YOUNG > now:
            return 0
        with database.write(frees=True) as sql:
            sql.execute("DELETE FROM ingests WHERE namespace = ? AND ref = ?", row)
    try:
        size = sum(entry.stat().st_blocks * 512 for entry in directory.iterdir())
        shutil.rmtree(directory)
    except OSError as error:
        raise SyscallFailed.of(error, "rmdir", path=str(directory)) from error
    return size


def _touched(directory: Path) -> float:
    """When something of it was written last."""
    return max((entry.stat().st_mtime for entry in directory.iterdir()), default=0.0)


def _committing(root: StoreRoot) -> set[Digest | str]:
    """Blobs that an ingest will have back, whose commit was cut off after the rename."""
    found: set[Digest | str] = set()
    for directory in root.ingests.iterdir():
        try:
            found.add((directory / COMMITTING).read_text())
        except OSError:
            pass
    return found

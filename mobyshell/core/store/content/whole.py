"""Blobs that are whole in memory (documents, configurations): several at once, without an ingest.

Owns their way to the disk, which is an ingest's: written and on the disk, renamed among the blobs,
the directory on the disk; the rows come next. The directory that they are written in has no row, and
a lock for as long as its maker lives: after a crash it is garbage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store.content.blobs import Blobs, discard
from mobyshell.core.store.locks import lock_directory
from mobyshell.core.values import field, value


@value
class Whole:
    """A blob to be: `data` has been found to be what `digest` names."""

    digest: Digest
    data: bytes
    labels: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def placed(blobs: Blobs, new: Sequence[Whole]) -> Iterator[None]:
    """Within, the files of these are among the blobs, and nobody removes them: name them there.
    SyscallFailed."""
    with _directory(blobs) as directory:
        files = {one.digest: _written(directory, one) for one in new}
        with blobs.door.shared():
            blobs.place(files)
            yield


@contextmanager
def _directory(blobs: Blobs) -> Iterator[Path]:
    """A directory of our own, gone with the block."""
    directory, lock = _locked(blobs)
    try:
        yield directory
    finally:
        discard(directory)
        os.close(lock)


def _locked(blobs: Blobs) -> tuple[Path, int]:
    while True:
        directory = blobs.root.ingests / os.urandom(16).hex()
        with blobs.door.shared():  # nobody sweeps between the two
            try:
                directory.mkdir(mode=0o700)
            except OSError as error:
                raise SyscallFailed.of(error, "mkdir", path=str(directory)) from error
            lock = lock_directory(directory)
        if lock is not None:
            return directory, lock


def _written(directory: Path, one: Whole) -> Path:
    path = directory / one.digest.hex
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o444)
        try:
            view = memoryview(one.data)
            while view:
                view = view[os.write(fd, view) :]
            os.fchmod(fd, 0o444)  # whatever the umask is
            os.fsync(fd)
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=str(path)) from error
    return path

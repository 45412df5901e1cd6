"""The files of blobs: `content/blobs/<algorithm>/<hex>`, 0444, never changed.

Owns the way of bytes into that directory and out of it, and the door between the two: who puts
one there and names it in the database shares it, who removes what no row names has it alone. So
nothing is removed between its rename and its row.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from mobyshell.core.errors import StoreDamaged, SyscallFailed
from mobyshell.core.linux.files import sync_directory
from mobyshell.core.oci.digest import Digest, is_digest, new_hasher
from mobyshell.core.store.locks import Door
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.values import value

PIECE = 1 << 20
"""Bytes that are read at once."""

_HINT = "mobyshell store check --repair drops what is damaged; pull it again"


class Blob:
    """An open blob: `fd` for reading, `size` bytes. Close it (or use `with`). What was opened can
    be read to its end, whatever happens to its name."""

    __slots__ = ("digest", "fd", "size")

    def __init__(self, digest: Digest, fd: int, size: int) -> None:
        self.digest, self.fd, self.size = digest, fd, size

    def read(self, offset: int = 0, length: int = -1) -> bytes:
        """Up to `length` bytes from `offset`; -1 for all that follow."""
        wanted = max(0, self.size - offset)
        wanted = wanted if length < 0 else min(length, wanted)
        parts = []
        while wanted and (part := os.pread(self.fd, min(wanted, PIECE), offset)):
            parts.append(part)
            offset, wanted = offset + len(part), wanted - len(part)
        return b"".join(parts)

    def pieces(self) -> Iterator[bytes]:
        """All of it, in pieces of `PIECE` bytes."""
        offset = 0
        while part := os.pread(self.fd, PIECE, offset):
            yield part
            offset += len(part)

    def verify(self) -> None:
        """StoreDamaged unless the bytes are those that the digest names."""
        found = hash_file(self.fd, self.digest.algorithm)
        if found != self.digest:
            raise StoreDamaged(f"blob {self.digest} holds other bytes: {found}", hint=_HINT)

    def close(self) -> None:
        """Give the descriptor back."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Blob:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@value
class Blobs:
    """The directory of all blobs, of whatever namespace."""

    root: StoreRoot

    @property
    def door(self) -> Door:
        """Share it from `place` to the row's commit; have it alone to remove what has no row."""
        return Door(self.root.locks / "blobs", "the store's blobs")

    def path(self, digest: Digest) -> Path:
        """Where a blob lies, or would."""
        return self.root.blobs / digest.algorithm / digest.hex

    def open(self, digest: Digest, size: int) -> Blob:
        """Open one of this size. StoreDamaged if it is not there, or is not what was put there."""
        path = self.path(digest)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                raise StoreDamaged(f"blob {digest} is missing from {path}", hint=_HINT) from None
            raise SyscallFailed.of(error, "open", path=str(path)) from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size != size:
            os.close(fd)
            raise StoreDamaged(
                f"blob {digest} has {found.st_size} bytes instead of {size}", hint=_HINT
            )
        return Blob(digest, fd, size)

    def place(self, files: Mapping[Digest, Path]) -> None:
        """Move files, whose bytes are on the disk, to where their blobs belong, for good. What lies
        there already is replaced: it has the same bytes, or is damaged."""
        targets = {self.path(digest): source for digest, source in files.items()}
        directories = {path.parent for path in targets}
        path = self.root.blobs
        try:
            for path in directories:
                self._make(path)
            for path, source in targets.items():
                os.rename(source, path)
            for path in directories:
                sync_directory(path)
        except OSError as error:
            raise SyscallFailed.of(error, "rename", path=str(path)) from error

    def _make(self, directory: Path) -> None:
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            return
        for above in (directory.parent, directory.parent.parent, self.root.path):
            sync_directory(above)

    def files(self) -> Iterator[tuple[Digest, os.DirEntry[str]]]:
        """Every file that has a blob's name."""
        for name in ("sha256", "sha512"):
            try:
                entries = os.scandir(self.root.blobs / name)
            except FileNotFoundError:
                continue
            with entries:
                for entry in entries:
                    if is_digest(f"{name}:{entry.name}"):
                        yield Digest(f"{name}:{entry.name}"), entry

    def strangers(self) -> Iterator[Path]:
        """What lies there and cannot be a blob."""
        for above in self.root.blobs.iterdir():
            if above.name not in ("sha256", "sha512") or not above.is_dir():
                yield above
                continue
            for entry in above.iterdir():
                if not is_digest(f"{above.name}:{entry.name}") or not entry.is_file():
                    yield entry

    def remove(self, digest: Digest) -> int:
        """Remove a file; the bytes that this gave back. Nothing if it is gone."""
        path = self.path(digest)
        try:
            size = path.stat(follow_symlinks=False).st_blocks * 512
            os.unlink(path)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise SyscallFailed.of(error, "unlink", path=str(path)) from error
        return size


def discard(directory: Path) -> None:
    """Remove a directory in which are files only. What cannot be removed is left, as garbage."""
    try:
        for name in os.listdir(directory):
            os.unlink(directory / name)
        directory.rmdir()
    except OSError:
        pass


def hash_file(fd: int, algorithm: str = "sha256") -> Digest:
    """The digest of all bytes of an open file."""
    return Digest.from_hasher(hash_into(new_hasher(algorithm), fd))


def hash_region(fd: int, offset: int, length: int, algorithm: str = "sha256") -> Digest:
    """The digest of `length` bytes of an open file, or of as many as there are."""
    return Digest.from_hasher(hash_into(new_hasher(algorithm), fd, offset, length))


def hash_into(
    hasher: hashlib._Hash, fd: int, offset: int = 0, length: int | None = None
) -> hashlib._Hash:
    """`hasher`, with the bytes of an open file from `offset` added: `length`, or all."""
    buffer = bytearray(PIECE)
    view = memoryview(buffer)
    left = length
    while count := os.preadv(fd, [view if left is None else view[:left]], offset):
        hasher.update(view[:count])
        offset += count
        left = None if left is None else left - count
        if left == 0:
            break
    return hasher

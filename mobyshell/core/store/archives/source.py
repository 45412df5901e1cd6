"""Where images come from: an archive or a directory, as names with their bytes.

    with open_source(path, spool) as source:
        source.read("index.json", most)
        source.find("blobs/sha256/…")          a region of a file, for whoever reads it all

Owns the table of contents of an archive, made by reading its headers only. Names are as in the
archive, without `./`; of two members with one name the later one counts, as with tar(1).
"""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mobyshell.core.errors import InvalidImage, InvalidLayer, NotFound, SyscallFailed
from mobyshell.core.linux.paths import open_beneath
from mobyshell.core.store.archives.foreign import BZIP2, XZ, Damaged, plainer
from mobyshell.core.store.layers import Compression, Region
from mobyshell.core.store.layers.compression import Unpacked, detect, peeked
from mobyshell.core.store.layers.tar.blocks import BLOCK, Blocks
from mobyshell.core.store.layers.tar.headers import LINK, REGULAR, SYMLINK
from mobyshell.core.store.layers.tar.reader import read_entries
from mobyshell.core.store.layers.values import Limits

MOST_MEMBERS = 200_000
MOST_HOPS = 10
_EXTENDED = 1 << 20
_PIECE = 1 << 20


class ImageSource(Protocol):
    """Bytes by their names."""

    def find(self, name: str) -> Region:
        """Where the bytes of `name` are; its length is set. NotFound."""
        ...

    def read(self, name: str, most: int) -> bytes:
        """All bytes of `name`. NotFound; InvalidImage if they are more than `most`."""
        ...


@contextmanager
def open_source(path: str | os.PathLike[str] | int, spool: Path) -> Iterator[ImageSource]:
    """The images in the file or directory `path`, or in what a descriptor reads.

    What cannot be read at any place (a pipe, a compressed archive) is copied first, into a file
    without a name in the directory `spool`.

    Raises:
        InvalidImage: it is neither.
        SyscallFailed: it cannot be read, or copied.
    """
    opened: list[int] = []
    try:
        if isinstance(path, int):
            fd = path
        else:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            opened.append(fd)
        kind = os.fstat(fd).st_mode
        if stat.S_ISDIR(kind):
            yield DirectorySource(fd, opened)
            return
        start = os.pread(fd, 8, 0) if stat.S_ISREG(kind) else b""
        if not stat.S_ISREG(kind) or _is_packed(start):
            fd = _spooled(fd, spool)
            opened.append(fd)
        yield ArchiveSource(fd)
    except OSError as error:
        name = "" if isinstance(path, int) else os.fspath(path)
        raise SyscallFailed.of(error, "open", path=name) from error
    finally:
        for fd in opened:
            os.close(fd)


class DirectorySource:
    """A layout that lies in a directory. No link in it is followed."""

    def __init__(self, top: int, opened: list[int]) -> None:
        """`opened` takes the descriptors that the caller closes in the end."""
        self._top, self._opened = top, opened

    def find(self, name: str) -> Region:
        try:
            fd = open_beneath(self._top, name, os.O_RDONLY | os.O_NONBLOCK)
        except SyscallFailed:
            raise NotFound(f"there is no {name:.200} in the image's directory") from None
        self._opened.append(fd)
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(f"{name:.200} in the image's directory is no file")
        return Region(fd, 0, found.st_size)

    def read(self, name: str, most: int) -> bytes:
        return _read(self.find(name), name, most)


class ArchiveSource:
    """A tar in a file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._members: dict[str, Region] = {}
        self._links: dict[str, str] = {}
        try:
            self._list()
        except InvalidLayer as error:
            raise _no_archive(error) from None
        if not self._members:
            raise InvalidImage("there is nothing in this archive")

    def _list(self) -> None:
        blocks = _Seeking(self._fd)
        for count, entry in enumerate(read_entries(blocks, _EXTENDED)):
            if count >= MOST_MEMBERS:
                raise InvalidImage(f"an archive of more than {MOST_MEMBERS} members")
            name = _plain(entry.name)
            if entry.type == REGULAR:
                self._members[name] = Region(self._fd, blocks.position, entry.size)
                self._links.pop(name, None)
            elif entry.type in (LINK, SYMLINK):
                target = _plain(entry.link)
                if entry.type == SYMLINK:
                    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
                self._links[name] = target
                self._members.pop(name, None)

    def find(self, name: str) -> Region:
        wanted = name
        for _ in range(MOST_HOPS):
            if wanted in self._members:
                return self._members[wanted]
            if wanted not in self._links:
                break
            wanted = self._links[wanted]
        raise NotFound(f"there is no {name:.200} in the archive")

    def read(self, name: str, most: int) -> bytes:
        return _read(self.find(name), name, most)


class _Seeking(Blocks):
    """An archive in a file: what nobody wants to see is passed over."""

    def __init__(self, fd: int) -> None:
        super().__init__(iter(()))
        self._fd, self._offset, self._size = fd, 0, os.fstat(fd).st_size

    @property
    def position(self) -> int:
        return self._offset

    def block(self) -> bytes:
        if self._offset == self._size:
            return b""
        return self.exactly(BLOCK)

    def exactly(self, size: int) -> bytes:
        data = os.pread(self._fd, size, self._offset)
        if len(data) != size:
            raise InvalidLayer("the archive is cut off")
        self._offset += size
        return data

    def skip(self, size: int) -> None:
        if self._offset + size > self._size:
            raise InvalidLayer("the archive is cut off")
        self._offset += size


def _plain(name: bytes) -> str:
    return posixpath.normpath(name.decode("utf-8", "surrogateescape")).lstrip("/")


def _read(region: Region, name: str, most: int) -> bytes:
    assert region.length is not None
    if region.length > most:
        raise InvalidImage(f"{name:.200} has {region.length} bytes; at most {most} can be meant")
    data = os.pread(region.fd, region.length, region.offset)
    if len(data) != region.length:
        raise InvalidImage(f"{name:.200} is cut off")
    return data


def _spooled(fd: int, spool: Path) -> int:
    """A file with the (unpacked) bytes that `fd` reads."""
    spool.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = os.open(spool, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)
    try:
        start, chunks = peeked(plainer(_chunks(fd)))
        compression = detect(start)
        for chunk in Unpacked(chunks, compression, Limits()):
            view = memoryview(chunk)
            while view:
                view = view[os.write(file, view) :]
    except (InvalidLayer, Damaged) as error:
        os.close(file)
        raise _no_archive(error) from None
    except BaseException:
        os.close(file)
        raise
    return file


def _is_packed(start: bytes) -> bool:
    return start.startswith((BZIP2, XZ)) or detect(start) is not Compression.NONE


def _no_archive(error: InvalidLayer | Damaged) -> InvalidImage:
    why = error.reason if isinstance(error, InvalidLayer) else error
    return InvalidImage(f"this is no archive of images: {why}",
                        hint="`docker save`, `podman save` and `image export` write some")  # fmt: skip


def _chunks(fd: int) -> Iterator[bytes]:
    while chunk := os.read(fd, _PIECE):
        yield chunk

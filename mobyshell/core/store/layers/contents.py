"""Changes as an archive: headers, whiteouts and the bytes of files.

The same changes give the same bytes, on any machine and at any time: what depends on these (names
of owners, times of access, inode numbers) is not written.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from mobyshell.core.store.layers.attributes import CONTROL, LISTED
from mobyshell.core.store.layers.changes import FILE, Change, changed
from mobyshell.core.store.layers.notes import Notes
from mobyshell.core.store.layers.streams import CHUNK
from mobyshell.core.store.layers.tar import headers as h
from mobyshell.core.store.layers.tar.headers import Entry
from mobyshell.core.store.layers.tar.reader import shown
from mobyshell.core.store.layers.tar.writer import END, header, padding
from mobyshell.core.store.layers.whiteouts import OPAQUE, PREFIX

_ENOUGH = 64 << 10
"""Bytes that are worth a chunk of their own."""
_KINDS = {
    stat.S_IFREG: h.REGULAR, stat.S_IFDIR: h.DIRECTORY, stat.S_IFLNK: h.SYMLINK,
    stat.S_IFCHR: h.CHARACTER, stat.S_IFBLK: h.BLOCK_DEVICE, stat.S_IFIFO: h.FIFO,
}  # fmt: skip


def kept_xattrs(place: bytes | int) -> dict[bytes, bytes]:
    """The extended attributes of a file that a layer has: the users', capabilities and access lists.
    The others are the machine's (labels) or overlayfs's own. OSError."""
    found: dict[bytes, bytes] = {}
    follow = isinstance(place, int)
    try:
        for key in sorted(os.listxattr(place, follow_symlinks=follow)):
            name = os.fsencode(key)
            if key.startswith(LISTED) and not name.startswith(CONTROL):
                found[name] = os.getxattr(place, key, follow_symlinks=follow)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    return found


class Contents:
    """The archive of `changes`. Times later than `newest` (nanoseconds) are written as that."""

    def __init__(self, changes: Iterator[Change], newest: int | None = None) -> None:
        self._changes = changes
        self._newest = newest
        self._notes = Notes()
        self._first: dict[tuple[int, int], bytes] = {}
        self._buffer = bytearray()
        self.entries = 0
        """How many members were written so far; any thread may look."""

    def left_out(self) -> tuple[str, ...]:
        """What is not in it, one line each."""
        return self._notes.lines()

    def __iter__(self) -> Iterator[bytes]:
        for change in self._changes:
            if change.about is None:
                self._whiteout(change.path, change.name)
            elif self._can_be_written(change, change.about):
                yield from self._member(change, change.about)
            if len(self._buffer) >= CHUNK:
                yield self._taken()
        self._buffer += END
        yield self._taken()

    def _taken(self) -> bytes:
        taken = bytes(self._buffer)
        self._buffer.clear()
        return taken

    def _can_be_written(self, change: Change, about: os.stat_result) -> bool:
        if any(part.startswith(PREFIX) for part in change.path.split(b"/")):
            self._notes.add(f"{shown(change.path)!r}: in a layer the name would delete something")
            return False
        if stat.S_IFMT(about.st_mode) not in _KINDS:
            self._notes.add(f"{shown(change.path)!r}: a socket")
            return False
        return True

    def _whiteout(self, path: bytes, name: bytes) -> None:
        if name.startswith(PREFIX):
            self._notes.add(f"{shown(path)!r}: its deletion cannot be said in a layer")
            return
        self._marker(path[: len(path) - len(name)] + PREFIX + name)

    def _marker(self, name: bytes) -> None:
        self.entries += 1
        self._buffer += header(Entry(name, h.REGULAR, 0o644, 0, 0, 0, 0, b"", (0, 0)))

    def _member(self, change: Change, about: os.stat_result) -> Iterator[bytes]:
        self.entries += 1
        kind = _KINDS[stat.S_IFMT(about.st_mode)]
        if kind != h.DIRECTORY and about.st_nlink > 1:
            first = self._first.setdefault((about.st_dev, about.st_ino), change.path)
            if first != change.path:
                self._buffer += header(self._entry(change, about, h.LINK, first))
                return
        if kind == h.REGULAR:
            yield from self._file(change, about)
            return
        link = os.readlink(change.place) if kind == h.SYMLINK else b""
        xattrs = kept_xattrs(change.place)
        self._buffer += header(self._entry(change, about, kind, link, xattrs))
        if change.opaque:
            self._marker(change.path + b"/" + OPAQUE)

    def _entry(
        self,
        change: Change,
        about: os.stat_result,
        kind: int,
        link: bytes = b"",
        xattrs: dict[bytes, bytes] | None = None,
    ) -> Entry:
        time = about.st_mtime_ns
        if self._newest is not None and time > self._newest:
            time = self._newest
        device = (0, 0)
        if kind in (h.CHARACTER, h.BLOCK_DEVICE):
            device = (os.major(about.st_rdev), os.minor(about.st_rdev))
        size = about.st_size if kind == h.REGULAR else 0
        mode = 0o777 if kind == h.SYMLINK else stat.S_IMODE(about.st_mode)
        return Entry(
            change.path, kind, mode, about.st_uid, about.st_gid, size, time, link, device,
            self._sayable(change.path, xattrs),
        )  # fmt: skip

    def _sayable(self, path: bytes, xattrs: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
        """pax ends a key at its first `=`."""
        for key in [key for key in xattrs or () if b"=" in key]:
            assert xattrs is not None
            del xattrs[key]
            self._notes.add(f"{shown(path)!r}: attribute {shown(key)!r}")
        return xattrs or None

    def _file(self, change: Change, about: os.stat_result) -> Iterator[bytes]:
        try:
            fd = os.open(change.name, FILE, dir_fd=change.parent)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO):
                raise changed(change.path) from None
            raise
        try:
            now = os.fstat(fd)
            if (now.st_dev, now.st_ino) != (about.st_dev, about.st_ino):
                raise changed(change.path)
            self._buffer += header(self._entry(change, now, h.REGULAR, b"", kept_xattrs(fd)))
            yield from self._data(fd, now.st_size, change.path)
        finally:
            os.close(fd)

    def _data(self, fd: int, size: int, path: bytes) -> Iterator[bytes]:
        left = size
        while left:
            data = os.read(fd, min(left, CHUNK))
            if not data:
                raise changed(path)
            left -= len(data)
            if len(data) < _ENOUGH:
                self._buffer += data
            else:
                if self._buffer:
                    yield self._taken()
                yield data
        self._buffer += padding(size)

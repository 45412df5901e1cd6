"""Making what an archive lists: one method for each kind of member."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from mobyshell.core.errors import InvalidLayer
from mobyshell.core.linux.trees import remove_beneath
from mobyshell.core.store.layers.attributes import Attributes
from mobyshell.core.store.layers.notes import Notes
from mobyshell.core.store.layers.places import Place, Places
from mobyshell.core.store.layers.tar import headers as h
from mobyshell.core.store.layers.tar.blocks import Blocks
from mobyshell.core.store.layers.tar.headers import Entry, Sparse
from mobyshell.core.store.layers.tar.reader import shown

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_HOLE = 64 << 10
"""Bytes: so many zeros on end are not written."""
_ZEROS = bytes(_HOLE)
_TYPES = {h.CHARACTER: stat.S_IFCHR, h.BLOCK_DEVICE: stat.S_IFBLK, h.FIFO: stat.S_IFIFO}

Make = Callable[[Place, bytes, Entry], None]


class Members:
    """Makes members in directories of `places`; the data of files comes from `blocks`.

    What was there under a name before gives way, but for a directory that is listed again. Every
    method raises OSError, and InvalidLayer for what must not be made.
    """

    def __init__(
        self, places: Places, blocks: Blocks, attributes: Attributes, notes: Notes
    ) -> None:
        self._places = places
        self._blocks = blocks
        self._attributes = attributes
        self._notes = notes

    def makers(self) -> dict[int, Make]:
        """How each type of a header is made."""
        return {
            h.REGULAR: self._file, h.DIRECTORY: self._directory, h.SYMLINK: self._symlink,
            h.LINK: self._link, h.CHARACTER: self._special, h.BLOCK_DEVICE: self._special,
            h.FIFO: self._special,
        }  # fmt: skip

    def _file(self, place: Place, name: bytes, entry: Entry) -> None:
        mode = entry.mode & 0o777
        try:
            fd = os.open(name, _NEW, mode, dir_fd=place.fd)
        except FileExistsError:
            self._make_way(place, name)
            fd = os.open(name, _NEW, mode, dir_fd=place.fd)
        try:
            if entry.sparse:
                self._fill_sparse(fd, entry.sparse)
            elif entry.size:
                self._fill(fd, entry.size)
            self._attributes.on_file(fd, entry, mode)
        finally:
            os.close(fd)

    def _fill(self, fd: int, size: int) -> None:
        left, take = size, self._blocks.piece
        if size < _HOLE:
            while left:
                piece = take(left)
                left -= len(piece)
                _write(fd, piece)
            return
        hole = False
        while left:
            piece = take(left)
            left -= len(piece)
            hole = _write_around_holes(fd, piece)
        if hole:
            os.ftruncate(fd, size)  # one at the end is not written either

    def _fill_sparse(self, fd: int, sparse: Sparse) -> None:
        for offset, length in sparse.segments:
            os.lseek(fd, offset, os.SEEK_SET)
            left = length
            while left:
                piece = self._blocks.piece(left)
                left -= len(piece)
                _write(fd, piece)
        os.ftruncate(fd, sparse.size)

    def _directory(self, place: Place, name: bytes, entry: Entry) -> None:
        # its owner may have to write in it before its mode is put on it, at the end
        mode = entry.mode & 0o777 | 0o700
        opaque = name in place.node.whiteouts
        made = True
        try:
            os.mkdir(name, mode, dir_fd=place.fd)
        except FileExistsError:
            made = not stat.S_ISDIR(os.lstat(name, dir_fd=place.fd).st_mode)
            if made:
                self._make_way(place, name)
                os.mkdir(name, mode, dir_fd=place.fd)
        node = place.node.child(name)
        if made:
            node.made = mode
        node.entry, node.implied = entry, False
        node.opaque = node.opaque or opaque
        node.keep()

    def _symlink(self, place: Place, name: bytes, entry: Entry) -> None:
        if not entry.link or b"\0" in entry.link:
            raise InvalidLayer("a symbolic link that says nothing")
        try:
            os.symlink(entry.link, name, dir_fd=place.fd)
        except FileExistsError:
            self._make_way(place, name)
            os.symlink(entry.link, name, dir_fd=place.fd)
        self._attributes.on_name(name, place.fd, entry)

    def _link(self, place: Place, name: bytes, entry: Entry) -> None:
        parts = [part for part in entry.link.split(b"/") if part not in (b"", b".")]
        if not parts or b".." in parts:
            raise InvalidLayer(f"a hard link to {shown(entry.link)!r}")
        directory, target = os.dup(place.fd), parts[-1]  # opening the other may close ours
        try:
            place = Place(directory, place.node)
            other = self._places.open(b"/".join(parts[:-1]), make=False)
            if other is None or target in other.node.whiteouts:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            if other.node is place.node and target == name:
                raise InvalidLayer("a hard link to itself")
            try:
                self._link_to(other, target, place, name)
            except FileExistsError:
                self._make_way(place, name, current=other)
                self._link_to(other, target, place, name)
        except FileNotFoundError:
            raise InvalidLayer(
                f"a hard link to {shown(entry.link)!r}, which is not there"
            ) from None
        finally:
            os.close(directory)

    @staticmethod
    def _link_to(other: Place, target: bytes, place: Place, name: bytes) -> None:
        try:
            os.link(target, name, src_dir_fd=other.fd, dst_dir_fd=place.fd, follow_symlinks=False)
        except PermissionError:
            if stat.S_ISDIR(os.stat(target, dir_fd=other.fd, follow_symlinks=False).st_mode):
                raise InvalidLayer(f"a hard link to {shown(target)!r}, a directory") from None
            raise

    def _special(self, place: Place, name: bytes, entry: Entry) -> None:
        device = 0 if entry.type == h.FIFO else _device(*entry.device)
        if entry.type == h.CHARACTER and device == 0:
            raise InvalidLayer("a device 0/0: overlayfs would take it for a whiteout")
        mode = _TYPES[entry.type] | entry.mode
        try:
            try:
                os.mknod(name, mode, device, dir_fd=place.fd)
            except FileExistsError:
                self._make_way(place, name)
                os.mknod(name, mode, device, dir_fd=place.fd)
        except PermissionError:
            if entry.type == h.FIFO:
                raise
            self._notes.add(f"{shown(entry.name)!r}: a device, which only root can make")
            return
        self._attributes.on_name(name, place.fd, entry)

    def _make_way(self, place: Place, name: bytes, current: Place | None = None) -> None:
        """Remove what is there under this name. The descriptor of `current` (`place`) stays good."""
        node = place.node
        if name in node.whiteouts:
            os.unlink(name, dir_fd=place.fd)
            node.whiteouts.discard(name)
            return
        remove_beneath(place.fd, name)
        if node.children.pop(name, None) is not None:
            self._places.forget(current or place)


def _device(major: int, minor: int) -> int:
    # what os.makedev and the kernel would cut to size could be 0/0
    if major >= 1 << 12 or minor >= 1 << 20:
        raise InvalidLayer(f"device {major}/{minor} out of range")
    return os.makedev(major, minor)


def _is_zero(piece: memoryview) -> bool:
    return piece.tobytes() == _ZEROS  # a memoryview compares byte by byte, 50 times slower


def _write(fd: int, piece: memoryview) -> None:
    size = len(piece)
    done = os.write(fd, piece)
    while done < size:
        done += os.write(fd, piece[done:])


def _write_around_holes(fd: int, piece: memoryview) -> bool:
    """Write `piece`, but where it is long zero, only go on in the file; whether it ends so."""
    start = at = 0
    while at + _HOLE <= len(piece):
        if not piece[at] and not piece[at + _HOLE - 1] and _is_zero(piece[at : at + _HOLE]):
            if at > start:
                _write(fd, piece[start:at])
            os.lseek(fd, _HOLE, os.SEEK_CUR)
            start = at + _HOLE
        at += _HOLE
    if start < len(piece):
        _write(fd, piece[start:])
    return start == len(piece)

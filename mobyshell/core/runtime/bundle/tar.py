"""A root filesystem from a tarball, which may come from anybody.

Nothing of it is extracted by path: every member is made by the descriptor of its directory,
opened by openat2(2) with the root filesystem as the root, so that no link and no name in the
archive leads out of it. What is written is what the archive holds: the holes of a sparse file stay
holes.
"""

from __future__ import annotations

import errno
import lzma
import os
import stat
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mobyshell.core.errors import InvalidSpec, NotFound, SyscallFailed, Unsupported
from mobyshell.core.linux import constants as c
from mobyshell.core.linux import paths

_CHUNK = 1 << 20
_ZSTD = b"\x28\xb5\x2f\xfd"
_XATTR = "SCHILY.xattr."

# what readers of damaged archives raise: tarfile itself, and the decompressors through it
_DAMAGED = (tarfile.TarError, EOFError, ValueError, OverflowError, zlib.error, lzma.LZMAError)


def fill(rootfs: Path, words: str, notice: Callable[[str], None]) -> str | None:
    """Make the members of the archive `words` in `rootfs`. Returns a shell, if it has one.

    Owners and devices are kept when root, else they are the caller's and left out. NotFound,
    InvalidSpec for what is not an archive, is damaged, or has a member that would lie outside.
    """
    if not os.path.isfile(words):
        raise NotFound(f"no file {words}", hint="--from tar:FILE")
    root = os.open(rootfs, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _opened(words) as archive:
            _Unpacking(root, archive, notice).run()
            _check_end(archive)
    except _DAMAGED as error:
        raise _unusable(words, str(error)) from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise _unusable(words, str(error)) from None  # gzip's and bz2's
    finally:
        os.close(root)
    return _shell(rootfs)


@contextmanager
def _opened(path: str) -> Iterator[tarfile.TarFile]:
    """The archive in this file, whatever it is compressed by. Unsupported."""
    with open(path, "rb") as file:
        compressed = file.read(4) == _ZSTD
    if not compressed:
        with tarfile.open(path, "r:*") as archive:
            yield archive
        return
    # tarfile itself knows this form from Python 3.14 on
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
    except ImportError:
        raise Unsupported(
            f"{path} is compressed by zstd, which this Python cannot read", hint=f"zstd -d {path}"
        ) from None
    try:
        with zstd.ZstdFile(path) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
            yield archive
    except zstd.ZstdError as error:
        raise ValueError(str(error)) from None


def _unusable(path: str, why: str) -> InvalidSpec:
    first = why.partition("\n")[0].rstrip(": ") or "damaged"  # tarfile lists what it tried
    return InvalidSpec(f"{path} is not a usable archive: {first}")


def _check_end(archive: tarfile.TarFile) -> None:
    """tarfile takes a damaged header for the end: the end is a block of zeros, or nothing more."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    block = archive.fileobj.read(tarfile.BLOCKSIZE)
    if block.strip(b"\0"):
        raise ValueError(f"damaged at byte {archive.offset}")
    while archive.fileobj.read(_CHUNK):  # what is compressed has its checksum behind all of it
        pass


def _shell(rootfs: Path) -> str | None:
    """`sh` if the image has one; looked up inside of it, links and all."""
    root = os.open(rootfs, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(paths.open_in_root(root, "/bin/sh", c.O_PATH))
    except SyscallFailed:
        return None
    finally:
        os.close(root)
    return "sh"


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidSpec(f"the archive has a member outside of its root: {name!r:.200}")
    return "/".join(parts)


class _Unpacking:
    """One archive on its way into one root."""

    def __init__(self, root: int, archive: tarfile.TarFile, notice: Callable[[str], None]) -> None:
        self._root = root
        self._archive = archive
        self._notice = notice
        self._privileged = os.geteuid() == 0
        self._directories: dict[str, tarfile.TarInfo] = {}
        self._left_out: dict[str, int] = {}

    def run(self) -> None:
        for member in self._archive:
            self._member(_clean(member.name), member)
        # directories last, the deepest first: one without write permission must take its files
        for name in sorted(self._directories, key=lambda one: -one.count("/")):
            self._finish_directory(name, self._directories[name])
        for what, count in self._left_out.items():
            self._notice(f"{count} {what} left out of the root filesystem")

    def _leave_out(self, what: str) -> None:
        self._left_out[what] = self._left_out.get(what, 0) + 1

    def _member(self, name: str, member: tarfile.TarInfo) -> None:
        if any(key.startswith(_XATTR) for key in member.pax_headers):
            self._leave_out("sets of extended attributes")
        if not name:
            if member.isdir():
                self._directories[""] = member
            return
        parent, _, last = name.rpartition("/")
        directory = self._reach(parent)
        try:
            if member.isdir():
                self._directory(directory, last)
                self._directories[name] = member
            else:
                self._directories.pop(name, None)
                self._replace(directory, last)
                self._entry(directory, last, member)
        except OSError as error:
            if error.errno is None:
                raise
            raise SyscallFailed.of(error, "unpacking", path=name) from None
        finally:
            os.close(directory)

    def _reach(self, parent: str) -> int:
        """The directory of a member; made if the archive has not listed it.

        A link on the way (`lib` to `usr/lib`) is followed as inside of the container.
        """
        kind = c.O_PATH | os.O_DIRECTORY
        try:
            return paths.open_in_root(self._root, parent, kind)
        except SyscallFailed as error:
            if error.errno != errno.ENOENT:
                raise
        current = paths.open_in_root(self._root, ".", kind)
        way = ""
        for part in parent.split("/"):
            way = f"{way}/{part}"
            try:
                deeper = paths.open_in_root(self._root, way, kind)
            except SyscallFailed as error:
                if error.errno != errno.ENOENT:
                    os.close(current)
                    raise
                try:
                    self._directory(current, part)
                    deeper = paths.open_beneath(current, part, kind)
                finally:
                    os.close(current)
            else:
                os.close(current)
            current = deeper
        return current

    def _directory(self, directory: int, name: str) -> None:
        """A later member of the same name wins, as with tar(1); a directory stays what it is."""
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                return
            os.unlink(name, dir_fd=directory)
            os.mkdir(name, 0o700, dir_fd=directory)
        made = paths.open_beneath(directory, name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fchmod(made, 0o755)
        finally:
            os.close(made)

    @staticmethod
    def _replace(directory: int, name: str) -> None:
        try:
            if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                os.rmdir(name, dir_fd=directory)
            else:
                os.unlink(name, dir_fd=directory)
        except FileNotFoundError:
            pass

    def _entry(self, directory: int, name: str, member: tarfile.TarInfo) -> None:
        if member.isfile() or member.issparse():
            self._file(directory, name, member)
        elif member.issym():
            os.symlink(member.linkname, name, dir_fd=directory)
            self._own(directory, name, member)
        elif member.islnk():
            self._link(directory, name, member)  # owner and mode are the other name's
        elif member.isfifo() or member.ischr() or member.isblk():
            self._node(directory, name, member)
        else:
            self._leave_out("entries of unknown kinds")

    def _own(self, directory: int, name: str, member: tarfile.TarInfo) -> None:
        if self._privileged:
            os.chown(name, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        times = _times(member)
        os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def _file(self, directory: int, name: str, member: tarfile.TarInfo) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        source = self._archive.extractfile(member)
        assert source is not None
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            with source, open(fd, "wb", buffering=0, closefd=False) as target:
                # offsets and sizes of what is not a hole; typeshed has it otherwise
                parts: Any = member.sparse or [(0, member.size)]
                for offset, size in parts:
                    source.seek(offset)
                    target.seek(offset)
                    while size > 0:
                        chunk = source.read(min(size, _CHUNK))
                        if not chunk:
                            raise EOFError("a member is cut short")
                        size -= len(chunk)
                        rest = memoryview(chunk)
                        while rest:
                            rest = rest[target.write(rest) :]
                target.truncate(member.size)
            if self._privileged:
                os.fchown(fd, member.uid, member.gid)
            # after chown, which takes set-uid bits away
            os.fchmod(fd, member.mode & 0o7777)
            os.utime(fd, ns=_times(member))
        finally:
            os.close(fd)

    def _link(self, directory: int, name: str, member: tarfile.TarInfo) -> None:
        above, _, last = _clean(member.linkname).rpartition("/")
        try:
            there = paths.open_in_root(self._root, above, c.O_PATH | os.O_DIRECTORY)
        except SyscallFailed as error:
            raise self._dangling(member) from error
        try:
            os.link(last, name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)
        except (FileNotFoundError, PermissionError):
            raise self._dangling(member) from None
        finally:
            os.close(there)

    @staticmethod
    def _dangling(member: tarfile.TarInfo) -> InvalidSpec:
        return InvalidSpec(
            f"the archive has a hard link {member.name!r:.100} to {member.linkname!r:.100}, "
            "which is no file before it"
        )

    def _node(self, directory: int, name: str, member: tarfile.TarInfo) -> None:
        if member.isfifo():
            os.mkfifo(name, 0o600, dir_fd=directory)
        elif not self._privileged:
            self._leave_out("devices (only root may make them)")
            return
        else:
            kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
            number = os.makedev(member.devmajor, member.devminor)
            os.mknod(name, kind | 0o600, number, dir_fd=directory)
        self._own(directory, name, member)
        os.chmod(name, member.mode & 0o7777, dir_fd=directory)

    def _finish_directory(self, name: str, member: tarfile.TarInfo) -> None:
        above, _, last = name.rpartition("/")
        parent = paths.open_in_root(self._root, above, c.O_PATH | os.O_DIRECTORY)
        try:
            fd = paths.open_beneath(parent, last or ".", os.O_RDONLY | os.O_DIRECTORY)
        finally:
            os.close(parent)
        try:
            if self._privileged:
                os.fchown(fd, member.uid, member.gid)
            os.fchmod(fd, member.mode & 0o7777)
            os.utime(fd, ns=_times(member))
        finally:
            os.close(fd)


def _times(member: tarfile.TarInfo) -> tuple[int, int]:
    when = int(float(member.mtime) * 1e9)
    return when, when

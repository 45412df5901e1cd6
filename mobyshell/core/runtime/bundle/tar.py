"""A root filesystem from a tarball, which may come from anybody.

Nothing of it is extracted by path: every member is made by the descriptor of its directory,
opened beneath the root with no symbolic link followed, so no member can lie outside of it.
"""

from __future__ import annotations

import os
import stat
import tarfile
from pathlib import Path

from mobyshell.core.errors import InvalidSpec, NotFound, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux import paths

_CHUNK = 1 << 20


def fill(rootfs: Path, words: str) -> str | None:
    """Make the members of the archive `words` in `rootfs`. Returns a shell, if it has one.

    Owners and devices are kept when root, else they are the caller's and left out. NotFound,
    InvalidSpec for what is not an archive or has a member that would lie outside.
    """
    if not os.path.isfile(words):
        raise NotFound(f"no file {words}", hint="--from tar:FILE")
    root = os.open(rootfs, c.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with tarfile.open(words, "r:*") as archive:
            modes = []
            for member in archive:
                name = _clean(member.name)
                if name:
                    _make(root, name, member, archive)
                    if member.isdir():
                        modes.append((name, member.mode & 0o7777))
            # directories last: one without write permission must still take its files
            for name, mode in reversed(modes):
                fd = paths.open_beneath(root, name, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    os.fchmod(fd, mode)
                finally:
                    os.close(fd)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise InvalidSpec(f"{words} is not a usable archive: {error}") from None
    finally:
        os.close(root)
    return "sh" if os.path.lexists(rootfs / "bin" / "sh") else None


def _clean(name: str) -> str:
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or "\0" in name:
        raise InvalidSpec(f"the archive has a member outside of its root: {name!r}")
    return "/".join(parts)


def _make(root: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
    parent, _, last = name.rpartition("/")
    directory = paths.make_directories(root, parent)
    try:
        if member.isdir():
            _directory(directory, last)
        else:
            _replace(directory, last)
            _entry(root, directory, last, member, archive)
        if os.geteuid() == 0:
            os.chown(last, member.uid, member.gid, dir_fd=directory, follow_symlinks=False)
        if member.isfile():
            # after chown, which takes set-uid bits away
            os.chmod(last, member.mode & 0o7777, dir_fd=directory)
    except OSError as error:
        raise SyscallFailed.of(error, "unpacking", path=name) from None
    finally:
        os.close(directory)


def _directory(directory: int, name: str) -> None:
    try:
        os.mkdir(name, 0o755, dir_fd=directory)
    except FileExistsError:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            os.unlink(name, dir_fd=directory)
            os.mkdir(name, 0o755, dir_fd=directory)


def _replace(directory: int, name: str) -> None:
    """A later member of the same name wins, as with tar(1)."""
    try:
        if not stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass


def _entry(
    root: int, directory: int, name: str, member: tarfile.TarInfo, archive: tarfile.TarFile
) -> None:
    if member.isfile():
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(name, flags, 0o600, dir_fd=directory)
        try:
            source = archive.extractfile(member)
            assert source is not None
            while chunk := source.read(_CHUNK):
                os.write(fd, chunk)
        finally:
            os.close(fd)
    elif member.issym():
        os.symlink(member.linkname, name, dir_fd=directory)
    elif member.islnk():
        target = _clean(member.linkname)
        above, _, last = target.rpartition("/")
        there = paths.open_beneath(root, above or ".", c.O_PATH | os.O_DIRECTORY)
        try:
            os.link(last, name, src_dir_fd=there, dst_dir_fd=directory, follow_symlinks=False)
        finally:
            os.close(there)
    elif member.isfifo():
        os.mkfifo(name, member.mode & 0o7777, dir_fd=directory)
    elif (member.ischr() or member.isblk()) and os.geteuid() == 0:
        kind = stat.S_IFCHR if member.ischr() else stat.S_IFBLK
        number = os.makedev(member.devmajor, member.devminor)
        os.mknod(name, kind | member.mode & 0o7777, number, dir_fd=directory)

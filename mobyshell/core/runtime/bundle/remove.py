"""Removing a tree that a stranger's archive has made: as deep as it likes, with modes as it likes.

Never crosses into another mount: what is mounted in a tree is not part of it.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path

from mobyshell.core.errors import NotFound, Refused, SyscallFailed
from mobyshell.core.linux import paths
from mobyshell.core.linux.mounts import read_mountinfo

UNFINISHED = ".mobyshell-new-"
"""How names begin of what is half made or half removed; the next `new_bundle` clears it away."""


def remove_bundle(directory: str | os.PathLike[str]) -> None:
    """Remove a bundle: its directory and all in it, at once as seen by others.

    NotFound if it is none, Refused for a link, for what is more than a bundle (a mount point, the
    way to the caller's home) and where something is mounted inside; SyscallFailed. Whether a task
    runs from it is the caller's to know.
    """
    shown = os.fspath(directory)
    try:
        path = os.path.realpath(directory)
        if not os.path.isfile(os.path.join(path, "config.json")):
            raise NotFound(f"no bundle at {shown}", hint="a bundle has a config.json")
    except ValueError:  # a NUL
        raise NotFound(f"no bundle at {shown!r}") from None
    if os.path.islink(shown.rstrip("/")):
        raise Refused(f"{shown} is a link to {path}", hint="name the bundle itself")
    home = os.path.realpath(os.path.expanduser("~"))
    if os.path.commonpath((path, home)) == path or os.path.ismount(path):
        raise Refused(f"{path} is more than a bundle", hint="delete what is in it yourself")
    inside = [one.mount_point for one in read_mountinfo(os.getpid())
              if one.mount_point.startswith(f"{path}/")]  # fmt: skip
    if inside:
        raise Refused(f"something is mounted at {inside[0]}", hint=f"umount {inside[-1]}")
    _remove_at_once(path)


def _remove_at_once(path: str) -> None:
    """Renamed first: a removal that is interrupted leaves no half of a bundle behind. Locked, so
    that nobody takes it for abandoned meanwhile."""
    gone = os.path.join(os.path.dirname(path), f"{UNFINISHED}{os.urandom(6).hex()}")
    lock = -1
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        os.rename(path, gone)
        remove_tree(gone)
    except OSError as error:
        raise SyscallFailed.of(error, "deleting the bundle") from None
    finally:
        if lock >= 0:
            os.close(lock)


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove the directory `path` and all in it; nothing if it is not there. OSError.

    No link is followed and no mount is entered (EXDEV, EBUSY). Neither the depth nor the length
    of a path matters, unlike with shutil.rmtree: what is deeper is first moved up.
    """
    place = Path(path)
    try:
        top = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        token, count = os.urandom(8).hex(), 0
        pending = os.listdir(top)
        while pending:
            name = pending.pop()
            if not _is_directory(top, name):
                os.unlink(name, dir_fd=top)
                continue
            _open_up(top, name)
            inside = _enter(top, name)
            try:
                for child in os.listdir(inside):
                    if _is_directory(inside, child):
                        _open_up(inside, child)
                        count += 1
                        pending.append(f"{token}{count}")
                        os.rename(child, pending[-1], src_dir_fd=inside, dst_dir_fd=top)
                    else:
                        os.unlink(child, dir_fd=inside)
            finally:
                os.close(inside)
            os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    place.rmdir()


def _enter(top: int, name: str) -> int:
    try:
        return paths.open_same_mount(top, name, os.O_RDONLY | os.O_DIRECTORY)
    except SyscallFailed as error:
        raise OSError(error.errno, os.strerror(error.errno), name) from None


def _is_directory(directory: int, name: str) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)


def _open_up(directory: int, name: str) -> None:
    """Its owner without privileges needs these bits to empty it."""
    if os.geteuid() != 0:
        os.chmod(name, stat.S_IRWXU, dir_fd=directory)

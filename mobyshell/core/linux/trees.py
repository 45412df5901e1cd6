"""Removing trees that strangers have made: as deep as they like, with modes as they like.

Never follows a link, never crosses into another mount: what is mounted in a tree is not part of it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux import paths


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
        clear(top)
    finally:
        os.close(top)
    place.rmdir()


def remove_beneath(directory: int, name: bytes) -> None:
    """Remove `name` in `directory`, a tree or anything else, as `remove_tree` does. OSError."""
    if not _is_directory(directory, name):
        os.unlink(name, dir_fd=directory)
        return
    _open_up(directory, name)
    inside = _enter(directory, name)
    try:
        clear(inside)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=directory)


def clear(top: int) -> None:
    """Remove all that is in the directory `top`, as `remove_tree` does. OSError."""
    token, count = os.urandom(8).hex().encode(), 0
    pending = [os.fsencode(name) for name in os.listdir(top)]
    while pending:
        name = pending.pop()
        if not _is_directory(top, name):
            os.unlink(name, dir_fd=top)
            continue
        _open_up(top, name)
        inside = _enter(top, name)
        try:
            for child in map(os.fsencode, os.listdir(inside)):
                if _is_directory(inside, child):
                    _open_up(inside, child)
                    count += 1
                    pending.append(b"%s%d" % (token, count))
                    os.rename(child, pending[-1], src_dir_fd=inside, dst_dir_fd=top)
                else:
                    os.unlink(child, dir_fd=inside)
        finally:
            os.close(inside)
        os.rmdir(name, dir_fd=top)


def _enter(top: int, name: bytes) -> int:
    try:
        return paths.open_same_mount(top, os.fsdecode(name), os.O_RDONLY | os.O_DIRECTORY)
    except SyscallFailed as error:
        raise OSError(error.errno, os.strerror(error.errno), os.fsdecode(name)) from None


def _is_directory(directory: int, name: bytes) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)


def _open_up(directory: int, name: bytes) -> None:
    """Its owner without privileges needs these bits to empty it."""
    if os.geteuid() != 0:
        os.chmod(name, stat.S_IRWXU, dir_fd=directory)

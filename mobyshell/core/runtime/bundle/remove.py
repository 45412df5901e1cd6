"""Removing a tree that a stranger's archive has made: as deep as it likes, with modes as it likes."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def remove_tree(path: str | os.PathLike[str]) -> None:
    """Remove the directory `path` and all in it; nothing if it is not there. OSError.

    No link is followed. Neither the depth nor the length of a path matters, unlike with
    shutil.rmtree: what is deeper is first moved up.
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
            inside = os.open(
                name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top
            )
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


def _is_directory(directory: int, name: str) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode)


def _open_up(directory: int, name: str) -> None:
    """Its owner without privileges needs these bits to empty it."""
    if os.geteuid() != 0:
        os.chmod(name, stat.S_IRWXU, dir_fd=directory)

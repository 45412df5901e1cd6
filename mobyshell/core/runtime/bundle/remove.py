"""Removing a bundle, at once as seen by others. What is mounted in it is not part of it."""

from __future__ import annotations

import fcntl
import os

from mobyshell.core.errors import NotFound, Refused, SyscallFailed
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.linux.trees import remove_tree

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

"""A layer that was unpacked alone, put upon those below it.

Owns what cannot be known before: attributes of directories that the layer has things in but does
not list, and whiteouts of what is not there. Called once the layers below are in place, before
the snapshot is committed; layers may have been unpacked in any order.
"""

from __future__ import annotations

import os
import stat

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.paths import open_beneath
from mobyshell.core.store.layers.attributes import CONTROL
from mobyshell.core.store.layers.values import Applied
from mobyshell.core.store.stack import Stack

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def settle(tree: int, below: Stack, done: Applied) -> None:
    """Let the layer `done`, which lies in the directory `tree`, fit upon the layers `below`.

    Only for the overlay forms. Implied directories get owner, mode, times and attributes of the
    directories that they are merged with (containerd's `mkparent`). A whiteout of nothing is
    removed: where there is no directory to merge with, readdir(3) shows the device.

    SyscallFailed. Done twice it is as done once.
    """
    if done.opaque_root:
        return  # nothing of them is to be seen
    path = ""
    try:
        for path in done.whiteouts:
            _drop_if_void(tree, below, path)
        for path in done.implied:
            _furnish(tree, below, path)
    except OSError as error:
        raise SyscallFailed.of(error, "settling", path=path) from None


def _drop_if_void(tree: int, below: Stack, path: str) -> None:
    hidden = below.beneath(path)
    if hidden is not None:
        os.close(hidden)
        return
    directory, _, name = path.rpartition("/")
    here = open_beneath(tree, directory or ".", _DIRECTORY)
    try:
        before = os.fstat(here)
        found = os.stat(name, dir_fd=here, follow_symlinks=False)
        if stat.S_ISCHR(found.st_mode) and found.st_rdev == 0:
            os.unlink(name, dir_fd=here)
            os.utime(here, ns=(before.st_atime_ns, before.st_mtime_ns))
    except FileNotFoundError:
        pass  # it was removed before
    finally:
        os.close(here)


def _furnish(tree: int, below: Stack, path: str) -> None:
    found = below.beneath(path)
    if found is None:
        return
    try:
        if not stat.S_ISDIR(os.fstat(found).st_mode):
            return
        source = os.open(".", _DIRECTORY | os.O_CLOEXEC, dir_fd=found)
    finally:
        os.close(found)
    try:
        target = open_beneath(tree, path or ".", _DIRECTORY)
        try:
            _copy(source, target)
        finally:
            os.close(target)
    finally:
        os.close(source)


def _copy(source: int, target: int) -> None:
    about = os.fstat(source)
    if (about.st_uid, about.st_gid) != (os.fstat(target).st_uid, os.fstat(target).st_gid):
        os.fchown(target, about.st_uid, about.st_gid)
    os.fchmod(target, stat.S_IMODE(about.st_mode))
    for name in os.listxattr(source):
        if not os.fsencode(name).startswith(CONTROL):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(about.st_mtime_ns, about.st_mtime_ns))

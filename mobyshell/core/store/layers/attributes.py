"""Owner, mode, extended attributes and time of what a layer lists, put on what was made of it."""

from __future__ import annotations

import errno
import os
import stat

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import O_PATH
from mobyshell.core.store.layers.notes import Notes
from mobyshell.core.store.layers.tar.headers import SYMLINK, Entry
from mobyshell.core.store.layers.tar.reader import shown

CONTROL = (b"trusted.", b"user.overlay.")
"""Attributes by which overlayfs is told what to show: an archive has no say in that (nor in any of
`trusted`, which is the administrator's)."""

LISTED = ("user.", "security.capability", "system.posix_acl_")
"""Attributes that a file has only if its layer lists them; others are the machine's (labels)."""

_REFUSED = (errno.ENOTSUP, errno.EPERM)


class Attributes:
    """How attributes are put on files in one tree.

    With `inherit`, files there get their group or mode from the directory that they are made in.
    Without `owners` all belong to the caller (who may not give files away).
    """

    def __init__(self, notes: Notes, *, owners: bool, inherit: bool) -> None:
        self._notes = notes
        self._owners = owners
        self._always = inherit
        self._self = (os.geteuid(), os.getegid())

    def on_file(self, fd: int, entry: Entry, made: int) -> None:
        """On an open file or directory that was made with the mode `made`. OSError."""
        if self._always:
            _strip(fd)
        if self._owners and (self._always or (entry.uid, entry.gid) != self._self):
            try:
                os.fchown(fd, entry.uid, entry.gid)
            except OSError as error:
                raise _not_given(error, entry) from None
        if entry.mode != made or self._always:  # also what chown(2) took away
            os.fchmod(fd, entry.mode)
        if entry.xattrs:
            self._set_xattrs(fd, entry)
        os.utime(fd, ns=(entry.mtime, entry.mtime))

    def on_name(self, name: bytes, directory: int, entry: Entry) -> None:
        """On a symbolic link, device or fifo, which cannot be opened. OSError."""
        if self._owners:
            try:
                os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
            except OSError as error:
                raise _not_given(error, entry) from None
        if entry.type != SYMLINK and (self._always or entry.mode > 0o777):
            _chmod(name, directory, entry.mode)  # chown(2) took setuid away
        if entry.xattrs:
            self._set_xattrs(b"/proc/self/fd/%d/%s" % (directory, name), entry)
        times = (entry.mtime, entry.mtime)
        os.utime(name, ns=times, dir_fd=directory, follow_symlinks=False)

    def _set_xattrs(self, file: int | bytes, entry: Entry) -> None:
        for key, value in (entry.xattrs or {}).items():
            if key.startswith(CONTROL):
                self._notes.add(f"{shown(entry.name)!r}: attribute {shown(key)!r}")
                continue
            try:
                if isinstance(file, int):
                    os.setxattr(file, key, value)
                else:
                    os.setxattr(file, key, value, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _REFUSED:
                    raise
                why = f"{shown(entry.name)!r}: attribute {shown(key)!r}: {error.strerror}"
                self._notes.add(why)


def _not_given(error: OSError, entry: Entry) -> OSError | SyscallFailed:
    """In a user namespace some owners have no number: that is not the layer's fault."""
    if error.errno != errno.EINVAL:
        return error
    what = f"giving it to {entry.uid}:{entry.gid}"
    hint = "this user namespace has no such owner: see /etc/subuid and /etc/subgid"
    return SyscallFailed("chown", errno.EINVAL, path=shown(entry.name), what=what, hint=hint)


def _chmod(name: bytes, directory: int, mode: int) -> None:
    """chmod(2) of what cannot be opened, and through no link."""
    fd = os.open(name, O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)


def _strip(fd: int) -> None:
    """Take off what a file got from its directory, or a directory had in the layers below."""
    for key in os.listxattr(fd):
        if key.startswith(LISTED):
            os.removexattr(fd, key)


def inherits(root: int) -> bool:
    """Whether what is made in the directory `root` gets more from it than its file system."""
    about = os.fstat(root)
    if about.st_mode & stat.S_ISGID or about.st_gid != os.getegid():
        return True
    return "system.posix_acl_default" in os.listxattr(f"/proc/self/fd/{root}")

"""Waiting for changes in directories, and of files (inotify(7)), instead of looking again and again."""

from __future__ import annotations

import os
import select
import struct
from contextlib import suppress

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.syscalls import call

# written to, made in it, renamed into it, itself deleted
_MASK = 0x2 | 0x100 | 0x80 | 0x400
_ONLY_DIRECTORIES = 0x01000000


class Watch:
    """Some directories. Close it (or use `with`).

    SyscallFailed where the user has no instance or watch left (/proc/sys/fs/inotify).
    """

    def __init__(self, *directories: str) -> None:
        self._fd = call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        self._watched: set[str] = set()
        try:
            for one in directories:
                self.add(one)
        except BaseException:
            self.close()
            raise

    def add(self, directory: str) -> bool:
        """Watch one more; False if it is not there (yet)."""
        if directory in self._watched:
            return True
        path = os.fsencode(directory) + b"\0"
        try:
            call("inotify_add_watch", self._fd, path, _MASK | _ONLY_DIRECTORIES, path=directory)
        except SyscallFailed as error:
            if error.errno_name in ("ENOENT", "ENOTDIR"):
                return False
            raise
        self._watched.add(directory)
        return True

    def wait(self, timeout: float) -> bool:
        """Whether something changed since the last call, waiting up to `timeout` seconds for it."""
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(timeout * 1000):
            return False
        try:
            while os.read(self._fd, 1 << 16):
                pass
        except BlockingIOError:
            pass  # that was all
        return True

    def close(self) -> None:
        """Watch nothing any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


_MODIFIED = 0x2
_EVENT = struct.Struct("=iIII")


class Modified:
    """Files that say of themselves when they are something else, as many in cgroups do. `fd` can be
    read then; whoever waits for it calls `read`. SyscallFailed as `Watch`."""

    def __init__(self) -> None:
        self.fd = call("inotify_init1", os.O_CLOEXEC | os.O_NONBLOCK)
        self._paths: dict[int, str] = {}

    def add(self, path: str) -> int:
        """Watch one more; its number. SyscallFailed if it is not there."""
        number = call("inotify_add_watch", self.fd, os.fsencode(path) + b"\0", _MODIFIED, path=path)
        self._paths[number] = path
        return number

    def drop(self, number: int) -> None:
        """Watch one no longer; fine if it is gone by itself."""
        self._paths.pop(number, None)
        with suppress(SyscallFailed):
            call("inotify_rm_watch", self.fd, number)

    def read(self) -> set[str]:
        """The paths of those that were modified since the last call."""
        found = set()
        try:
            while data := os.read(self.fd, 1 << 14):
                at = 0
                while at < len(data):
                    number, mask, _, length = _EVENT.unpack_from(data, at)
                    at += _EVENT.size + length
                    if mask & _MODIFIED and number in self._paths:
                        found.add(self._paths[number])
        except BlockingIOError:
            pass  # that was all
        return found

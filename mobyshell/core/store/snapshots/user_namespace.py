"""A user namespace without a process in it, whose maps id-mapped mounts take (user_namespaces(7)).

It takes a process to make one. That is a program of its own, which waits for its maps and ends:
making one must never happen in a process with threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWUSER
from mobyshell.core.linux.interpreter import module
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.snapshots.idmaps import IdMaps


@contextmanager
def made(maps: IdMaps) -> Iterator[int]:
    """A descriptor of one with these maps. SyscallFailed if it is refused: mapping takes root."""
    words = module("mobyshell.core.store.snapshots.user_namespace")
    child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        if child.stdout.read(1) != b".":
            raise SyscallFailed("unshare", child.wait(), what="making a user namespace")
        for kind, map in (("gid", maps.gids), ("uid", maps.uids)):
            path = f"/proc/{child.pid}/{kind}_map"
            fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, map.kernel_text().encode())  # taken in one write, or not at all
            except OSError as error:
                raise SyscallFailed.of(
                    error, "write", path=f"{kind}_map: {map}",
                    hint="maps may not overlap, and mapping the ids of a mount takes root",
                ) from None  # fmt: skip
            finally:
                os.close(fd)
        namespace = os.open(f"/proc/{child.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        child.stdin.close()
        child.stdout.close()
        child.wait()
    try:
        yield namespace
    finally:
        os.close(namespace)


def main(_: Sequence[str] = ()) -> int:
    """The program: the errno of what failed, or 0."""
    try:
        call("unshare", CLONE_NEWUSER)
    except SyscallFailed as error:
        return error.errno
    os.write(1, b".")
    os.read(0, 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Become criu, with the root of a container mounted where it wants it.

Criu restores into a root that is a mount point. This process mounts it in a mount namespace of its
own, so that no other sees it, and none is left when it ends, however it ends. Directories must be
opened in there, too, and criu looks for descriptors in whoever has made its socket: so this process
opens them and makes the socket, and sends the other end of that to who started it.

A program of its own, for it changes its namespaces: `python -I -S rooted.py ROOTFS PLACE IMAGES
WORK CRIU WORDS…`, with its line home as descriptor 3. It imports nothing of this package, and so
starts in a few milliseconds. What it cannot do it tells over the line.
"""

from __future__ import annotations

import _socket
import ctypes
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

HOME = 3
IMAGES, WORK = 60, 61
"""Descriptors of the two directories; the second is the first again if there is none."""

_CLONE_NEWNS = 0x20000
_MS_BIND, _MS_REC, _MS_SLAVE = 0x1000, 0x4000, 0x80000


def main(argv: list[str]) -> int:
    """Mount, open, and execute; 127 if it cannot."""
    rootfs, place, images, work, *words = argv
    home = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, HOME)
    try:
        _mount(rootfs, place)
        for path, number in ((images, IMAGES), (work or images, WORK)):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.dup2(fd, number)
            os.close(fd)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        rights = theirs.fileno().to_bytes(4, sys.byteorder)
        home.sendmsg([b"+"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.dup2(ours.fileno(), HOME)
        os.execv(words[0], words)
    except OSError as error:
        try:
            home.send(f"{error.filename or words[0]}: {error.strerror}".encode())
        except OSError:
            pass  # the line is criu's already: nobody asks, and criu is not there to answer
    return 127


def _mount(rootfs: str, place: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    source, target = os.fsencode(rootfs), os.fsencode(place)
    # what the host mounts later still arrives, what is mounted here stays here
    calls: list[tuple[str, Callable[..., int], tuple[object, ...]]] = [
        ("unshare", libc.unshare, (_CLONE_NEWNS,)),
        ("make / a slave", libc.mount, (None, b"/", None, _MS_REC | _MS_SLAVE, None)),
        (rootfs, libc.mount, (source, target, None, _MS_BIND | _MS_REC, None)),
    ]
    for what, function, args in calls:
        if function(*args) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), what)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""What the keeper needs of this package, in need of nothing itself.

Owns the names of its files in the state root and the atomic writing there; everybody else has them from
`paths` and `records`.
"""

from __future__ import annotations

import os

LOCK = "shim.lock"
DIARY = "shim.log"
EXIT = "exit"
"""Written by the keeper, `STATUS TIME_NS`, for a process that ended while no shim lived."""


def write_atomically(path: str, data: bytes) -> None:
    """Write `path` by rename. No fsync: pids and FIFOs do not survive a power loss either."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        write_file(temporary, data)
        os.rename(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass  # it was not even there
        raise


def write_file(path: str, data: bytes) -> None:
    """Write `path`, whatever was there."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)


def decode_wait_status(status: int) -> int:
    """The code of a wait(2) status word, or 128+n for signal n."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)

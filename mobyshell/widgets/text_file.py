"""A text file that is edited while others may change it: read whole or not at all, saved likewise."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from mobyshell.core.errors import InvalidSpec, SyscallFailed
from mobyshell.core.oci.safejson import LARGEST


@dataclass(frozen=True, slots=True)
class Stamp:
    """Which content of a file this is: another inode, size or time of change is another content."""

    inode: int
    size: int
    mtime_ns: int


NO_FILE = Stamp(0, 0, 0)


def stamp(path: str) -> Stamp:
    """The stamp of what is at `path` now; NO_FILE if nothing is."""
    try:
        return _stamp(os.stat(path))
    except OSError:
        return NO_FILE


def _stamp(status: os.stat_result) -> Stamp:
    return Stamp(status.st_ino, status.st_size, status.st_mtime_ns)


def read(path: str) -> tuple[str, Stamp]:
    """The text of a regular file. SyscallFailed; InvalidSpec for what an editor would spoil: more
    than it holds, or bytes that are not UTF-8.
    """
    try:
        # not blocking: what somebody put in the place of a file may be a FIFO
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise InvalidSpec(f"{path} is not a regular file", hint="make it one")
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=path) from None
    if len(data) > LARGEST:
        raise InvalidSpec(f"{path} is larger than {LARGEST} bytes",
                          hint="no runtime reads it; E opens it in your editor")  # fmt: skip
    try:
        return data.decode(), _stamp(status)
    except UnicodeDecodeError as error:
        raise InvalidSpec(f"{path} is not UTF-8 (at byte {error.start})",
                          hint="JSON is UTF-8; E opens it in your editor") from None  # fmt: skip


def save(path: str, text: str) -> Stamp:
    """Write `path` by rename, so that no reader and no crash sees half of it.

    A link stays a link, and the file keeps its mode and (for root) its owner. SyscallFailed.
    """
    target = os.path.realpath(path)
    temporary = f"{target}.{os.getpid()}.new"
    try:
        before = os.stat(target) if os.path.exists(target) else None
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o666), "w", encoding="utf-8", newline="") as file:
                if before is not None:
                    if os.geteuid() == 0:
                        os.fchown(file.fileno(), before.st_uid, before.st_gid)
                    os.fchmod(file.fileno(), stat.S_IMODE(before.st_mode))
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
                written = _stamp(os.fstat(file.fileno()))
            os.rename(temporary, target)
        except OSError:
            _remove(temporary)
            raise
    except OSError as error:
        raise SyscallFailed.of(error, "saving", path=path) from None
    return written


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass

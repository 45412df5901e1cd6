"""Files that verbs write for the user (`-o FILE`), and bytes for a pipe.

Owns what a name means there: `-` is standard output, a device, a pipe or a socket is written to as it
is, and every other file appears whole or not at all.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from mobyshell.core.errors import SyscallFailed, UsageError


@contextmanager
def output_file(path: str) -> Iterator[BinaryIO]:
    """What `path` names, to be written.

    A file that is there is replaced when all is written and on the disk; a link to it stays a link.

    Raises:
        UsageError: it is standard output, and that a terminal.
        SyscallFailed: it cannot be written.
    """
    if path == "-":
        yield standard_output()
        return
    try:
        if _is_stream(path):
            with open(path, "wb") as file:
                yield file
            return
        target = os.path.realpath(path)
        temporary = f"{target}.{os.getpid()}.new"
        try:
            with open(temporary, "xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(temporary, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=path) from None


def standard_output() -> BinaryIO:
    """Standard output, for bytes. UsageError where it is a terminal."""
    if sys.stdout.isatty():
        raise UsageError("these bytes are nothing to look at", hint="-o FILE, or > FILE")
    sys.stdout.flush()
    return sys.stdout.buffer


def is_piped() -> bool:
    """Whether standard output takes any bytes: no terminal, and nothing that stands in for one."""
    return not sys.stdout.isatty() and hasattr(sys.stdout, "buffer")


def _is_stream(path: str) -> bool:
    """Whether there is something that must not be replaced by a file. /dev/stdout may well lead to
    one: then it is open already, at a place of its own."""
    if path.startswith("/dev/"):
        return True
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False

"""Which of a program's standard streams are given to its user."""

from __future__ import annotations

import os
from functools import cache

from mobyshell.core.oci import Process
from mobyshell.core.runtime.create import Stdio
from mobyshell.core.runtime.values import PLAIN, Options
from mobyshell.core.values import replace


def with_owned(options: Options, stdio: Stdio, process: Process | None) -> Options:
    """`options` with `owned` filled in, where the caller left it open: every stream that is not its
    user's already, but never /dev/null, which is everybody's. The kernel says which of them may
    be given away."""
    if options.owned is not None or process is None:
        return options
    found = owned(stdio, process.user.uid)
    return _plain(found) if options is PLAIN else replace(options, owned=found)


def owned(stdio: Stdio, uid: int) -> tuple[int, ...]:
    """The numbers of the streams that are to be given to `uid`."""
    null = _null()
    found = []
    for number, fd in enumerate((stdio.stdin, stdio.stdout, stdio.stderr)):
        stream = os.fstat(fd)
        if stream.st_uid != uid and stream.st_rdev != null:
            found.append(number)
    return tuple(found)


@cache
def _plain(owned: tuple[int, ...]) -> Options:
    """Of most calls: the same value for the same streams, so that it is known again by that."""
    return replace(PLAIN, owned=owned)


@cache
def _null() -> int:
    """The number of the device."""
    return os.stat(os.devnull).st_rdev

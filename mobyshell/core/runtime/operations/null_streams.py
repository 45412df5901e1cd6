"""The operation by which streams that lead to the host's /dev/null come to lead to the container's."""

from __future__ import annotations

import errno
import os

from mobyshell.core.linux import devices
from mobyshell.core.runtime.operations.calls import CWD, close, in_root
from mobyshell.core.runtime.operations.verify import clear_bits, equal, stat_into
from mobyshell.core.runtime.plan import Actor, Call, Cell, Flags, Operation, Phase, Scratch

_HOW = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO)


def reopen() -> Operation:
    """Each of the three streams that is /dev/null, opened anew inside."""
    return Operation(
        actor=Actor.CHILD,
        phase=Phase.PIVOT,
        title="open streams that are /dev/null anew, inside",
        why="By a descriptor of the host's, root in the container could change the mode of the "
        "host's device; and a checkpoint could not name it.",
        spec="runtime.md#create",
        man="statx(2), dup(2)",
        calls=tuple(call for number in (0, 1, 2) for call in _reopened(number)),
    )


def _reopened(number: int) -> list[Call]:
    null, stream = Cell("null"), Flags(number, str(number))
    before, after = Scratch(f"stat of stream {number}", 256), Scratch("stat of /dev/null", 256)
    put = [Call("dup3", (null, number, 0)), close(null)]
    verified = [stat_into(null, after), *_is_null(after, skip=1), *put]
    opened = in_root(
        CWD, "dev/null", null, _HOW, links=False, tolerate=_ABSENT, skip_on_error=len(verified)
    )
    return [stat_into(stream, before), *_is_null(before, skip=1 + len(verified)), opened, *verified]


def _is_null(memory: Scratch, *, skip: int) -> list[Call]:
    """Go on if what was looked at is the device; else pass over the rest of these, and `skip` more."""
    kind, major, minor = devices.NULL
    return [
        # first what tells it from nearly everything else
        equal(memory, 132, minor, "", tolerate=True, skip_on_error=skip + 3),
        equal(memory, 128, major, "", tolerate=True, skip_on_error=skip + 2),
        clear_bits(memory, 28, 0o777),
        equal(memory, 28, kind, "", tolerate=True, skip_on_error=skip),
    ]

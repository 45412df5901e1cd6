"""Overlays whose files nobody wants any more once they are unmounted: not synced then.

An overlay syncs the whole file system of its upper directory when it is unmounted, and so before its
container's end is seen. With `volatile` (Linux 5.10) it does not, and leaves a mark by which the
kernel refuses these directories from then on: after a power cut they may have anything in them.
https://docs.kernel.org/filesystems/overlayfs.html#volatile-mount
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from mobyshell.core.store.snapshots.protocol import Mount
from mobyshell.core.values import replace

_OPTION = "volatile"
_MARK = "work/incompat/volatile"
"""A directory in that which is given as `workdir`, with a file in it."""
_SINCE = (5, 10)


def unsynced(mounts: Sequence[Mount]) -> tuple[Mount, ...]:
    """The same mounts, of a snapshot that is removed when its container has ended. Only for root: nobody
    else could `forget` the mark, as the directories above it are closed to all."""
    if os.geteuid() != 0 or not _known():
        return tuple(mounts)
    return tuple(
        replace(one, options=(*one.options, _OPTION))
        if one.type == "overlay" and any(word.startswith("upperdir=") for word in one.options)
        else one
        for one in mounts
    )


def forget(work: Path) -> None:
    """Let the files be mounted again that a container has left behind which was not removed after
    all: its client was killed. Nothing, if nothing is to be forgotten."""
    with suppress(OSError):
        os.unlink(work / _MARK / "dirty")
        os.rmdir(work / _MARK)


@cache
def _known() -> bool:
    major, minor = [*os.uname().release.split("."), "0"][:2]
    return major.isdecimal() and minor.isdecimal() and (int(major), int(minor)) >= _SINCE

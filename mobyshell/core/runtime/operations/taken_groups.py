"""Calls that make the directory of a cgroup, or take over one that is there."""

from __future__ import annotations

import errno

from mobyshell.core.linux import constants as c
from mobyshell.core.runtime.operations.calls import CWD, close, flags, permissions
from mobyshell.core.runtime.operations.verify import clear_bits, equal
from mobyshell.core.runtime.plan import Call, Cell, Scratch, Text


def made(path: str, skip: int = 0) -> Call:
    """Unless it is there already."""
    return Call("mkdirat", (CWD, Text(path), permissions(0o755)), tolerate=(errno.EEXIST,),
                skip_on_success=skip)  # fmt: skip


def taken_over(controller: str, path: str) -> list[Call]:
    """Make a group, or take one that somebody has prepared; but nobody may be in it, and it may not
    be frozen: the container would never get on."""
    file, first = Cell("file"), Scratch(f"first byte of {path}", 8)
    how = flags("open", c.O_RDONLY | c.O_CLOEXEC)
    empty = [
        Call("openat", (CWD, Text(f"{path}/cgroup.procs"), how), result=file),
        Call("read", (file, first, 1), expect=0, otherwise="container's cgroup is not empty"),
        close(file),
    ]
    state, thawed = ("cgroup.freeze", "0") if not controller else ("freezer.state", "T")
    if not controller or "freezer" in controller.split(","):
        moving = [
            Call("read", (file, first, 1), expect=1),
            close(file),
            clear_bits(first, 0, -256),
            equal(first, 0, ord(thawed), "container's cgroup unexpectedly frozen"),
        ]
        there = Call("openat", (CWD, Text(f"{path}/{state}"), how), result=file,
                     tolerate=(errno.ENOENT,), skip_on_error=len(moving))  # fmt: skip
        empty += [there, *moving]
    return [made(path, len(empty)), *empty]

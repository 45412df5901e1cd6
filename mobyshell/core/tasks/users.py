"""Who a further process runs as: `user`, `uid`, `user:group`, `uid:gid`, as people write them.

Owns the look-up of names in the /etc/passwd and /etc/group of a task or an image, which are hostile
files: opened beneath its root, regular, of bounded size.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import NotFound, SyscallFailed, UsageError
from mobyshell.core.linux.paths import read_in_root
from mobyshell.core.oci import User
from mobyshell.core.values import replace

_MAX_BYTES = 1 << 20
_MAX_ID = 0xFFFFFFFE


Read = Callable[[str, int], bytes]
"""(path, most) → at most the first `most` bytes of a regular file; SyscallFailed, NotFound or OSError
if there is none."""


def inside(pid: int) -> Read:
    """Files as process `pid` sees them."""

    def read(path: str, most: int) -> bytes:
        root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return read_in_root(root, path, most)
        finally:
            os.close(root)

    return read


def resolve(text: str, base: User, read: Read) -> User:
    """The user that `text` names where `read` reads; `base` if it is empty.

    NotFound for a name that is not there, UsageError for an id out of range.
    """
    if not text:
        return base
    user, colon, group = text.partition(":")
    uid, gid, more = _user(user, read)
    if colon:
        gid, more = _group(group, read), ()
    # its own first: whoever could take another gid, by a setgid program, is still of this group,
    # and stays out of what it is kept out of (CVE-2022-36109)
    return replace(base, uid=uid, gid=gid, additional_gids=(gid, *more))


def _user(name: str, read: Read) -> tuple[int, int, tuple[int, ...]]:
    """uid, gid, supplementary gids. A number that passwd does not know gets gid 0, as docker's."""
    number = _number(name)
    try:
        lines = _fields(read, "etc/passwd", 4)
    except NotFound:
        if number is None:
            raise
        lines = []
    for fields in lines:
        if not (_digits(fields[2]) and _digits(fields[3])):
            continue
        # digits are a number, whoever has them for a name (CVE-2016-3697)
        if fields[0] == name if number is None else int(fields[2]) == number:
            gid = _in_range(fields[3])
            return _in_range(fields[2]), gid, _groups_of(fields[0], gid, read)
    if number is None:
        raise NotFound(f"no user {name!r:.100} in /etc/passwd", hint="a number always works")
    return number, 0, ()


def _groups_of(name: str, gid: int, read: Read) -> tuple[int, ...]:
    try:
        lines = _fields(read, "etc/group", 4)
    except NotFound:
        return ()
    found = {int(one[2]) for one in lines if _digits(one[2]) and name in one[3].split(",")}
    return tuple(sorted(one for one in found - {gid} if one <= _MAX_ID))


def _group(name: str, read: Read) -> int:
    number = _number(name)
    if number is not None:
        return number
    for fields in _fields(read, "etc/group", 3):
        if fields[0] == name and _digits(fields[2]):
            return _in_range(fields[2])
    raise NotFound(f"no group {name!r:.100} in /etc/group", hint="a number always works")


def _number(text: str) -> int | None:
    return _in_range(text) if _digits(text) else None


def _digits(text: str) -> bool:
    """Whether it is a number that one may write: bounded, for Python converts no endless one."""
    return text.isascii() and text.isdecimal() and len(text) < 100


def _in_range(text: str) -> int:
    if len(text) > 10 or int(text) > _MAX_ID:
        raise UsageError(f"{text:.20} is no user or group id", hint=f"0 to {_MAX_ID}")
    return int(text)


def _fields(read: Read, path: str, count: int) -> list[list[str]]:
    """The lines of a colon-separated file with at least `count` fields. NotFound if it is not one."""
    try:
        text = read(path, _MAX_BYTES).decode("utf-8", "replace")
    except (SyscallFailed, NotFound, OSError):
        raise NotFound(f"there is no readable /{path}", hint="give numbers: uid:gid") from None
    lines = (line.split(":") for line in text.splitlines())
    return [fields for fields in lines if len(fields) >= count]

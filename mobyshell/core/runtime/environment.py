"""The program's environment: the spec's, each name once, with a HOME.

Which home that is stands in the container's own /etc/passwd, a hostile file that is complete only
when everything is mounted: until then a placeholder keeps the place.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.paths import open_file_in_root, read_in_root
from mobyshell.core.runtime.plan import HOME
from mobyshell.core.runtime.program import LONGEST_HOME

_LARGEST_PASSWD = 1 << 20


def complete(env: Iterable[str]) -> tuple[str, ...]:
    """The last of each name, in the order they are given; HOME, where it is missing or empty, as
    its placeholder. As runc does it: programs rely on having one."""
    last = {one.partition("=")[0]: one for one in env}
    if last.get("HOME") in (None, "HOME="):
        last.pop("HOME", None)
        last["HOME"] = f"HOME={HOME}"
    kept = []
    for one in env:
        name = one.partition("=")[0]
        if last.get(name) == one:
            kept.append(last.pop(name))
    return (*kept, *last.values())


def completed(env: Iterable[str], uid: int, *places: str) -> tuple[str, ...]:
    """`complete`, with the home that stands in the place of its placeholder."""
    made = complete(env)
    if not any(HOME in one for one in made):
        return made
    there = home(uid, *places)
    return tuple(one.replace(HOME, there) for one in made)


def home(uid: int, *places: str) -> str:
    """Where the /etc/passwd of a root says that `uid` is at home, else `/`.

    `places` are paths of that root on this machine (/proc/PID/root, the rootfs), of which the first
    that may be opened is asked.
    """
    for place in places:
        try:
            root = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            return _home(root, uid)
        finally:
            os.close(root)
    return "/"


class Homes:
    """The homes in one root, an O_PATH descriptor that is closed by `close`: as `home` finds them,
    but the file is read only when it is another, or has changed."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._known: dict[int, str] = {}
        self._seen: tuple[int, ...] = ()

    def of(self, uid: int) -> str:
        """Where `uid` is at home now."""
        try:
            fd = open_file_in_root(self._root, b"etc/passwd")
        except OSError:
            return "/"
        try:
            found = os.fstat(fd)
        finally:
            os.close(fd)
        seen = found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns
        if seen != self._seen:
            self._seen = seen
            self._known.clear()
        if uid not in self._known:
            self._known[uid] = _home(self._root, uid)
        return self._known[uid]

    def close(self) -> None:
        """Let go of the root."""
        os.close(self._root)


def _home(root: int, uid: int) -> str:
    try:
        return _look_up(uid, read_in_root(root, "etc/passwd", _LARGEST_PASSWD)) or "/"
    except (OSError, SyscallFailed):
        return "/"


def _look_up(uid: int, passwd: bytes) -> str:
    wanted = b"%d" % uid
    for line in passwd.splitlines():
        fields = line.split(b":")
        if len(fields) > 5 and fields[2] == wanted:
            found = fields[5]
            return os.fsdecode(found) if len(found) <= LONGEST_HOME and b"\0" not in found else ""
    return ""

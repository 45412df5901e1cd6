"""Ranges of ids that root gave a user for their user namespaces: /etc/subuid, /etc/subgid (subuid(5))."""

from __future__ import annotations

import os
import pwd

from mobyshell.core.values import value


@value
class Range:
    """Ids from `start` on."""

    start: int
    count: int

    def covers(self, start: int, count: int) -> bool:
        """Whether all of `count` ids from `start` on are in it."""
        return self.start <= start and start + count <= self.start + self.count

    def __str__(self) -> str:
        return f"{self.start}-{self.start + self.count - 1}"


def ranges(kind: str, uid: int, directory: str = "/etc") -> list[Range]:
    """The ranges of user `uid`; `kind` is uid or gid. None where the file cannot be read."""
    names = {str(uid), _name(uid)}
    found = []
    try:
        with open(f"{directory}/sub{kind}", encoding="utf-8", errors="replace") as file:
            for line in file:
                words = line.strip().split(":")
                if len(words) == 3 and words[0] in names and words[1].isdecimal():
                    found.append(Range(int(words[1]), int(words[2]) if words[2].isdecimal() else 0))
    except OSError:
        return []
    return found


def advice(kind: str, wanted: list[tuple[int, int]], directory: str = "/etc") -> str:
    """What the calling user lacks to map the (start, count) of `wanted`, and how root can give it.

    Empty if nothing is missing. One's own id needs no range.
    """
    uid = os.geteuid()
    own = uid if kind == "uid" else os.getegid()
    name = _name(uid)
    if not name:
        return f"user {uid} has no name in /etc/passwd, which new{kind}map needs"
    given = ranges(kind, uid, directory)
    missing = [
        Range(start, count)
        for start, count in wanted
        if (start, count) != (own, 1) and not any(one.covers(start, count) for one in given)
    ]
    if not missing:
        return ""
    has = f"has {', '.join(map(str, given))}" if given else "has nothing"
    return (
        f"{name} {has} in /etc/sub{kind}, but {', '.join(map(str, missing))} is asked for: as root, "
        f"`usermod --add-sub{kind}s {missing[0]} {name}`"
    )


def own_map(kind: str, directory: str = "/etc") -> list[tuple[int, int, int]]:
    """All ids that the calling user may have in a namespace: their own as 0, then what the ranges
    hold, one after the other. Lines of (inside, outside, count); without ranges one."""
    uid = os.geteuid()
    lines = [(0, uid if kind == "uid" else os.getegid(), 1)]
    inside = 1
    for one in ranges(kind, uid, directory)[:_MOST_RANGES]:
        if one.count > 0:
            lines.append((inside, one.start, one.count))
            inside += one.count
    return lines


_MOST_RANGES = 339
"""One less than a map may have lines (user_namespaces(7))."""


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""

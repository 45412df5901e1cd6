"""Which ids this process can give to files: those of its user namespace (user_namespaces(7))."""

from __future__ import annotations

import os

_ALL = 0xFFFFFFFF


def mapped(kind: str = "uid") -> list[tuple[int, int, int]]:
    """The lines of /proc/self/uid_map (or gid_map): inside, outside, count. None where there is no
    /proc: then it is not known."""
    try:
        with open(f"/proc/self/{kind}_map") as file:
            lines = [line.split() for line in file]
    except OSError:
        return []
    return [(int(inside), int(outside), int(count)) for inside, outside, count in lines]


def in_user_namespace() -> bool:
    """Whether this process is in another user namespace than the first one."""
    return mapped() not in ([(0, 0, _ALL)], [])


def outside(uid: int) -> int:
    """What `uid` of this namespace is called in the one around it; itself where that is not known."""
    for inside, other, count in mapped():
        if inside <= uid < inside + count:
            return other + uid - inside
    return uid


def may_set_groups() -> bool:
    """Whether setgroups(2) is permitted to whoever has the capability (user_namespaces(7))."""
    try:
        with open("/proc/self/setgroups") as file:
            return file.read().strip() != "deny"
    except OSError:
        return True


def can_give_away() -> bool:
    """Whether files can be given to others: as root, of more than one id."""
    if os.geteuid() != 0:
        return False
    counts = [sum(count for _, _, count in mapped(kind)) for kind in ("uid", "gid")]
    return min(counts) != 1

"""Whose the files of a store can be.

Root gives files to anybody. Another user can give them to the ids of their ranges in /etc/subuid and
/etc/subgid, as root of a user namespace that maps these; without ranges all are that user's. Owns
which of the three it is, and that a store stays with what it was begun with: a file's owner on the
disk means another one inside under another map.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress

from mobyshell.core.errors import WrongState
from mobyshell.core.linux import subids
from mobyshell.core.linux.own_ids import can_give_away
from mobyshell.core.linux.own_namespace import Map, helper, program
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.values import value

_NOTE = ".owners"
"""Beside the trees of all snapshotters: the maps under which they were made."""


@value
class Owners:
    """`uids` and `gids`: the maps of the namespace in which files are made and removed, none where
    that is ours. `why`: why all files are of one owner; "" where they can have several."""

    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()
    why: str = ""

    @property
    def several(self) -> bool:
        """Whether a file can be another's than its maker's."""
        return not self.why

    @property
    def enter(self) -> tuple[str, ...]:
        """The words of a program that becomes what follows, as root of that namespace; none where
        there is none."""
        return program(self.uids, self.gids) if self.uids else ()

    def inside(self, uid: int, gid: int) -> tuple[int, int]:
        """Who an owner on the disk is in there; nobody (65534), if no one."""
        return _inside(self.uids, uid), _inside(self.gids, gid)


def current() -> Owners:
    """What the caller can do now."""
    if os.geteuid() == 0:
        return Owners(why="" if can_give_away() else "this user namespace has one id")
    uids, gids = (subids.own_map(kind) for kind in ("uid", "gid"))
    why = _missing(uids, gids)
    if why:
        uids, gids = uids[:1], gids[:1]
    return Owners(tuple(uids), tuple(gids), why)


def of_store(root: StoreRoot) -> Owners:
    """Those of a store: what it was begun with, else what can be now.

    WrongState if it was begun with ranges that the caller has no more.
    """
    now = current()
    if os.geteuid() == 0:
        return now
    try:
        begun = (root.snapshots / _NOTE).read_text().split()
    except FileNotFoundError:
        return now
    maps = tuple(_parsed(one) for one in begun)
    if len(maps) != 2 or maps == (now.uids, now.gids):
        return now
    if all(len(one) == 1 for one in maps):
        return Owners(*maps, why="this store was begun without ranges in /etc/subuid")
    for kind, one, have in zip(("uid", "gid"), maps, (now.uids, now.gids), strict=True):
        if not all(_has(have, start, count) for _, start, count in one):
            raise WrongState(
                f"the files of {root.path} have owners of other ranges than /etc/sub{kind} gives "
                f"you now: {_text(one)}",
                hint=f"give them back there, or remove {root.path} as root",
            )
    return Owners(*maps)


def note(root: StoreRoot) -> None:
    """Remember, with the first tree, what the store was begun with. OSError."""
    place = root.snapshots / _NOTE
    if os.geteuid() == 0 or place.exists():
        return
    owners = current()
    temporary = place.with_name(f"{_NOTE}-{os.getpid()}-{os.urandom(4).hex()}")
    try:
        temporary.write_text(f"{_text(owners.uids)} {_text(owners.gids)}\n")
        with suppress(FileExistsError):  # others were first: it is the same
            os.link(temporary, place)
    finally:
        temporary.unlink(missing_ok=True)


def _missing(uids: Map, gids: Map) -> str:
    """What a user lacks to have several owners; "" if nothing."""
    for kind, lines in (("uid", uids), ("gid", gids)):
        if len(lines) == 1:
            said = subids.advice(kind, [(100_000, 65_536)])
            return said.replace("100000-165535 is asked for", "a range is needed")
        if helper(kind) is None:
            return f"new{kind}map is not installed (apt install uidmap)"
    return ""


def _has(lines: Map, start: int, count: int) -> bool:
    return any(own <= start and start + count <= own + many for _, own, many in lines)


def _inside(lines: Sequence[tuple[int, int, int]], id: int) -> int:
    if not lines:
        return id
    for inside, outside, count in lines:
        if outside <= id < outside + count:
            return inside + id - outside
    return 65534


def _text(lines: Map) -> str:
    return ",".join(":".join(map(str, one)) for one in lines)


def _parsed(text: str) -> tuple[tuple[int, int, int], ...]:
    lines = []
    for one in text.split(","):
        words = one.split(":")
        if len(words) != 3 or not all(word.isdecimal() for word in words):
            return ()
        lines.append((int(words[0]), int(words[1]), int(words[2])))
    return tuple(lines)

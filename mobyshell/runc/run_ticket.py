"""The ticket of a run that was done before with this very bundle: all of it but the container's name.

It lies beside the stored plans, and is made of an entry (`stored`) that has just done the same, when
it has: what must be as it was is what the entry was found by, and what says that it still holds.
`run_steps` says what is done then. Imports nothing of the library (`tickets`).
"""

from __future__ import annotations

import posix
import time

from mobyshell.runc import shape, stored, tickets
from mobyshell.runc.run_steps import Making
from mobyshell.runc.shape import filled
from mobyshell.runc.tickets import Builder, Step, call, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PREFIX = "run%"
KEPT = 32
"""Tickets below one root."""
YOUNG = 1.0
"""Seconds after which a ticket that did not hold is made anew: where each call comes from other
cgroups, none holds, and making one would only cost."""
_LONGEST_NAME = 200
_LARGEST = 1 << 20
_MOUNTS_ROOM = 4 << 20
_STAT_BYTES, _STAT_MODE = 144, 24


def name(bundle: str) -> str:
    """The name of the ticket of a bundle; "" if there is none for it."""
    found = PREFIX + bundle[1:].replace("/", "%")
    return found if len(encoded(found)) <= _LONGEST_NAME else ""


class Done:
    """A run that has just gone well. `entry` was found by the bundle's shape, `own` and `mounts`
    (`stored.key`); `levels` of its cgroups were not there before; `words`: what its documents have
    in their places."""

    def __init__(
        self, root: str, bundle: str, entry: dict[str, Any], found: shape.Shape, own: dict[str, str],
        mounts: list[bytes], levels: Sequence[str], words: Mapping[int, str],
    ) -> None:  # fmt: skip
        self.root, self.bundle, self.entry, self.found = root, bundle, entry, found
        self.own, self.mounts, self.levels, self.words = own, mounts, levels, words


def store(done: Done) -> None:
    """Make the ticket of what was done. OSError if it cannot be written; ValueError, KeyError for
    what cannot be said in one."""
    called, directory = name(done.bundle), f"{done.root}/{stored.DIRECTORY}"
    # what is not ours yet is not said in a ticket
    if not called or done.entry["owned"] or done.entry["identities"]:
        return
    if _young(f"{directory}/{called}"):
        return
    data = _ticket(done)
    if len(data) <= _LARGEST:
        tickets.write(directory, called, data, PREFIX, KEPT)


def _young(path: str) -> bool:
    try:
        return 0 <= time.time() - posix.stat(path).st_mtime < YOUNG
    except OSError:
        return False


def _ticket(done: Done) -> bytes:
    made = Builder()
    making = Making(made, done.root, done.entry, done.found, done.levels, done.words)
    looks = _looks(made, done, making.cgroups)
    return made.whole(
        [
            Step(tickets.IS, tickets.A_GIVEN, made.text(done.bundle)),
            Step(tickets.TEXT, tickets.A_ID, making.id, tickets.LONGEST_ID),
            Step(tickets.STREAMS, done.entry["uid"]),
            *making.steps(looks),
        ]
    )


def _looks(made: Builder, done: Done, cgroups: Sequence[int]) -> list[Step]:
    """Whether all is as it was that the entry was found by, and as the entry says (`stored.key`,
    `stored.load`)."""
    content = done.found.content
    config = made.room(len(content), (0, content))
    room, mounts = made.elsewhere(_MOUNTS_ROOM)
    wanted = b"".join(b"%s\n" % one for one in done.mounts)
    groups = stored.read(stored.OWN_GROUPS)
    if stored.groups_in(groups) != done.own:
        raise ValueError("meanwhile we are in other groups")
    files = [
        (stored.OWN_GROUPS, groups), (stored.OWN_IDS, stored.read(stored.OWN_IDS)), *_of_host(done)
    ]  # fmt: skip
    made_from = [(path, stored.identify(path)) for path in stored.sources()]
    key = stored.key(done.root, done.found.document, True, done.own, done.mounts)
    if key != done.entry["key"]:
        raise ValueError("meanwhile it is made by others")
    records = [
        call(tickets.SYS_GETEUID, expect=posix.geteuid()),
        call(tickets.SYS_GETEGID, expect=posix.getegid()),
        made.kernel(),
        *(made.alike(path, one) for path, one in made_from),
        *(one for path, content in files for one in made.exactly(path, content)),
        *_places(made, done),
        *(_missing(made, one) for one in cgroups),
        *_home(made, done),
    ]
    return [
        Step(tickets.FILE, made.text(f"{done.bundle}/config.json"), config, len(content)),
        room,
        Step(tickets.CONTENT, made.text("/proc/self/mountinfo"), mounts, _MOUNTS_ROOM - 8),
        Step(tickets.LINES, mounts, made.value(stored.CGROUP_MOUNT)),
        Step(tickets.MATCH, mounts, made.value(wanted)),
        made.run(records),
        made.same(),
    ]


def _of_host(done: Done) -> list[tuple[str, bytes]]:
    found = []
    for file, content in done.entry["files"]:
        path = file
        for group, place in done.own.items():
            path = path.replace(stored.OWN % group, place)
        found.append((path, content))
    return found


def _places(made: Builder, done: Done) -> list[bytes]:
    """Records: of the directories above the cgroups those are there that were."""
    there = set()
    for pieces in done.entry["cgroups"]:
        values = [*done.found.values]
        values[shape.ID] = "\0"
        above = filled(pieces, values).rpartition("/")[0]
        if "\0" in above:
            raise ValueError("a level that is only this container's")
        while above in done.levels:
            above = above.rpartition("/")[0]
        there.add(above)
    return [
        *(call(tickets.SYS_LSTAT, made.text(one), made.room(_STAT_BYTES)) for one in sorted(there)),
        *(_missing(made, made.text(one)) for one in done.levels),
    ]


def _missing(made: Builder, path: int) -> bytes:
    """A record: nothing has this name."""
    return call(tickets.SYS_LSTAT, path, made.room(_STAT_BYTES), but=[tickets.ENOENT], expect=1)


def _home(made: Builder, done: Done) -> list[bytes]:
    """Records: what says where the user is at home is as it was (`shape.home`)."""
    pieces = done.entry["home"]
    if pieces is None:
        return []
    users = filled(pieces, done.found.values)
    if shape.home(done.found.rootfs, users, done.entry["uid"]) != done.found.values[shape.HOME]:
        raise ValueError("meanwhile it is elsewhere")
    if users:
        return made.exactly(users, stored.read(users))
    etc = f"{done.found.rootfs}/etc"
    passwd = f"{etc}/passwd"
    if not stored.exists(passwd):
        return [_missing(made, made.text(passwd))]
    kinds = []
    for path in (etc, passwd):
        mode = posix.lstat(path).st_mode
        room = made.room(_STAT_BYTES, (_STAT_MODE, mode.to_bytes(4, "little")))
        kinds.append(call(tickets.SYS_LSTAT, made.text(path), room))
    return [*kinds, *made.exactly(passwd, stored.read(passwd))]

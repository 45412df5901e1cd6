"""The ticket of an exec that was done before in this very container.

It holds for one container and the words of one process, lies in the container's directory, and is
made of an entry (`stored`) that has just done the same. Imports nothing of the library (`tickets`).
"""

from __future__ import annotations

import posix

from mobyshell.runc import launch, stored, tickets
from mobyshell.runc.tickets import RESULT, Builder, Step, as_number, call, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PREFIX = "exec."
DESCRIBED = f"{PREFIX}process"
"""The ticket of a process that a file describes, of which there is the last one."""
KEPT = 16
"""Tickets of one container."""
_LONGEST_NAME = 200
_LONGEST_PROCESS = 64 << 10
_CLONE_ARGS_AT = 128
_COMPLAINT = b"exec failed: the pid file cannot be written\n"
_INIT, _PROCESS, _SIGNALS = 200, 201, 202
"""Where our descriptors are, the init's until the launcher gets it: out of the way."""
_SIGINFO_BYTES = 128


def name(words: Sequence[str]) -> str:
    """The name of the ticket for a process with these words; "" if there is none for them. Without
    words it is one that is described."""
    if not words:
        return DESCRIBED
    sizes = [str(len(encoded(word))) for word in words]
    found = PREFIX + ".".join([str(len(words)), *sizes])
    return found if len(found) <= _LONGEST_NAME else ""


def store(
    root: str, id: str, words: Sequence[str], process: bytes, entry: Mapping[str, Any],
    groups: Mapping[str, str], init: tuple[int, int], before: Sequence[tuple[str, tuple[int, ...]]],
) -> None:  # fmt: skip
    """Make the ticket of a process of container `id` that was executed by `entry`. `init`: its pid
    and start; `process`: what describes the process, if that is not words; `before`: what the files
    that `entry` is made from were like before that was. OSError if it cannot be written."""
    called = name(words)
    identities = [*before, *_own(entry, init[0])]
    # what is not there, or is not ours yet, is not said in a ticket
    if (
        not called
        or len(process) > _LONGEST_PROCESS
        or entry["owned"]
        or entry["files"]
        or not all(one for _, one in identities)
    ):
        return
    directory = f"{root}/{id}"
    data = _ticket(directory, id, words, process, entry, groups, init, identities)
    tickets.write(directory, called, data, PREFIX, KEPT)


def _own(entry: Mapping[str, Any], init: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(path.replace(stored.INIT_PID, str(init)), one) for path, one in entry["identities"]]


def _ticket(
    directory: str, id: str, words: Sequence[str], process: bytes, entry: Mapping[str, Any],
    groups: Mapping[str, str], init: tuple[int, int],
    identities: Sequence[tuple[str, tuple[int, ...]]],
) -> bytes:  # fmt: skip
    made = Builder()
    given = b"".join(encoded(word) + b"\0" for word in words)
    asked = [Step(tickets.WORDS, len(words), made.place(given), len(given))]
    if process:
        room = made.room(len(process), (0, process))
        asked.append(Step(tickets.DESCRIBED, tickets.A_GIVEN, room, len(process)))
    since, found = made.value(b"%d" % init[1]), made.value()
    reads, stat = made.stat(made.text(f"/proc/{init[0]}/stat"))
    looks = _looks(made, directory, groups, init[0], reads, identities)
    launches = _launches(made, id, dict(entry), groups)
    complaint = made.place(_COMPLAINT)
    ended, pid = made.room(_SIGINFO_BYTES), made.value()
    wait = call(tickets.SYS_WAITID, launch.P_PIDFD, _PROCESS, ended, posix.WEXITED)
    follow, failed = Step(tickets.FOLLOW, _PROCESS, _SIGNALS), Step(tickets.EXIT, 255)
    # whoever wants to know the pid cannot; from here on nothing is Python's any more
    unknown = made.run(
        [
            call(tickets.SYS_PIDFD_SEND_SIGNAL, _PROCESS, 9, but=[tickets.ESRCH]),
            wait,
            call(tickets.SYS_WRITE, 2, complaint, len(_COMPLAINT)),
        ],
        failed,
    )
    lost = Step(tickets.LOST)
    child = tickets.MAIN_AT + 8 * launch.CHILD_WORD
    opens = [call(tickets.SYS_PIDFD_OPEN, 0, control=RESULT), *tickets.moved(_PROCESS)]
    opened = made.run(opens, lost)
    return made.whole(
        [
            *asked,
            Step(tickets.STREAMS, entry["uid"]),
            made.run(looks),
            made.same(),
            Step(tickets.SINCE, stat, found),
            Step(tickets.MATCH, found, since),
            made.run([made.children_told(), *made.signals_held(entry["signals"], _SIGNALS)]),
            Step(tickets.SPAWN, made.program(launches), len(launches), made.clone_args()),
            # it ends when the child it made has executed its program, or is dead
            Step(tickets.REAPED),
            Step(tickets.COPY, child, opened.arguments[0] + 8),
            opened,
            Step(tickets.BECAME, otherwise=lost),
            Step(tickets.NUMBER, child, pid),
            Step(tickets.PID_FILE, pid, otherwise=unknown),
            Step(tickets.GIVEN, tickets.A_DETACHED, otherwise=follow),
            Step(tickets.EXIT, 0),
            follow,
            made.run([wait], failed),
            Step(tickets.END, ended),
            unknown,
            failed,
            lost,
            Step(0),
        ]
    )


def _looks(
    made: Builder, directory: str, groups: Mapping[str, str], init: int, stat: Sequence[bytes],
    identities: Sequence[tuple[str, tuple[int, ...]]],
) -> list[bytes]:  # fmt: skip
    """What looks at the world. The init is held before it is looked at, so that its number cannot
    change its owner unnoticed."""
    creator = made.text(f"{directory}/creator")
    records = [
        call(tickets.SYS_PIDFD_OPEN, init, 0, control=RESULT),
        *tickets.moved(_INIT),
        *stat,
        call(tickets.SYS_GETEGID, expect=posix.getegid()),
        made.kernel(),
        call(tickets.SYS_FACCESSAT, tickets.AT_FDCWD, creator, 0, but=[tickets.ENOENT], expect=1),
        *(made.alike(path, one) for path, one in identities),
    ]
    if "freezer" in groups:
        records += made.exactly(f"{groups['freezer']}/freezer.state", b"THAWED\n")
    elif "" in groups:
        records += made.exactly(f"{groups['']}/cgroup.events", b"populated 1\nfrozen 0\n")
    return records


def _launches(
    made: Builder, id: str, entry: dict[str, Any], groups: Mapping[str, str]
) -> list[bytes]:  # fmt: skip
    """What the child does to become the launcher, as `launch.launched` does it. It has no descriptor
    but the streams and the init at first, so each number that it gets is known."""
    before = launch.content(entry, "before", (id,))
    main = bytearray(launch.content(entry, "main", (id,)))
    # its maker waits until the program is executed, and lends its memory till then
    flags = int.from_bytes(main[_CLONE_ARGS_AT : _CLONE_ARGS_AT + 8], "little")
    flags |= tickets.CLONE_VM | tickets.CLONE_VFORK
    main[_CLONE_ARGS_AT : _CLONE_ARGS_AT + 8] = flags.to_bytes(8, "little")
    called = made.text("mobyshell")
    free = 5
    records = [
        call(tickets.SYS_CLOSE_RANGE, 3, _INIT - 1, 0),
        call(tickets.SYS_CLOSE_RANGE, _INIT + 1, 0xFFFFFFFF, 0),
        *made.streams_as_known(),
        call(tickets.SYS_DUP3, _INIT, launch.INIT, 0),
        *made.memory(called, bytes(main), launch.MAIN),
        made.mapped(launch.MAIN, len(main)),
        *made.memory(called, before, launch.BEFORE),
        # who tells that it has come so far: nobody listens, as its maker waits for more
        call(tickets.SYS_MEMFD_CREATE, called, posix.MFD_CLOEXEC, expect=free),
        *as_number(free, launch.SYNC),
    ]
    number = launch.GROUPS
    for controller, path in groups.items():
        place, how = (f"{path}/tasks", posix.O_WRONLY) if controller else (path, posix.O_DIRECTORY)
        opened = made.text(place)
        records.append(
            call(tickets.SYS_OPENAT, tickets.AT_FDCWD, opened, how | stored.CLOEXEC, expect=free)
        )
        records += as_number(free, number if controller else launch.CGROUP)
        number += bool(controller)
    return [*records, *made.launcher(called, entry["image"], free)]

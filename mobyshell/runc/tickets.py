"""Tickets: an exec that was done before in this very container, for whoever has no time for Python.

A ticket holds for one container and the words of one process. It is a file in the container's
directory that says what must be as it was, and what is to be done then, as flat programs at fixed
addresses; `front.s` executes it, and leaves whatever is otherwise to Python. scripts/mobyshell-runc
finds it by the lengths of the words. What it is made of is an entry (`stored`) that has just done
the same.

Owns the form of a ticket. Loaded only when there is one to be made, so it imports nothing of the
library either; the numbers are those of x86-64.
"""

from __future__ import annotations

import posix
from struct import pack

from mobyshell.runc import launch, stored

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
_AT = 0x20000000000
_MAIN_AT = 0x10000000000
_COOKIE = 0x326B6374
_HEADER = 256
_WORDS, _REPORTS = 10, 3
_NEVER = (1 << 64) - 1
_CELL, _RESULT, _EXPECTED = 1, 1 << 6, 1 << 7
_CLONE_ARGS_AT = 128
_LONGEST_PROCESS = 64 << 10
_COMPLAINT = b"exec failed: the pid file cannot be written\n"

_CLOSE, _MMAP, _WRITE, _READ, _UNAME, _FCNTL, _GETEGID = 3, 9, 1, 0, 63, 72, 108
_OPENAT, _FACCESSAT, _DUP3, _MEMFD_CREATE, _EXECVEAT, _STATX = 257, 269, 292, 319, 322, 332
_PIDFD_OPEN, _CLOSE_RANGE = 434, 436
_AT_FDCWD, _AT_EMPTY_PATH = -100, 0x1000
_F_DUPFD_CLOEXEC, _F_ADD_SEALS = 1030, 1033
_CLONE_VM, _CLONE_VFORK, _CLEAR_SIGHAND = 0x100, 0x4000, 0x100000000
_BASIC_STATS = 0x7FF
_ENOENT = 2
_SHARED = 0x100001  # MAP_SHARED | MAP_FIXED_NOREPLACE
_INIT = 200
"""Where the init's pidfd is until the launcher gets it: out of the way."""
_STAT_ROOM = 1024
_UNAME_BYTES = 390


def name(words: Sequence[str]) -> str:
    """The name of the ticket for a process with these words; "" if there is none for them. Without
    words it is one that is described."""
    if not words:
        return DESCRIBED
    sizes = [str(len(_bytes(word))) for word in words]
    found = PREFIX + ".".join([str(len(words)), *sizes])
    return found if len(found) <= _LONGEST_NAME else ""


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


class _Builder:
    """The bytes of a ticket, at their addresses."""

    def __init__(self) -> None:
        self.data = bytearray(_HEADER)
        self._same: list[tuple[int, int, int]] = []

    def place(self, value: bytes) -> int:
        """Where `value` lies."""
        self.data.extend(b"\0" * (-len(self.data) % 8))
        at = _AT + len(self.data)
        self.data.extend(value)
        return at

    def text(self, value: str) -> int:
        return self.place(_bytes(value) + b"\0")

    def room(self, size: int, *parts: tuple[int, bytes]) -> int:
        """Memory that is to be filled, and what must be found in it: (offset, bytes)."""
        at = self.place(b"\0" * size)
        for offset, wanted in parts:
            self._same.append((self.place(wanted), at + offset, len(wanted)))
        return at

    def program(self, records: Sequence[bytes]) -> int:
        """Records, with room for their reports and one cell."""
        return self.place(b"".join(records) + b"\0" * 8 * (len(records) * _REPORTS + 1))

    def table(self) -> int:
        """What must be the same as what."""
        return self.place(b"".join(pack("=3Q", *one) for one in (*self._same, (0, 0, 0))))


def _call(
    number: int, *args: int, expect: int | None = None, control: int = 0, but: int = 0
) -> bytes:
    """A record. `but`: an errno that is as good as the result."""
    padded = [arg & _NEVER for arg in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    if expect is not None:
        control |= _EXPECTED
    return pack("=10Q", number, *padded, control, but, (expect or 0) & _NEVER)


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
    data = _ticket(f"{root}/{id}", id, words, process, entry, groups, init, identities)
    tickets = [one for one in posix.listdir(f"{root}/{id}") if one.startswith(PREFIX)]
    for one in tickets if len(tickets) >= KEPT else ():
        posix.unlink(f"{root}/{id}/{one}")
    temporary = f"{root}/{id}/.{PREFIX}{posix.getpid()}"
    try:
        stored.write(temporary, data)
        posix.rename(temporary, f"{root}/{id}/{called}")
    except OSError:
        posix.unlink(temporary)
        raise


def _own(entry: Mapping[str, Any], init: int) -> list[tuple[str, tuple[int, ...]]]:
    return [(path.replace(stored.INIT_PID, str(init)), one) for path, one in entry["identities"]]


def _ticket(
    directory: str, id: str, words: Sequence[str], process: bytes, entry: Mapping[str, Any],
    groups: Mapping[str, str], init: tuple[int, int],
    identities: Sequence[tuple[str, tuple[int, ...]]],
) -> bytes:  # fmt: skip
    made = _Builder()
    given = b"".join(_bytes(word) + b"\0" for word in words)
    since = b"%d " % init[1]
    # a bracket before it and blanks in it: whatever is read, the search for its field ends
    made.data.extend(b"       )")
    stat = made.place(b" " * _STAT_ROOM + b" " * 64)
    looks = _looks(made, directory, groups, init[0], stat, identities)
    launches = _launches(made, id, dict(entry), groups)
    header = {
        2: len(words), 3: made.place(given), 4: len(given),
        5: made.program(looks), 6: len(looks),
        8: stat + _STAT_ROOM, 9: made.place(since), 10: len(since),
        11: made.program(launches), 12: len(launches), 13: _MAIN_AT,
        14: sum(1 << number - 1 for number in entry["signals"]),
    }  # fmt: skip
    room = made.room(len(process), (0, process)) if process else 0
    header |= {
        27: room,
        28: len(process),
        29: made.place(_COMPLAINT),
        30: len(_COMPLAINT),
        31: entry["uid"],
    }
    header[7] = made.table()
    for word, value in {0: _COOKIE, 1: len(made.data), **header}.items():
        made.data[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
    flags = _CLONE_VM | _CLONE_VFORK | _CLEAR_SIGHAND
    arguments = pack("=11Q", flags, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)  # SIGCHLD
    made.data[_CLONE_ARGS_AT : _CLONE_ARGS_AT + len(arguments)] = arguments
    return bytes(made.data)


def _looks(
    made: _Builder, directory: str, groups: Mapping[str, str], init: int, stat: int,
    identities: Sequence[tuple[str, tuple[int, ...]]],
) -> list[bytes]:  # fmt: skip
    """What looks at the world. The init is held before it is looked at, so that its number cannot
    change its owner unnoticed."""
    kernel = posix.uname()
    names = b"".join(
        _bytes(one).ljust(65, b"\0") for one in (kernel.release, kernel.version, kernel.machine)
    )
    records = [
        _call(_PIDFD_OPEN, init, 0, control=_RESULT),
        _call(_FCNTL, 0, _F_DUPFD_CLOEXEC, _INIT, control=_CELL, expect=_INIT),
        _call(_CLOSE, 0, control=_CELL),
        _call(_OPENAT, _AT_FDCWD, made.text(f"/proc/{init}/stat"), stored.CLOEXEC, control=_RESULT),
        _call(_READ, 0, stat, _STAT_ROOM, control=_CELL),
        _call(_CLOSE, 0, control=_CELL),
        _call(_GETEGID, expect=posix.getegid()),
        _call(_UNAME, made.room(_UNAME_BYTES, (2 * 65, names))),
        _call(_FACCESSAT, _AT_FDCWD, made.text(f"{directory}/creator"), 0, but=_ENOENT, expect=1),
    ]
    for path, one in identities:
        room = made.room(256, *_like(one))
        records.append(_call(_STATX, _AT_FDCWD, made.text(path), 0, _BASIC_STATS, room))
    if "freezer" in groups:
        path, thawed = f"{groups['freezer']}/freezer.state", b"THAWED\n"
    elif "" in groups:
        path, thawed = f"{groups['']}/cgroup.events", b"populated 1\nfrozen 0\n"
    else:
        return records
    room = made.room(256, (0, thawed))
    return [
        *records,
        _call(_OPENAT, _AT_FDCWD, made.text(path), stored.CLOEXEC, control=_RESULT),
        _call(_READ, 0, room, 256, control=_CELL, expect=len(thawed)),
        _call(_CLOSE, 0, control=_CELL),
    ]


def _like(identity: tuple[int, ...]) -> list[tuple[int, bytes]]:
    """What a struct statx has of a file of this `identity`."""
    device, inode, size, modified, changed = identity
    times = [divmod(one, 1_000_000_000) for one in (changed, modified)]
    return [
        (0x20, pack("=QQ", inode, size)),
        (0x60, b"".join(pack("=qII", seconds, nanos, 0) for seconds, nanos in times)),
        (0x88, pack("=II", posix.major(device), posix.minor(device))),
    ]


def _launches(
    made: _Builder, id: str, entry: dict[str, Any], groups: Mapping[str, str]
) -> list[bytes]:  # fmt: skip
    """What the child does to become the launcher, as `launch.launched` does it. It has no descriptor
    but the streams and the init at first, so each number that it gets is known."""
    before = launch.content(entry, "before", (id,))
    main = bytearray(launch.content(entry, "main", (id,)))
    # its maker waits until the program is executed, and lends its memory till then
    flags = int.from_bytes(main[_CLONE_ARGS_AT : _CLONE_ARGS_AT + 8], "little")
    flags |= _CLONE_VM | _CLONE_VFORK
    main[_CLONE_ARGS_AT : _CLONE_ARGS_AT + 8] = flags.to_bytes(8, "little")
    image, executable = entry["image"], posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
    try:
        posix.close(posix.memfd_create("mobyshell", executable | launch.MFD_EXEC))
        executable |= launch.MFD_EXEC
    except OSError:
        pass  # an older kernel, where every one can be executed
    called = made.text("mobyshell")
    free = 5
    records = [
        _call(_CLOSE_RANGE, 3, _INIT - 1, 0),
        _call(_CLOSE_RANGE, _INIT + 1, 0xFFFFFFFF, 0),
        _call(_DUP3, 0, launch.STDIN, 0),
        _call(_DUP3, 1, launch.STDOUT, 0),
        _call(_DUP3, 2, launch.STDERR, 0),
        _call(_DUP3, _INIT, launch.INIT, 0),
        _call(_MEMFD_CREATE, called, 0, expect=launch.MAIN),
        _call(_WRITE, launch.MAIN, made.place(bytes(main)), len(main), expect=len(main)),
        _call(_MMAP, _MAIN_AT, len(main), 3, _SHARED, launch.MAIN, 0, expect=_MAIN_AT),
        _call(_MEMFD_CREATE, called, 0, expect=launch.BEFORE),
        _call(_WRITE, launch.BEFORE, made.place(before), len(before), expect=len(before)),
        # who tells that it has come so far: nobody listens, as its maker waits for more
        _call(_MEMFD_CREATE, called, posix.MFD_CLOEXEC, expect=free),
        *_as(free, launch.SYNC),
    ]
    number = launch.GROUPS
    for controller, path in groups.items():
        place, how = (f"{path}/tasks", posix.O_WRONLY) if controller else (path, posix.O_DIRECTORY)
        opened = made.text(place)
        records.append(_call(_OPENAT, _AT_FDCWD, opened, how | stored.CLOEXEC, expect=free))
        records += _as(free, number if controller else launch.CGROUP)
        number += bool(controller)
    reopened = made.text(f"/proc/self/fd/{free}")
    vector = made.place(pack("=QQ", made.text("mobyshell init"), 0))
    return [
        *records,
        _call(_MEMFD_CREATE, called, executable, expect=free),
        _call(_WRITE, free, made.place(image), len(image), expect=len(image)),
        _call(_FCNTL, free, _F_ADD_SEALS, 0xF),
        _call(_OPENAT, _AT_FDCWD, reopened, stored.CLOEXEC, expect=free + 1),
        _call(_CLOSE, free),
        _call(_EXECVEAT, free + 1, made.place(b"\0"), vector, vector + 8, _AT_EMPTY_PATH),
    ]


def _as(fd: int, number: int) -> list[bytes]:
    """A descriptor under another number, and no more under its own."""
    return [_call(_DUP3, fd, number, 0), _call(_CLOSE, fd)]

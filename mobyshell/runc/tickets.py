"""Tickets: calls of which everything is known beforehand, for whoever has no time for Python.

A ticket is a file that says what must be as it was, and what is to be done then, as steps with flat
programs at fixed addresses; `front.s` executes it, and leaves whatever is otherwise to Python.
scripts/mobyshell-runc finds it by the words of the call.

Owns the form of a ticket; `exec_ticket` and `run_ticket` say what is in one. Loaded only when there
is one to be made, so it imports nothing of the library either; the numbers are those of x86-64.
"""

from __future__ import annotations

import posix
from struct import pack

from mobyshell.runc import launch, stored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

AT = 0x20000000000
_ROOM_AT = 0x28000000000
MAIN_AT = 0x10000000000
"""Where a ticket lies, what is too big for it, and the program of a new process (as `flat` has it)."""
_COOKIE = 0x336B6374
MASK_AT = AT + 40
"""The signals that were blocked before."""
LONGEST_ID = 76
RECORD_BYTES = 80
PYTHON_WORDS = 5
"""Those before the words of a call, which PYTHON puts in."""
_HEADER = 256
_WORDS, _REPORTS = 10, 3
_NEVER = (1 << 64) - 1
CELL, RESULT, _EXPECTED = 1, 1 << 6, 1 << 7
"""Of a record: its first argument is a cell; its result goes into one."""

STEPS = (
    "RUN", "SAME", "MATCH", "GIVEN", "IS", "WORDS", "DESCRIBED", "FILE", "CONTENT", "LINES", "STREAMS",
    "SINCE", "TEXT", "FILL", "NUMBER", "CLOCK", "COPY", "SPAWN", "REAPED", "BECAME", "LOST", "FOLLOW",
    "END", "EXIT", "PID_FILE", "REMOVED", "EMPTIED", "PYTHON",
)  # fmt: skip
(RUN, SAME, MATCH, GIVEN, IS, WORDS, DESCRIBED, FILE, CONTENT, LINES, STREAMS, SINCE, TEXT, FILL,
 NUMBER, CLOCK, COPY, SPAWN, REAPED, BECAME, LOST, FOLLOW, END, EXIT, PID_FILE, REMOVED, EMPTIED,
 PYTHON) = range(1, len(STEPS) + 1)  # fmt: skip
"""Steps, as `front.s` numbers and explains them."""
NOTHING = 0
"""What never goes well: the way to another step."""
A_DETACHED, A_GIVEN, A_ID = 24, 32, 56
"""The arguments that steps name."""

SYS_READ, SYS_WRITE, SYS_CLOSE, SYS_LSTAT, SYS_MMAP, SYS_SIGACTION, SYS_SIGPROCMASK = (
    0, 1, 3, 6, 9, 13, 14)  # fmt: skip
SYS_GETPID, SYS_EXECVE, SYS_UNAME, SYS_FCNTL, SYS_RENAME, SYS_MKDIR, SYS_RMDIR, SYS_UNLINK = (
    39, 59, 63, 72, 82, 83, 84, 87)  # fmt: skip
SYS_GETEUID, SYS_GETEGID, SYS_MKNOD, SYS_WAITID, SYS_OPENAT, SYS_FACCESSAT, SYS_PPOLL = (
    107, 108, 133, 247, 257, 269, 271)  # fmt: skip
SYS_PRCTL = 157
SYS_SIGNALFD4, SYS_DUP3, SYS_PIPE2, SYS_MEMFD_CREATE, SYS_EXECVEAT, SYS_STATX = (
    289, 292, 293, 319, 322, 332)  # fmt: skip
SYS_PIDFD_SEND_SIGNAL, SYS_PIDFD_OPEN, SYS_CLOSE_RANGE = 424, 434, 436
STORE = _NEVER
"""No call: address, width, value."""
AT_FDCWD, AT_EMPTY_PATH, AT_SYMLINK_NOFOLLOW = -100, 0x1000, 0x100
F_DUPFD_CLOEXEC, F_ADD_SEALS = 1030, 1033
CLONE_VM, CLONE_VFORK, _CLEAR_SIGHAND = 0x100, 0x4000, 0x100000000
MAP_SHARED_FIXED_NOREPLACE = 0x100001
MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE = 0x100022
BASIC_STATS = 0x7FF
ENOENT, ESRCH = 2, 3
_SIGCHLD = 17
_STAT_ROOM = 1024
_UNAME_BYTES = 390
_VALUE_BYTES = 40
_STEP_BYTES = 40


class Builder:
    """The bytes of a ticket, at their addresses."""

    def __init__(self) -> None:
        self.data = bytearray(_HEADER)
        self._same: list[tuple[int, int, int]] = []
        self._fills: list[tuple[int, int, int]] = []

    def place(self, value: bytes) -> int:
        """Where `value` lies."""
        self.data.extend(b"\0" * (-len(self.data) % 8))
        at = AT + len(self.data)
        self.data.extend(value)
        return at

    def text(self, value: str) -> int:
        return self.place(encoded(value) + b"\0")

    def room(self, size: int, *parts: tuple[int, bytes]) -> int:
        """Memory that is to be filled, and what the next `same` must find in it: (offset, bytes)."""
        at = self.place(b"\0" * size)
        for offset, wanted in parts:
            self._same.append((self.place(wanted), at + offset, len(wanted)))
        return at

    def value(self, content: bytes = b"") -> int:
        """What steps know a text by: where it lies and its bytes; with room for a number."""
        at = self.place(content)
        return self.place(pack("=2Q", at, len(content)).ljust(_VALUE_BYTES, b"\0"))

    def elsewhere(self, size: int) -> tuple[Step, int]:
        """A value with room that is too much to be in a ticket, and the step that makes it."""
        how = MAP_PRIVATE_ANONYMOUS_FIXED_NOREPLACE
        mapped = call(SYS_MMAP, _ROOM_AT, size, 3, how, -1, 0, expect=_ROOM_AT)
        return self.run([mapped]), self.place(pack("=2Q", _ROOM_AT, 0))

    def fill(self, at: int, parts: Sequence[bytes | int], told: int = 0) -> None:
        """The next `filled` puts `parts` (ints: values) together at `at`, and says at `told` how many
        bytes these are."""
        found = b""
        for part in parts:
            size = _NEVER if isinstance(part, int) else len(part)
            found += pack("=2Q", part if isinstance(part, int) else self.place(part), size)
        self._fills.append((at, told, self.place(found + pack("=2Q", 0, 0))))

    def cell(self, program: int, count: int) -> int:
        """Where the first cell of a program of so many records lies."""
        return program + 8 * count * (_WORDS + _REPORTS)

    def run(self, records: Sequence[bytes], otherwise: Step | None = None, cells: int = 1) -> Step:
        """Walk records, which have room for their reports and cells."""
        return Step(RUN, self.program(records, cells), len(records), otherwise=otherwise)

    def program(self, records: Sequence[bytes], cells: int = 1) -> int:
        return self.place(b"".join(records) + b"\0" * 8 * (len(records) * _REPORTS + cells))

    def same(self, otherwise: Step | None = None) -> Step:
        """All that was wanted in rooms since the last one of these is there."""
        table = self.place(b"".join(pack("=3Q", *one) for one in (*self._same, (0, 0, 0))))
        self._same.clear()
        return Step(SAME, table, otherwise=otherwise)

    def filled(self) -> Step:
        """Put together what was to be filled since the last one of these."""
        table = self.place(b"".join(pack("=3Q", *one) for one in (*self._fills, (0, 0, 0))))
        self._fills.clear()
        return Step(FILL, table)

    def stat(self, path: int) -> tuple[list[bytes], int]:
        """Records that read a /proc/PID/stat, and the end of the room, for SINCE."""
        # a bracket before it and blanks in it: whatever is read, the search for its field ends
        self.place(b"       )")
        at = self.place(b" " * (_STAT_ROOM + 64))
        return self.reading(path, at, _STAT_ROOM), at + _STAT_ROOM

    def reading(self, path: int, room: int, size: int, expect: int | None = None) -> list[bytes]:
        """Records that read a file with one call."""
        return [
            call(SYS_OPENAT, AT_FDCWD, path, stored.CLOEXEC | posix.O_NONBLOCK, control=RESULT),
            call(SYS_READ, 0, room, size, control=CELL, expect=expect),
            call(SYS_CLOSE, 0, control=CELL),
        ]

    def exactly(self, path: str, content: bytes) -> list[bytes]:
        """Records that read a file, which must have this content."""
        room = self.room(len(content) + 8, (0, content))
        return self.reading(self.text(path), room, len(content) + 1, len(content))

    def alike(self, path: str, identity: tuple[int, ...]) -> bytes:
        """A record that looks at a file, which must have this identity."""
        room = self.room(256, *_like(identity))
        return call(SYS_STATX, AT_FDCWD, self.text(path), 0, BASIC_STATS, room)

    def kernel(self) -> bytes:
        """A record that looks whether it is this one."""
        host = posix.uname()
        names = b"".join(
            encoded(one).ljust(65, b"\0") for one in (host.release, host.version, host.machine)
        )
        return call(SYS_UNAME, self.room(_UNAME_BYTES, (2 * 65, names)))

    def clone_args(self, flags: int = CLONE_VM | CLONE_VFORK | _CLEAR_SIGHAND) -> int:
        """For a child like vfork's."""
        return self.place(pack("=11Q", flags, 0, 0, 0, _SIGCHLD, 0, 0, 0, 0, 0, 0))

    def pipe(self, read: int, write: int, otherwise: Step | None = None) -> Step:
        """A pipe whose ends have these numbers, which must be free.

        Both come in the first cell, half of it each. Calls only see the lower half of a descriptor's
        argument; the other one is moved to the lower half of the second cell.
        """
        count = 6
        cell = self.cell(self.place(b""), count)
        records = [
            call(SYS_PIPE2, cell, stored.CLOEXEC),
            call(STORE, cell + 4, 8, 0, control=CELL << 2),
            call(SYS_FCNTL, 0, F_DUPFD_CLOEXEC, read, control=CELL, expect=read),
            call(SYS_CLOSE, 0, control=CELL),
            call(SYS_FCNTL, 1, F_DUPFD_CLOEXEC, write, control=CELL, expect=write),
            call(SYS_CLOSE, 1, control=CELL),
        ]
        return self.run(records, otherwise, cells=2)

    def signals_held(self, signals: Sequence[int], number: int) -> list[bytes]:
        """Records that let the signals that mean the program wait in a descriptor of this number."""
        waiting = self.place(pack("=Q", sum(1 << one - 1 for one in signals)))
        return [
            call(SYS_SIGPROCMASK, 0, waiting, 0, 8),
            call(SYS_SIGNALFD4, -1, waiting, 8, stored.CLOEXEC, control=RESULT),
            *moved(number),
        ]

    def children_told(self) -> bytes:
        """A record: the signal of children tells nothing if it is ignored."""
        return call(SYS_SIGACTION, _SIGCHLD, self.place(b"\0" * 32), 0, 8)

    def streams_as_known(self) -> list[bytes]:
        """Records of a child: its streams under the numbers that programs know them by."""
        numbers = (launch.STDIN, launch.STDOUT, launch.STDERR)
        return [call(SYS_DUP3, fd, number, 0) for fd, number in enumerate(numbers)]

    def memory(self, name: int, content: bytes, number: int) -> list[bytes]:
        """Records: a memfd with this content, which must get this number."""
        at = self.place(content)
        return [
            call(SYS_MEMFD_CREATE, name, 0, expect=number),
            call(SYS_WRITE, number, at, len(content), expect=len(content)),
        ]

    def mapped(self, fd: int, size: int) -> bytes:
        """A record: the program of the new process where it must lie."""
        how = MAP_SHARED_FIXED_NOREPLACE
        return call(SYS_MMAP, MAIN_AT, size, 3, how, fd, 0, expect=MAIN_AT)

    def launcher(self, name: int, image: bytes, free: int) -> list[bytes]:
        """Records: become the launcher, as `launch.sealed` and what follows. `free`: the lowest
        number of a descriptor that is."""
        executable = posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
        try:
            posix.close(posix.memfd_create("mobyshell", executable | launch.MFD_EXEC))
            executable |= launch.MFD_EXEC
        except OSError:
            pass  # an older kernel, where every one can be executed
        vector = self.place(pack("=QQ", self.text("mobyshell init"), 0))
        reopened = self.text(f"/proc/self/fd/{free}")
        return [
            call(SYS_MEMFD_CREATE, name, executable, expect=free),
            call(SYS_WRITE, free, self.place(image), len(image), expect=len(image)),
            call(SYS_FCNTL, free, F_ADD_SEALS, 0xF),
            call(SYS_OPENAT, AT_FDCWD, reopened, stored.CLOEXEC, expect=free + 1),
            call(SYS_CLOSE, free),
            call(SYS_EXECVEAT, free + 1, self.place(b"\0"), vector, vector + 8, AT_EMPTY_PATH),
        ]

    def whole(self, steps: Sequence[Step]) -> bytes:
        """The ticket."""
        at = self.place(b"")
        places = {id(one): at + _STEP_BYTES * number for number, one in enumerate(steps)}
        for one in steps:
            further = places[id(one.otherwise)] if one.otherwise is not None else 0
            self.data.extend(pack("=5Q", one.what, *one.arguments, further))
        header = {0: _COOKIE, 1: len(self.data), 2: at, 3: MAIN_AT}
        for word, value in header.items():
            self.data[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
        return bytes(self.data)


class Step:
    """One step; `otherwise`: the one to go on with if it fails, instead of Python."""

    def __init__(self, what: int, *arguments: int, otherwise: Step | None = None) -> None:
        self.what = what
        self.arguments = [one & _NEVER for one in (*arguments, 0, 0, 0)[:3]]
        self.otherwise = otherwise


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def call(
    number: int, *args: int, expect: int | None = None, control: int = 0, but: Sequence[int] = ()
) -> bytes:
    """A record. `but`: errnos that are as good as the result."""
    padded = [arg & _NEVER for arg in (*args, 0, 0, 0, 0, 0, 0)[:6]]
    if expect is not None:
        control |= _EXPECTED
    tolerated = int.from_bytes(bytes(but), "little")
    return pack("=10Q", number, *padded, control, tolerated, (expect or 0) & _NEVER)


def moved(number: int) -> list[bytes]:
    """Records: the descriptor in the cell has this number, which must be free, and no other."""
    return [
        call(SYS_FCNTL, 0, F_DUPFD_CLOEXEC, number, control=CELL, expect=number),
        call(SYS_CLOSE, 0, control=CELL),
    ]


def as_number(fd: int, number: int) -> list[bytes]:
    """Records: a descriptor under another number, which is not closed by execve, and no more under
    its own."""
    return [call(SYS_DUP3, fd, number, 0), call(SYS_CLOSE, fd)]


def _like(identity: tuple[int, ...]) -> list[tuple[int, bytes]]:
    """What a struct statx has of a file of this `identity`."""
    device, inode, size, modified, changed = identity
    times = [divmod(one, 1_000_000_000) for one in (changed, modified)]
    return [
        (0x20, pack("=QQ", inode, size)),
        (0x60, b"".join(pack("=qII", seconds, nanos, 0) for seconds, nanos in times)),
        (0x88, pack("=II", posix.major(device), posix.minor(device))),
    ]


def write(directory: str, name: str, data: bytes, prefix: str, kept: int) -> None:
    """Put a ticket in place at once. When there are `kept` with this prefix, these go first. OSError
    if it cannot be written."""
    tickets = [one for one in posix.listdir(directory) if one.startswith(prefix)]
    for one in tickets if len(tickets) >= kept else ():
        posix.unlink(f"{directory}/{one}")
    temporary = f"{directory}/.{prefix}{posix.getpid()}"
    try:
        stored.write(temporary, data)
        posix.rename(temporary, f"{directory}/{name}")
    except OSError:
        posix.unlink(temporary)
        raise

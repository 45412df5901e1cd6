"""The steps by which a ticket makes a container, runs it, and takes it back.

They are those of `runc.quick`, in the same order: whoever is killed on the way leaves what can be
cleared away, and whatever fails before the program runs is taken back, and Python's. Owns no
decision; `run_ticket` says whether they are taken. Imports nothing of the library (`tickets`).

The launcher has no memory of ours, only the descriptors it is given, and is sealed, as `launch` has
it; until the program runs, the container is as `creator` says, ours to clear away.
"""

from __future__ import annotations

import posix
from struct import pack

from mobyshell.runc import launch, shape, tickets
from mobyshell.runc.shape import filled
from mobyshell.runc.stored import CLOEXEC
from mobyshell.runc.tickets import AT_FDCWD, CELL, LONGEST_ID, RESULT, Builder, Step, call, encoded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_SYNC, _FIFO, _MAIN, _READY, _PROCESS, _END, _SIGNALS = range(200, 207)
"""Where our descriptors are, out of the way; a child is given the first three."""
_SIGINFO_BYTES = 128
_POLLERR = 8
_PR_SET_PDEATHSIG, _SIGKILL = 1, 9
_ANY = (1, 2, 13, 16, 20, 30, 39)
"""The errnos of rmdir where it does not matter whether it goes."""
_FIFO_MODE = 0o010600
_NEW = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | CLOEXEC
_LENGTH, _EXPECTED = 24, 72
"""Where a record of write(2) has how long it is, and how much must be written."""


class Making:
    """The steps, and what they need in the ticket. `id`: the value of the container's name;
    `cgroups`: the paths of its cgroups."""

    def __init__(
        self, made: Builder, root: str, entry: Mapping[str, Any], found: shape.Shape,
        levels: Sequence[str], words: Mapping[int, str],
    ) -> None:  # fmt: skip
        self.made, self.root, self.entry, self.found = made, root, dict(entry), found
        self.words = words
        self.id, self.own, self.own_start, self.pid, self.pid_start, self.created, self.started = (
            made.value() for _ in range(7)
        )
        self.id_text, self.directory = self._text([self.id]), self._path("")
        self.state, self.fifo = self._path("/state.json"), self._path("/exec.fifo")
        self.temporary, self.config = self._path("/.state.json"), self._path("/config.json")
        self.creator, self.known = self._path("/creator"), self._path("/cgroups.json")
        self.cgroups = [self._text(self._parts(one)) for one in entry["cgroups"]]
        self.levels = [
            call(tickets.SYS_RMDIR, made.text(one), but=_ANY, expect=0) for one in levels
        ]
        self.child = tickets.MAIN_AT + 8 * launch.CHILD_WORD
        # LOST, of a child that will not become the program; then, of what was made
        self.undo, self.bare = Step(tickets.LOST), Step(tickets.EMPTIED, self.directory)

    def steps(self, looks: Sequence[Step]) -> list[Step]:
        """All of them; with `looks` as soon as the name is in its places."""
        reserve = self._reserve()
        named = [*self._ourselves(), self.made.filled(), *self.lengths]
        return [
            *named,
            *looks,
            *reserve,
            *self._launch(),
            *self._record(),
            *self._begin(),
            *self._follow(),
            *self._undo(),
        ]

    def _room(self, parts: Sequence[bytes | int]) -> int:
        size = sum(LONGEST_ID if isinstance(one, int) else len(one) for one in parts)
        return self.made.room(size + 1)

    def _text(self, parts: Sequence[bytes | int]) -> int:
        """A text that the next FILL puts together."""
        at = self._room(parts)
        self.made.fill(at, parts)
        return at

    def _path(self, name: str) -> int:
        """Of a file in the container's directory, or of that."""
        return self._text([encoded(f"{self.root}/"), self.id, encoded(name)])

    def _parts(
        self, pieces: shape.Pieces, words: Mapping[int, str] | None = None, **more: int
    ) -> list[bytes | int]:
        """A text of the entry, with `words` or else the bundle's own in its places, but for values
        that are known when it is put together."""
        known = {shape.ID: self.id, **{getattr(shape, name): one for name, one in more.items()}}
        values = dict(enumerate(self.found.values)) if words is None else words
        found: list[bytes | int] = []
        for one in pieces:
            if isinstance(one, str):
                found.append(encoded(one))
            else:
                found.append(known[one] if one in known else encoded(values[one]))
        return found

    def _image(self, part: str) -> tuple[int, int]:
        """A program of the entry: where it lies, and its bytes."""
        content, _, texts, lengths = self.entry[part]
        if any(shape.ID in pieces for pieces, _ in lengths):
            raise ValueError("a length that only the name tells")
        longest = [*self.found.values]
        longest[shape.ID] = "i" * LONGEST_ID
        data = launch.content(self.entry, part, longest)
        at, offset = self.made.place(data), len(content)
        for pieces, _ in texts:
            if shape.ID in pieces:
                self.made.fill(at + offset, self._parts(pieces))
            offset += len(encoded(filled(pieces, longest))) + 1
        return at, len(data)

    def _new(self, path: int, content: int, size: int = 0) -> list[bytes]:
        """Records that write a new file, as `stored.write`."""
        return [
            call(tickets.SYS_OPENAT, AT_FDCWD, path, _NEW, 0o600, control=RESULT),
            call(tickets.SYS_WRITE, 0, content, size, control=CELL, expect=size),
            call(tickets.SYS_CLOSE, 0, control=CELL),
        ]

    def _told(self, run: Step, room: int, parts: Sequence[bytes | int], index: int = 1) -> Step:
        """Let the next FILL put a text together that a record of `run` writes, and say how long it
        is; and the step that must come after it."""
        at = run.arguments[0] + tickets.RECORD_BYTES * index
        self.made.fill(room, parts, at + _LENGTH)
        return Step(tickets.COPY, at + _LENGTH, at + _EXPECTED)

    def _ourselves(self) -> list[Step]:
        """Who makes the container."""
        reads, stat = self.made.stat(self.made.text("/proc/self/stat"))
        records = [*reads, call(tickets.SYS_GETPID, control=RESULT)]
        run = self.made.run(records)
        return [
            run,
            Step(tickets.SINCE, stat, self.own_start),
            Step(tickets.NUMBER, self.made.cell(run.arguments[0], len(records)), self.own),
        ]

    def _reserve(self) -> list[Step]:
        """What is there before the child is. Whoever makes the directory has the name."""
        made = self.made
        signed: list[bytes | int] = [self.own, b" ", self.own_start]
        groups = self._parts(self.entry["known"], self.words)
        signature, known = self._room(signed), self._room(groups)
        # "before" first: how long it is is written into the other
        self.before = self._image("before")
        self.main = self._image("main")
        self.name = made.text("mobyshell")
        make = made.run(
            [
                *self._new(self.creator, signature),
                *self._new(self.known, known),
                call(tickets.SYS_MKNOD, self.fifo, _FIFO_MODE, 0),
                call(
                    tickets.SYS_OPENAT, AT_FDCWD, self.fifo, posix.O_RDWR | CLOEXEC, control=RESULT
                ),
                *tickets.moved(_FIFO),
                call(tickets.SYS_MEMFD_CREATE, self.name, posix.MFD_CLOEXEC, control=RESULT),
                *tickets.moved(_MAIN),
                call(tickets.SYS_WRITE, _MAIN, *self.main, expect=self.main[1]),
                made.mapped(_MAIN, self.main[1]),
                made.children_told(),
            ],
            self.bare,
        )
        self.lengths = [
            self._told(make, signature, signed),
            self._told(make, known, groups, 4),
        ]
        directory = made.run([call(tickets.SYS_MKDIR, self.directory, 0o711)])
        return [directory, make, made.pipe(_READY, _SYNC, self.bare)]

    def _launch(self) -> list[Step]:
        """The launcher makes the child, and ends; meanwhile a file is written."""
        made, content = self.made, self.found.content
        given = (_SYNC, launch.SYNC), (_FIFO, launch.FIFO), (_MAIN, launch.MAIN)
        at, size = self.before
        launches = [
            # who clears away what we leave must not be overtaken by it
            call(tickets.SYS_PRCTL, _PR_SET_PDEATHSIG, _SIGKILL),
            call(tickets.SYS_CLOSE_RANGE, 3, _SYNC - 1, 0),
            call(tickets.SYS_CLOSE_RANGE, _MAIN + 1, 0xFFFFFFFF, 0),
            *made.streams_as_known(),
            *(call(tickets.SYS_DUP3, fd, number, 0) for fd, number in given),
            call(tickets.SYS_MEMFD_CREATE, self.name, 0, expect=launch.BEFORE),
            call(tickets.SYS_WRITE, launch.BEFORE, at, size, expect=size),
            *made.launcher(self.name, self.entry["image"], launch.BEFORE + 1),
        ]
        copy = self._new(self.config, made.place(content), len(content))
        opens = made.run(
            [call(tickets.SYS_PIDFD_OPEN, 0, control=RESULT), *tickets.moved(_PROCESS)], self.undo
        )
        child = Step(tickets.COPY, self.child, opens.arguments[0] + 8)
        self.spoiled = Step(tickets.REAPED, otherwise=self.undo)
        return [
            Step(tickets.SPAWN, made.program(launches), len(launches), made.clone_args(),
                 otherwise=self.undo),
            made.run([call(tickets.SYS_CLOSE, _SYNC), *copy], self.spoiled),
            # whether there is a child, and not how its maker ended, decides
            Step(tickets.REAPED, otherwise=child),
            child,
            opens,
        ]  # fmt: skip

    def _record(self) -> list[Step]:
        """The container has a record, and is told to be complete."""
        made = self.made
        stat_path = self._text([b"/proc/", self.pid, b"/stat"])
        named = made.filled()
        reads, stat = made.stat(stat_path)
        ready = made.room(8, (0, b"r"))
        state, known = self._state(
            made.value(b"0"), [call(tickets.SYS_READ, _READY, ready, 2, expect=1)]
        )
        unsigned = [call(tickets.SYS_UNLINK, one) for one in (self.creator, self.known)]
        return [
            Step(tickets.NUMBER, self.child, self.pid),
            named,
            made.run(reads, self.undo),
            Step(tickets.SINCE, stat, self.pid_start),
            Step(tickets.CLOCK, self.created),
            made.filled(),
            known,
            state,
            made.same(self.undo),
            made.run(unsigned, self.undo),
            Step(tickets.PID_FILE, self.pid, otherwise=self.undo),
        ]

    def _state(self, started: int, then: Sequence[bytes]) -> tuple[Step, Step]:
        """The state is written, and what is to be done then; and what comes behind FILL for that."""
        parts = self._parts(
            self.entry["state"], self.words, PID=self.pid, PID_START=self.pid_start,
            CREATED=self.created, STARTED=started,
        )  # fmt: skip
        room = self._room(parts)
        rename = call(tickets.SYS_RENAME, self.temporary, self.state)
        run = self.made.run([*self._new(self.temporary, room), rename, *then], self.undo)
        return run, self._told(run, room, parts)

    def _begin(self) -> list[Step]:
        """The child becomes the program, and those that do not wait for it are through."""
        made = self.made
        hold = made.run(made.signals_held(self.entry["signals"], _SIGNALS), self.undo)
        clock = Step(tickets.CLOCK, self.started)
        how = posix.O_WRONLY | posix.O_NONBLOCK | CLOEXEC
        state, known = self._state(
            self.started,
            [
                call(tickets.SYS_OPENAT, AT_FDCWD, self.fifo, how, control=RESULT),
                *tickets.moved(_END),
                call(tickets.SYS_UNLINK, self.fifo),
                call(tickets.SYS_CLOSE, _FIFO),
            ],
        )
        # a writing end reports an error when its last reader is gone: by execve, or by death
        end = made.place(pack("=IHH", _END, _POLLERR, 0))
        go = [
            call(tickets.SYS_WRITE, _END, made.place(b"1"), 1, expect=1),
            call(tickets.SYS_PPOLL, end, 1, 0, 0, 0, expect=1),
        ]
        self.follow = Step(tickets.FOLLOW, _PROCESS, _SIGNALS)
        return [
            Step(tickets.GIVEN, tickets.A_DETACHED, otherwise=hold),
            Step(tickets.NOTHING, otherwise=clock),
            hold,
            clock,
            made.filled(),
            known,
            state,
            made.run(go, self.undo),
            Step(tickets.BECAME, otherwise=self.undo),
            Step(tickets.GIVEN, tickets.A_DETACHED, otherwise=self.follow),
            Step(tickets.EXIT, 0),
        ]

    def _follow(self) -> list[Step]:
        """To the end of the program, and of the container: nothing of it is left to Python's run any
        more, but what does not go at once to its delete."""
        made = self.made
        ended = made.room(_SIGINFO_BYTES)
        wait = call(tickets.SYS_WAITID, launch.P_PIDFD, _PROCESS, ended, posix.WEXITED)
        end, failed = Step(tickets.END, ended), Step(tickets.EXIT, 255)
        words = [made.text(one) for one in ("--root", self.root, "delete", "--force")]
        vector = pack("=11Q", *(0,) * tickets.PYTHON_WORDS, *words, self.id_text, 0)
        unmasked = call(tickets.SYS_SIGPROCMASK, 2, tickets.MASK_AT, 0, 8)
        delete = made.program([unmasked, call(tickets.SYS_EXECVE)])
        left = Step(tickets.PYTHON, delete, made.place(vector), made.clone_args(), otherwise=end)
        rename = call(tickets.SYS_RENAME, self.state, self.temporary)
        return [
            self.follow,
            made.run([wait], failed),
            *(Step(tickets.REMOVED, one, otherwise=left) for one in self.cgroups),
            # without its state there is no container any more
            made.run([*self.levels, rename], left),
            Step(tickets.EMPTIED, self.directory, otherwise=left),
            Step(tickets.NOTHING, otherwise=end),
            left,
            end,
            failed,
        ]

    def _undo(self) -> list[Step]:
        """As if nothing had been tried. What does not go, Python is told by what it finds."""
        levels = self.made.run(self.levels, self.bare)
        removed: list[Step] = []
        for one in reversed(self.cgroups):
            removed.insert(0, Step(tickets.REMOVED, one, otherwise=(removed or [levels])[0]))
        return [
            self.spoiled,
            self.undo,
            *removed,
            levels,
            self.bare,
            Step(tickets.NOTHING),
        ]

"""The standard streams of one process, the shim's ends of them.

Owns FIFOs and terminals: making them, moving output into the log, writing input with bounded
memory. Nobody's death may hurt the task: its end of an output FIFO is open for reading too, so
that there is always a reader and never a SIGPIPE; its death is seen as the end of the stream.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import termios
from collections.abc import Callable
from contextlib import suppress

from mobyshell.core.clock import Clock
from mobyshell.core.linux import terminals
from mobyshell.core.tasks.intake import Intake
from mobyshell.core.tasks.logs import LogWriter, encode
from mobyshell.core.tasks.loop import Loop, Timer, Watch
from mobyshell.core.values import value, variable

OUTPUTS = ("stdout", "stderr")
_PIPE_BYTES = 256 << 10
_INPUT_LIMIT = 256 << 10
_END_OF_FILE = b"\x04"
_HUNG_UP_PAUSE = 0.2
_NUMBER = bytes(4)


@variable
class Ends:
    """`theirs`: stdin, stdout, stderr for the process. `ours`: by name, what the shim keeps."""

    theirs: tuple[int, int, int]
    ours: dict[str, int]
    kept: tuple[int, ...] = ()
    """Of theirs the output FIFOs, which we have until the process's end: while it ends it would
    wake us for each, instead of being gone."""
    handed: bool = False

    def give(self, owner: tuple[int, int]) -> None:
        """Let a user open the output FIFOs anew."""
        for fd in self.kept:
            _give(fd, owner)

    def close_theirs(self) -> None:
        """Once the process has them; not what is kept. Again: nothing."""
        if not self.handed:
            self.handed = True
            for fd in {*self.theirs} - {*self.kept}:
                os.close(fd)

    def close(self) -> None:
        """Everything, when no process came of it."""
        self.close_theirs()
        for fd in (*self.kept, *self.ours.values()):
            os.close(fd)


@value
class Outputs:
    """The output FIFOs of a process, both ends of each, by name, and /dev/null to read from."""

    ours: dict[str, int]
    theirs: dict[str, int]
    null: int

    def ends(self) -> Ends:
        """Those of a process that has nothing else, and is our own user's; see `open_ends`."""
        kept = self.theirs["stdout"], self.theirs["stderr"]
        return Ends((self.null, *kept), self.ours, kept)

    def close(self) -> None:
        for fd in (*self.ours.values(), *self.theirs.values(), self.null):
            os.close(fd)


def make_outputs(directory: str) -> Outputs:
    """The output FIFOs in `directory`."""
    made = Outputs({}, {}, os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
    try:
        for name in OUTPUTS:
            path = f"{directory}/{name}"
            os.mkfifo(path, 0o600)
            made.ours[name] = open_output(path)
            made.theirs[name] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        return made
    except OSError:
        made.close()
        raise


def open_ends(
    directory: str, *, terminal: bool, stdin: bool, owner: tuple[int, int],
    outputs: Outputs | None = None,
) -> Ends:  # fmt: skip
    """Make what a new process needs in `directory`, where `outputs` may be there already.

    `owner`: the host's ids of the process's user, who may then open /dev/stdout anew. Without
    `stdin` it reads from /dev/null; with a terminal all three are, until it has its console.
    """
    opened: list[int] = []
    ours: dict[str, int] = {}
    try:
        if terminal:
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            return Ends((null, null, null), {})
        made, outputs = outputs or make_outputs(directory), None
        ours |= made.ours
        opened += [made.null, *(made.theirs[name] for name in OUTPUTS)]
        if stdin:
            source, ours["stdin"] = _input_fifo(f"{directory}/stdin", owner)
            os.close(made.null)
            opened[0] = source
        if owner != (os.geteuid(), os.getegid()):
            for fd in opened[1:]:
                _give(fd, owner)
        return Ends((opened[0], opened[1], opened[2]), ours, (opened[1], opened[2]))
    except OSError:
        for fd in [*opened, *ours.values()]:
            os.close(fd)
        if outputs is not None:
            outputs.close()
        raise


def open_output(path: str) -> int:
    """The shim's end of an output FIFO."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # over the user's limit of pipe memory: the usual 64 KiB will do
    return fd


def _input_fifo(path: str, owner: tuple[int, int]) -> tuple[int, int]:
    os.mkfifo(path, 0o600)
    theirs = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        ours = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        os.close(theirs)
        raise
    os.set_blocking(theirs, True)
    if owner != (os.geteuid(), os.getegid()):
        _give(theirs, owner)
    return theirs, ours


def _give(fd: int, owner: tuple[int, int]) -> None:
    try:
        os.fchown(fd, *owner)
    except OSError:
        pass  # rootless: the process still has the descriptor, it only cannot open it anew


class Output:
    """One output FIFO, moved into the log as it comes."""

    def __init__(
        self, loop: Loop, intake: Intake, fd: int, name: str, log: LogWriter,
        moved: Callable[[], None], ended: Callable[[Output], None],
    ) -> None:  # fmt: skip
        self.fd, self.name = fd, name
        self._intake, self._log = intake, log
        self._moved, self._ended = moved, ended
        self._watch: Watch | None = loop.watch(fd, self._read)

    def _read(self) -> None:
        if self.pump() is None:
            self.close()
            self._ended(self)

    def pump(self) -> int | None:
        """One chunk into the log, if there is one now: see `Intake.take`."""
        count = self._intake.take(self.fd, self._log, self.name)
        if count:
            self._moved()
        return count

    @property
    def waiting(self) -> bool:
        """Whether there is something to read, beside the end."""
        return fcntl.ioctl(self.fd, termios.FIONREAD, _NUMBER) != _NUMBER

    def drain(self) -> None:
        """What is there now, up to what a pipe holds (another process may go on writing)."""
        left = 1 << 20
        while self._watch is not None and left > 0:
            count = self.pump()
            if count is None:
                self.close()
                self._ended(self)
            if not count:
                return
            left -= count

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None
            os.close(self.fd)


class Input:
    """The way into a process: a FIFO or a terminal, with bounded memory.

    `drained` is called when there is room again after `full` was true.
    """

    def __init__(self, loop: Loop, fd: int, *, terminal: bool) -> None:
        self.fd = fd
        self._loop = loop
        self._terminal = terminal
        self._buffer = bytearray()
        self._watch: Watch | None = None
        self._closing = False
        self.closed = False
        self.drained: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        return len(self._buffer) >= _INPUT_LIMIT

    def write(self, data: bytes) -> None:
        """Take `data`; nothing once closed."""
        if not self.closed and not self._closing:
            self._buffer += data
            self._flush()

    def finish(self) -> None:
        """No more input: the end of file, or what stands for it on a terminal."""
        if self._terminal:
            self.write(_END_OF_FILE)
        elif not self.closed:
            self._closing = True
            self._flush()

    def _flush(self) -> None:
        try:
            while self._buffer:
                written = os.write(self.fd, memoryview(self._buffer)[: 64 << 10])
                del self._buffer[:written]
        except BlockingIOError:
            if self._watch is None:
                self._watch = self._loop.watch(self.fd, self._flush, write=True)
        except OSError:  # nobody reads any more
            self._buffer.clear()
            self._closing = not self._terminal
        if not self._buffer:
            if self._watch is not None:
                self._watch.close()
                self._watch = None
            if self._closing:
                self.close()
        if not self.full and self.drained:
            waiting, self.drained = self.drained, []
            for callback in waiting:
                callback()

    def close(self) -> None:
        """At once. A terminal's descriptor is the terminal's to close."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        if not self.closed:
            self.closed = True
            self._buffer.clear()
            if not self._terminal:
                os.close(self.fd)


class Terminal:
    """The master of a pseudo terminal: read live, kept in part, logged."""

    KEPT = 16 << 10
    KEPT_UNSEEN = 1 << 20

    def __init__(
        self, loop: Loop, clock: Clock, master: int, log: LogWriter,
        live: Callable[[bytes], None],
    ) -> None:  # fmt: skip
        os.set_blocking(master, False)
        self.fd = master
        self._loop, self._clock, self._log = loop, clock, log
        self._live = live
        self._kept = bytearray()
        self._seen = False
        self._timer: Timer | None = None
        self._watch: Watch | None = loop.watch(master, self._read)
        self.input = Input(loop, master, terminal=True)

    def _read(self) -> None:
        if self.pump() is None:
            # Every process has closed it. One may open /dev/console again: look now and then.
            self._unwatch()
            self._timer = self._loop.call_later(_HUNG_UP_PAUSE, self._watch_again)

    def _watch_again(self) -> None:
        self._timer = None
        self._watch = self._loop.watch(self.fd, self._read)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def pump(self) -> int | None:
        """A chunk to everybody; 0: nothing now; None: hung up."""
        try:
            data = os.read(self.fd, 64 << 10)
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EIO:
                return None
            raise
        if not data:
            return None
        self._keep(data)
        self._live(data)
        try:
            self._log.append(encode(data, "stdout", self._clock.now_ns()))
        except OSError:
            pass  # no space left: live it goes on
        return len(data)

    def drain(self) -> None:
        """What is there now."""
        left = 1 << 20
        while left > 0 and self.fd >= 0:
            count = self.pump()
            if not count:
                return
            left -= count

    def _keep(self, data: bytes) -> None:
        limit = self.KEPT if self._seen else self.KEPT_UNSEEN
        self._kept += data
        if len(self._kept) > 2 * limit:
            del self._kept[:-limit]

    def recent(self) -> bytes:
        """What a newly attached client should see: all, if nobody ever saw it, else the last."""
        kept = bytes(self._kept)
        if self._seen and len(kept) > self.KEPT:
            kept = kept[-self.KEPT :]
            kept = kept[kept.find(b"\n") + 1 :]  # not from the middle of an escape sequence
        self._seen = True
        if len(self._kept) > self.KEPT:
            del self._kept[: -self.KEPT]
        return kept

    def resize(self, rows: int, columns: int) -> None:
        """Set the size; what is drawn there is told to draw itself again, also at the same size."""
        with suppress(OSError):  # hung up, or its group gone in this moment: nothing is drawn
            if terminals.size(self.fd) != (rows, columns):
                terminals.set_size(self.fd, rows, columns)
                return
            group = terminals.foreground(self.fd)
            if group > 0:  # 0: none yet, or of a pid namespace we do not see
                os.killpg(group, signal.SIGWINCH)

    def close(self) -> None:
        self._unwatch()
        if self._timer is not None:
            self._timer.cancel()
        self.input.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

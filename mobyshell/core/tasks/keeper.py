"""The keeper: what makes the shim's death harmless.

A tiny single-threaded process per state root and the child subreaper. It forks the shim, forks
another one if that dies, keeps descriptors for it, and reaps what a dead shim left behind, writing
down how it ended. It parses nothing but the short words of `holder`, and knows nothing of containers.

Nothing is imported here that makes it grow: it is there as long as the shim, and a module that both
had from before the fork would soon be there twice, as counting references writes to every page. So a
shim loads what it is made of by itself.

Started by `connect` (as `PROGRAM`) with the lock on the state root as descriptor 3 and a pipe as
descriptor 4, which gets one byte once the shim's socket listens.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # started by hand: -I leaves sys.path bare; not to be loaded twice
    sys.path += sys.argv[3:]
    from mobyshell.core.tasks.keeper import main as _main

    sys.exit(_main(sys.argv[1:]))

# `signal` and `socket` without their enums
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import ctypes
import faulthandler
import os
import select
import time

from mobyshell.core.debug.door import KNOCK
from mobyshell.core.tasks.bare import DIARY, EXIT, LOCK, decode_wait_status, write_atomically
from mobyshell.core.tasks.limits import make_room

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    RunShim = Callable[[socket.socket, dict[str, int]], int]
    """The shim's main: its end of the line to the keeper, and the descriptors held for it."""

PROGRAM = (
    "-I",
    "-S",
    "-c",
    "import sys; sys.path += sys.argv[4:]; from mobyshell.core.tasks.keeper import main;"
    "sys.exit(main(sys.argv[2:4]))",
    __file__,
)
"""What Python is told; then STATE LINGER PATH…, where PATH is where our modules are (-I leaves its own
paths bare, -S runs no .pth files). Our own is for those who look at processes: were it executed, it would
be compiled each time, in memory that stays."""

LOCK_FD, READY_FD = 3, 4
_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_DIARY_BYTES = 256 << 10
_FIRST_DELAY, _LAST_DELAY = 0.05, 5.0
_GIVE_UP = 0.8
"""Without a task, a delay this long is the last: some six tries in two seconds."""
_MOMENT = 0.02
_LONGEST = 16 << 10
_INT = ctypes.sizeof(ctypes.c_int)
_MOST_BESIDE = 8
"""Descriptors with one datagram: of a process there are at most five."""
_STEADY = 10.0
"""A shim that lived this long, in seconds, did not die of its start."""


class Keeper:
    """Keeps one shim alive until it ends by itself."""

    def __init__(self, run_shim: RunShim, *, held: dict[str, int] | None = None,
                 watched: dict[int, str] | None = None) -> None:  # fmt: skip
        self._run_shim = run_shim
        self.held = held if held is not None else {}
        self.watched = watched if watched is not None else {}
        self._line: socket.socket | None = None
        self._shim = 0
        self._born = 0.0
        self._delay = 0.0
        self._alarm, self._ring = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)

    def adopt(self, shim: int, line: socket.socket) -> None:
        """Keep a shim that has just been forked by somebody else (this process, earlier)."""
        self._shim, self._line, self._born = shim, line, time.monotonic()

    def run(self) -> int:
        """Until the shim has left; its exit status. Also when none can be had that stays, and no task
        needs one: whoever wants a shim next starts another keeper."""
        while True:
            if self._shim == 0:
                if self._delay:
                    self._listen(self._delay)
                self._fork()
            status = self._reap()
            if status == 0:
                return 0
            if status is None:
                self._listen(None)
            elif self._delay >= _GIVE_UP and not self._needed():
                return status
            else:
                self._mourn()

    def _needed(self) -> bool:
        """Whether there is a task: one that lives, or whose last words are in what is held for it."""
        return bool(self.watched) or any(not name.startswith("/") for name in self.held)

    def _fork(self) -> None:
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                line.close()
                self._leave_to_child()
                status = self._run_shim(theirs, self.held)
            finally:
                os._exit(status)
        theirs.close()
        self.adopt(pid, line)

    def _leave_to_child(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._alarm)
        os.close(self._ring)

    def _listen(self, timeout: float | None) -> None:
        """Take what the shim says until a child ends (or the time is over).

        Nothing of it is urgent, and what was sent is safe: so it waits a moment, in which the shim
        and its tasks have the processors for themselves, and more may come. A SIGCHLD ends that.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            ready = self._poll(until, line=True)
            if ready and self._alarm not in ready:
                ready = self._poll(time.monotonic() + _MOMENT, line=False)
                self._hear_all()
            if self._alarm in ready:
                os.read(self._alarm, 4096)
                self._hear_all()
                if until is None:
                    return
                self._reap()
            if until is not None and time.monotonic() >= until:
                return

    def _poll(self, until: float | None, *, line: bool) -> list[int]:
        """What of the alarm, and of the `line`, can be read before `until`."""
        poller = select.poll()
        poller.register(self._alarm, select.POLLIN)
        if line and self._line is not None:
            poller.register(self._line.fileno(), select.POLLIN)
        left = None if until is None else max(0, int((until - time.monotonic()) * 1000))
        return [fd for fd, _ in poller.poll(left)]

    def _hear_all(self) -> None:
        """Everything that the shim has said up to now."""
        try:
            while self._line is not None and self._hear():
                pass
        except BlockingIOError:
            return
        if self._line is not None:
            self._line.close()
            self._line = None

    def _hear(self) -> bool:
        """One datagram from the shim; False when it has hung up. BlockingIOError if there is none."""
        assert self._line is not None
        room = socket.CMSG_SPACE(_MOST_BESIDE * _INT)
        try:
            how = socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            data, beside, _, _ = self._line.recvmsg(_LONGEST, room, how)
        except BlockingIOError:
            raise
        except OSError:
            return False
        handed: list[int] = []
        for level, kind, content in beside:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                handed += memoryview(content[: len(content) - len(content) % _INT]).cast("i")
        if not data:
            return False
        for words in data.decode().split("\0\0"):
            self._do(words.split("\0"), handed)
        return True

    def _do(self, words: list[str], beside: list[int]) -> None:
        match words:
            case ["hold", name]:
                fd = beside.pop(0) if beside else -1
                self._drop(name)
                if fd >= 0:
                    self.held[name] = fd
                    make_room(len(self.held))
            case ["drop", name]:
                self._drop(name)
            case ["watch", pid, directory]:
                self.watched[int(pid)] = directory
            case ["unwatch", pid]:
                self.watched.pop(int(pid), None)

    def _drop(self, name: str) -> None:
        fd = self.held.pop(name, -1)
        if fd >= 0:
            os.close(fd)

    def _reap(self) -> int | None:
        """Bury every dead child; the shim's exit status if it was among them."""
        ended = None
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return ended
            if found is None:
                return ended
            if found.si_pid == self._shim:
                self._hear_out()
            else:
                self._write_down(found)
            _, status = os.waitpid(found.si_pid, 0)
            if found.si_pid == self._shim:
                self._shim, ended = 0, decode_wait_status(status)

    def _hear_out(self) -> None:
        """What the shim said before it died still counts."""
        self._hear_all()
        if self._line is not None:
            self._line.close()
            self._line = None

    def _write_down(self, found: os.waitid_result) -> None:
        directory = self.watched.pop(found.si_pid, None)
        if directory is not None:
            killed = found.si_code != os.CLD_EXITED
            text = f"{found.si_status + (128 if killed else 0)} {time.time_ns()}"
            try:
                write_atomically(f"{directory}/{EXIT}", text.encode())
            except OSError:
                pass  # the task was deleted meanwhile

    def _mourn(self) -> None:
        if time.monotonic() - self._born > _STEADY:
            self._delay = 0.0
        else:
            self._delay = min(self._delay * 2 or _FIRST_DELAY, _LAST_DELAY)


def main(arguments: list[str]) -> int:
    """Detach from whoever started us, then keep a shim for `STATE`."""
    state, linger = arguments[0], float(arguments[1])
    if os.fork():
        return 0
    os.setsid()
    detach(state)

    def run_shim(line: socket.socket, held: dict[str, int]) -> int:
        from mobyshell.core.lazily import lazily

        lazily("inspect", "ipaddress", "linecache", "textwrap", "bz2", "lzma")
        try:
            from mobyshell.core.tasks import shim
        except Exception:  # an installation that is being changed, say: for the diary
            sys.excepthook(*sys.exc_info())
            return 1

        return shim.run(state, line, held, linger=linger, ready=READY_FD)

    become_subreaper()
    return keep(Keeper(run_shim), state)


def keep(keeper: Keeper, state: str) -> int:
    """Run `keeper` to its end and leave the state root without a lock."""
    name_process("mobyshell-keep")
    status = keeper.run()
    try:  # while it is still held; not another's, where somebody removed the state root
        if os.stat(f"{state}/{LOCK}").st_ino == os.fstat(LOCK_FD).st_ino:
            os.unlink(f"{state}/{LOCK}")
    except FileNotFoundError:
        pass
    return status


def become_subreaper() -> None:
    """Inherit the children of a dead shim (PR_SET_CHILD_SUBREAPER(2const))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """What ps and top show (15 bytes at most)."""
    _prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()))


def _prctl(option: int, argument: ctypes.c_char_p | int) -> None:
    """prctl(2) by the C library: our own calls, with their errors, are more than all this."""
    libc = ctypes.CDLL(None, use_errno=True)
    what = ctypes.c_ulong(argument) if isinstance(argument, int) else argument
    if libc.prctl(option, what, *[ctypes.c_ulong(0)] * 3):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl: {os.strerror(number)}")


def detach(state: str) -> None:
    """Carry nothing of the client: descriptors, directory, mask, signals, cgroup, limit of files."""
    os.closerange(READY_FD + 1, 1 << 30)
    for fd in (LOCK_FD, READY_FD):
        os.set_inheritable(fd, False)
    diary = os.open(
        f"{state}/{DIARY}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    if os.fstat(diary).st_size > _DIARY_BYTES:
        os.ftruncate(diary, 0)
    os.dup2(diary, 2)
    os.close(diary)
    os.chdir("/")
    os.umask(0o022)
    # handled, not ignored: what is ignored stays so in every program a container runs
    for one in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, lambda *_: None)
    # whatever it is in the midst of, keeper or shim writes into the diary where that is
    faulthandler.register(KNOCK, 2)
    _leave_cgroups()


def _leave_cgroups() -> None:
    """Out of the client's session, which may be frozen or killed with all that is in it.

    Root only, as only root may; and only the hierarchies that stop or kill, not those that count.
    """
    if os.geteuid() != 0:
        return
    for place in ("freezer", "systemd", "unified", "."):
        try:
            # never to be made where it is not: on a hybrid machine the top is a tmpfs
            fd = os.open(f"/sys/fs/cgroup/{place}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(fd, b"0")
            finally:
                os.close(fd)
        except OSError:
            pass  # no such hierarchy; or not allowed, as in a container: then we stay

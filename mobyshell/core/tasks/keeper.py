"""The keeper: what makes the shim's death harmless.

A tiny single-threaded process per state root and the child subreaper. It starts the shim, starts
another one if that dies, keeps descriptors for it, and reaps what a dead shim left behind, writing
down how it ended. It parses nothing but the short words of `holder`, and knows nothing of containers.

This is the keeper of machines that are no x86-64, and what a shim becomes that cannot become another.
`keeper.s` does the same by machine code; the tests are one for both. Nothing is imported here that makes
it grow: it is there as long as the shim.

Called as `keeping` says.
"""

from __future__ import annotations

# `signal` and `socket` without their enums
import _signal as signal  # type: ignore[import-not-found]
import _socket as socket
import ctypes
import faulthandler
import os
import select
import time

from mobyshell.core.debug.door import KNOCK
from mobyshell.core.tasks.bare import EXIT, decode_wait_status, write_atomically
from mobyshell.core.tasks.keeping import (
    LEDGER_FD,
    LINE_FD,
    LOCK_FD,
    READY_FD,
    moved_up,
    write_ledger,
)
from mobyshell.core.tasks.limits import make_room

_PR_SET_NAME, _PR_SET_CHILD_SUBREAPER = 15, 36
_FIRST_DELAY, _LAST_DELAY = 0.05, 5.0
_GIVE_UP = 0.8
"""Without a task, a delay this long is the last: some six tries in two seconds."""
_MOMENT = 0.02
_LONGEST = 16 << 10
_INT = ctypes.sizeof(ctypes.c_int)
_MOST_BESIDE = 8
"""Descriptors with one datagram: of a process there are at most five."""
_DIGITS = 10
_STEADY = 10.0
"""A shim that lived this long, in seconds, did not die of its start."""


class Keeper:
    """Keeps one shim alive until it ends by itself. `command` starts one."""

    def __init__(
        self, command: list[str], held: dict[str, int] | None = None,
        watched: dict[int, str] | None = None,
    ) -> None:  # fmt: skip
        self._command = command
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
        """Keep a shim that is a child already (this process was one itself, and it is its fork)."""
        self._shim, self._line, self._born = shim, line, time.monotonic()

    def run(self) -> int:
        """Until the shim has left; its exit status. Also when none can be had that stays, and no task
        needs one: whoever wants a shim next starts another keeper."""
        while True:
            if self._shim == 0:
                if self._delay:
                    self._listen(self._delay)
                try:
                    self._fork()
                except OSError:  # no process to be had, or no descriptor: one that died at once
                    self._born = time.monotonic()
                    if self._mourn():
                        return 1
                    continue
            status = self._reap()
            if status == 0:
                return 0
            if status is None:
                self._listen(None)
            elif self._mourn():
                return status

    def _needed(self) -> bool:
        """Whether there is a task: one that lives, or whose last words are in what is held for it."""
        return bool(self.watched) or any(not name.startswith("/") for name in self.held)

    def _fork(self) -> None:
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
            if pid == 0:
                self._become_shim(theirs)
        except OSError:
            line.close()
            raise
        finally:
            theirs.close()
        self.adopt(pid, line)

    def _become_shim(self, line: socket.socket) -> None:
        try:
            held = {name: moved_up(fd) for name, fd in self.held.items()}
            for fd, place in (
                (line.fileno(), LINE_FD),
                (write_ledger(held, self.watched), LEDGER_FD),
            ):
                above = moved_up(fd)
                os.dup2(above, place)
                os.close(above)
            for fd in (LOCK_FD, READY_FD):
                os.set_inheritable(fd, True)
            os.execv(self._command[0], self._command)
        finally:
            os._exit(1)

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
        for words in data.decode(errors="replace").split("\0\0"):
            self._do(words.split("\0"), handed)
        for fd in handed:  # what came with words that hold nothing
            os.close(fd)
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
            case ["watch", pid, directory] if _is_pid(pid):
                self.watched[int(pid)] = directory
            case ["unwatch", pid] if _is_pid(pid):
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

    def _mourn(self) -> bool:
        """When to try again; whether that is in vain."""
        if time.monotonic() - self._born > _STEADY:
            self._delay = 0.0
        elif self._delay >= _GIVE_UP and not self._needed():
            return True
        else:
            self._delay = min(self._delay * 2 or _FIRST_DELAY, _LAST_DELAY)
        return False


def _is_pid(word: str) -> bool:
    return word.isdecimal() and len(word) <= _DIGITS


def main(arguments: list[str]) -> int:
    """LOCK 0 COMMAND…, as `keeping` says."""
    lock, _, *command = arguments
    if os.fork():
        return 0
    os.setsid()
    detach()
    become_subreaper()
    return keep(Keeper(command), lock)


def keep(keeper: Keeper, lock: str) -> int:
    """Run `keeper` to its end and leave the state root without a lock."""
    name_process("mobyshell-keep")
    status = keeper.run()
    try:  # while it is still held; not another's, where somebody removed the state root
        if os.stat(lock).st_ino == os.fstat(LOCK_FD).st_ino:
            os.unlink(lock)
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


def detach() -> None:
    """Carry nothing of the client: descriptors, directory, mask, signals, cgroup."""
    os.closerange(READY_FD + 1, 1 << 30)
    for fd in (LOCK_FD, READY_FD):
        os.set_inheritable(fd, False)
    os.chdir("/")
    os.umask(0o022)
    take_signals()
    _leave_cgroups()


def take_signals() -> None:
    """Handled, not ignored: what is ignored stays so in every program a container runs. A knock is
    answered: whatever it is in the midst of, keeper or shim writes into the diary where that is."""
    for one in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGHUP, signal.SIGINT):
        signal.signal(one, lambda *_: None)
    faulthandler.register(KNOCK, 2)


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

"""run and exec in the foreground: hold the terminal, pass signals on, end as the program ends."""

from __future__ import annotations

import os
import signal

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.runtime.delete import delete
from mobyshell.core.runtime.steps import run as steps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from mobyshell.core.runtime.create import Container
    from mobyshell.core.runtime.runtime import Runtime
    from mobyshell.runc.call import Call

_PR_SET_CHILD_SUBREAPER = 36
# not to be passed on: what cannot be caught, what tells of our own children and window, and what
# the kernel sends to a process about itself
_OURS = {
    "SIGKILL", "SIGSTOP", "SIGCHLD", "SIGPIPE", "SIGURG", "SIGWINCH", "SIGSEGV", "SIGBUS",
    "SIGFPE", "SIGILL", "SIGTTOU", "SIGTTIN",
}  # fmt: skip


def attend(call: Call, runtime: Runtime, container: Container) -> int:
    """Start a created container and stay until it has ended; then delete it unless --keep."""
    from mobyshell.runc.start import start

    return stay(call, runtime, container, lambda: start(call, runtime))


def stay(
    call: Call, runtime: Runtime, container: Container, begin: Callable[[], None] | None = None
) -> int:
    """`attend` for one that runs already, or that `begin` starts."""
    if not call.flags.on("no-subreaper"):
        _subreaper()
    follower = Follower(container.pidfd, container.master)
    with follower:
        if begin is not None:
            begin()
        follower.follow()
        try:
            status = steps(runtime.wait(call.id))
        except NotFound:
            # deleted meanwhile, by force or by a checkpoint; but it is our child
            status = pidfds.reap(container.pidfd) or 0
    if not call.flags.on("keep"):
        try:
            steps(delete(runtime.root, call.id, force=True, sink=call.told))
        except MobyshellError as error:
            call.log.error(error.message)
    return status & 0xFF


def passed_on(*, terminal: bool) -> list[int]:
    """The signals that a foreground call handles: all that mean its program."""
    ours = _OURS - {"SIGWINCH"} if terminal else _OURS
    # 32 and 33 are the C library's own
    return [
        int(one) for one in signal.valid_signals() if one not in (32, 33) and _name(one) not in ours
    ]


def _subreaper() -> None:
    from mobyshell.core.linux.syscalls import call as syscall

    syscall("prctl", _PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Follower:
    """Signals to the process, and its terminal to ours, as long as this is entered."""

    def __init__(self, pidfd: int, master: int | None) -> None:
        self.pidfd, self.master = pidfd, master
        self._before: dict[int, object] = {}
        self._saved: list[object] | None = None
        self._typed = bytearray()

    def __enter__(self) -> Follower:
        for number in passed_on(terminal=self.master is not None):
            self._before[number] = signal.signal(number, self._signalled)
        if self.master is not None:
            self._plain_newlines(self.master)
            self._raw()
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            import termios

            # what the terminal has not shown yet is shown first
            termios.tcsetattr(0, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    @staticmethod
    def _plain_newlines(master: int) -> None:
        """Our own terminal makes CR LF of a line's end; done twice, a file would get the CR."""
        import termios

        attributes = termios.tcgetattr(master)
        attributes[1] &= ~termios.ONLCR
        termios.tcsetattr(master, termios.TCSANOW, attributes)

    def _raw(self) -> None:
        if not os.isatty(0):
            return
        import termios
        import tty

        self._saved = list(termios.tcgetattr(0))
        tty.setraw(0, termios.TCSANOW)
        # but output goes on as lines: the container's terminal leaves that to ours
        attributes = termios.tcgetattr(0)
        attributes[1] |= termios.OPOST
        termios.tcsetattr(0, termios.TCSANOW, attributes)
        self._resize()

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGWINCH:
            self._resize()
        else:
            pidfds.send(self.pidfd, number)

    def _resize(self) -> None:
        import fcntl
        import termios

        try:
            given = fcntl.ioctl(0, termios.TIOCGWINSZ, b"\0" * 8)
            assert self.master is not None
            fcntl.ioctl(self.master, termios.TIOCSWINSZ, given)
        except OSError:
            return  # not on a terminal, or it is being closed

    def follow(self) -> None:
        """Until the process has ended, and everything it wrote to its terminal has been passed on."""
        import select

        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        if self.master is not None:
            os.set_blocking(self.master, False)
            poller.register(self.master, select.POLLIN)
            poller.register(0, select.POLLIN)
        while True:
            ready = {fd for fd, _ in poller.poll()}
            if 0 in ready and not self._read_in():
                poller.unregister(0)
            if self.master is not None and self.master in ready:
                if not (self._copy_out() and self._copy_in()):
                    poller.unregister(self.master)
                    self.master = None
            elif self._typed:
                self._copy_in()
            if self.master is not None:
                # one that does not read its terminal makes us wait, but not deaf to its output
                wanted = select.POLLIN | (select.POLLOUT if self._typed else 0)
                poller.modify(self.master, wanted)
            if self.pidfd in ready:
                while self.master is not None and self._copy_out(at_end=True):
                    pass
                return

    def _copy_out(self, *, at_end: bool = False) -> bool:
        """Once from the terminal to our output. False if there is nobody (at the end: nothing)."""
        assert self.master is not None
        try:
            data = os.read(self.master, 65536)
        except BlockingIOError:
            return not at_end
        except OSError:
            return False  # EIO: nobody has the other end open any more
        view = memoryview(data)
        while view:
            view = view[os.write(1, view) :]
        return bool(data)

    def _read_in(self) -> bool:
        try:
            data = os.read(0, 4096)
        except OSError:
            return False
        self._typed += data
        return bool(data)

    def _copy_in(self) -> bool:
        if self._typed and self.master is not None:
            try:
                del self._typed[: os.write(self.master, self._typed)]
            except BlockingIOError:
                pass
            except OSError:
                return False
        return True


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return ""

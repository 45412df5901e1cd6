"""A person's terminal, connected to a task until one of the two is gone.

Owns raw mode, the window's size, detach keys and the forwarding of signals. No thread, no event
loop: one select.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from types import FrameType
from typing import TYPE_CHECKING

from mobyshell.commands.results import Done
from mobyshell.core.errors import MobyshellError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobyshell.commands.context import Context
    from mobyshell.core.tasks.service import Attachment

_FORWARDED = ("SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2")


def window_size() -> tuple[int, int]:
    """(rows, columns) of our terminal; (0, 0) if there is none."""
    try:
        size = os.get_terminal_size(sys.stdin.fileno())
    except (OSError, ValueError):
        return 0, 0
    return size.lines, size.columns


def follow(
    ctx: Context, id: str, attachment: Attachment, *, exec_id: str = "", terminal: bool,
    stdin: bool, keys: str = "ctrl-p,ctrl-q",
) -> int | None:  # fmt: skip
    """Stay attached until the process ends; its exit status, or None if the person detached."""
    session = _Session(ctx, id, exec_id, attachment, terminal and ctx.interactive, stdin, keys)
    try:
        detached = session.run()
    finally:
        attachment.close()
    return None if detached else ctx.tasks.wait(id, exec_id=exec_id)


def start_and_stay(
    ctx: Context, id: str, *, detach: bool, terminal: bool, stdin: bool, keys: str,
    forget: Callable[[], object] | None,
) -> Done:  # fmt: skip
    """Start a task that was just created, and stay with it until it ends, unless `detach`.

    Its exit code is passed on, and `forget` called once it has ended. A task that cannot be started
    is deleted.
    """
    try:
        if detach:
            ctx.tasks.start(id)
            return Done(id)
        attachment = ctx.tasks.attach(id)
        ctx.tasks.start(id)
    except BaseException:
        ctx.tasks.delete(id, force=True)
        raise
    status = follow(ctx, id, attachment, terminal=terminal, stdin=stdin, keys=keys)
    if status is None:
        return Done(id, said=f"left {id} running; `mobyshell task attach {id}` comes back")
    said = _why(ctx, id) if status == _KILLED else ""
    if forget is not None:
        forget()
        return Done(code=status, said=said)
    return Done(code=status, said=" ".join(one for one in (said, _goes_on(ctx, id)) if one))


def _goes_on(ctx: Context, id: str) -> str:
    """What to say of a task that has ended, and is started again."""
    try:
        info = ctx.tasks.get(id)
    except NotFound:
        return ""
    if not info.restart or info.status == "stopped":
        return ""
    return f"{id} is started again ({info.restart}) until `mobyshell stop {id}`"


_KILLED = 128 + signal.SIGKILL


def _why(ctx: Context, id: str) -> str:
    """Whether it was for want of memory that somebody was killed in there."""
    try:
        kills = ctx.tasks.stats(id).oom_kills
    except MobyshellError:
        return ""  # its cgroups have gone
    return f"{id} was killed at its memory limit (oom_kill {kills})" if kills else ""


class _Session:
    def __init__(
        self, ctx: Context, id: str, exec_id: str, attachment: Attachment, terminal: bool,
        stdin: bool, keys: str,
    ) -> None:  # fmt: skip
        from mobyshell.core.tasks.detach import DetachFilter

        self.ctx, self.id, self.exec_id = ctx, id, exec_id
        self.attachment, self.terminal, self.stdin = attachment, terminal, stdin
        self.filter = DetachFilter(keys if ctx.interactive else "")
        self.wake, self.wake_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.pending: list[int] = []

    def run(self) -> bool:
        """True if the person detached."""
        before = {}
        names = ["SIGWINCH"] if self.terminal else list(_FORWARDED)
        for name in names:
            number = signal.Signals[name]
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, self._signalled)
        try:
            if not self.terminal:
                return self._pump()
            import termios
            import tty

            fd = sys.stdin.fileno()
            saved = termios.tcgetattr(fd)
            try:
                tty.setraw(fd)
                return self._pump()
            finally:
                termios.tcsetattr(fd, termios.TCSADRAIN, saved)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(self.wake)
            os.close(self.wake_end)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        self.pending.append(number)
        try:
            os.write(self.wake_end, b"!")
        except BlockingIOError:
            pass  # it is awake enough

    def _pump(self) -> bool:
        reading = [self.attachment.fileno(), self.wake]
        if self.stdin:
            reading.append(0)
        while True:
            # what came together with the answer to attach does not make the descriptor readable
            waiting = 0 if self.attachment.pending else None
            ready, _, _ = select.select(reading, [], [], waiting)
            if self.wake in ready:
                os.read(self.wake, 4096)
                self._pass_on()
            if 0 in ready and self._type(reading):
                return True
            if reading[0] in ready or self.attachment.pending:
                got = self.attachment.read()
                if got is None:
                    return False
                self._print(*got)

    def _pass_on(self) -> None:
        pending, self.pending = self.pending, []
        for number in pending:
            try:
                if number == signal.SIGWINCH:
                    self.attachment.resize(*window_size())
                else:
                    self.ctx.tasks.kill(self.id, number, exec_id=self.exec_id)
            except MobyshellError:
                continue  # it ended at this moment; its exit status is on the way

    def _type(self, reading: list[int]) -> bool:
        data = os.read(0, 65536)
        if not data:
            reading.remove(0)
            self.attachment.close_stdin()
            return False
        keys, detached = self.filter.feed(data)
        if keys:
            self.attachment.write(keys)
        return detached

    def _print(self, stream: str, data: bytes) -> None:
        if stream == "lost":
            data, stream = b"\r\n[%s bytes were not shown]\r\n" % data, "stderr"
        fd = 2 if stream == "stderr" else 1
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

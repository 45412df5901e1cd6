"""Descriptors that cross the runtime: streams, listening sockets, kept ones, the terminal."""

from __future__ import annotations

import os

from mobyshell.core.runtime.plan import INNER
from mobyshell.runc.call import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mobyshell.core.runtime import Container
    from mobyshell.core.runtime.exec import ExecProcess
    from mobyshell.runc.call import Call


class Taken:
    """`kept` descriptors for the program, and `environment` that tells it of them."""

    def __init__(self, kept: tuple[int, ...], environment: tuple[str, ...]) -> None:
        self.kept, self.environment = kept, environment


def taken(call: Call) -> Taken:
    """What the caller passes on: $LISTEN_FDS (sd_listen_fds(3)), then --preserve-fds."""
    complete()
    listening = _listening()
    wanted = listening + call.flags.number("preserve-fds")
    for fd in range(3, 3 + wanted):
        try:
            os.fstat(fd)
        except OSError:
            what = f"preserved-fd {fd - 3 - listening}" if fd >= 3 + listening else "LISTEN_FDS"
            text = f"unable to stat {what} (of {wanted}): no such file or directory"
            raise Failure(_prefix(call, text), 255 if call.command == "exec" else 1) from None
    # sd_listen_fds(3) takes only what is meant for the very process that asks
    number = INNER if call.command == "exec" else "1"
    told = (f"LISTEN_FDS={listening}", f"LISTEN_PID={number}") if listening else ()
    return Taken(tuple(range(3, 3 + wanted)), told)


def complete() -> None:
    """A caller that closed a standard stream meant nothing to be there, not the next file opened."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


def _prefix(call: Call, text: str) -> str:
    return (
        f"exec failed: {text}" if call.command == "exec" else f"runc {call.command} failed: {text}"
    )


def _listening() -> int:
    # sockets for another process are no business of ours: what lies at their numbers here is
    # something else, which the container must not get
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return 0
    try:
        return max(int(os.environ.get("LISTEN_FDS", "0")), 0)
    except ValueError:
        return 0


def check_console(terminal: bool, detached: bool, socket: str, command: str) -> None:
    """A terminal needs somebody who holds its other end. Failure if nobody does."""
    text = ""
    if detached and terminal and not socket:
        text = "cannot allocate tty if runc will detach without setting console socket"
    elif socket and not (detached and terminal):
        text = "cannot use console socket if runc will not detach or allocate tty"
    if text:
        exec_ = command == "exec"
        prefix = "exec failed" if exec_ else f"runc {command} failed"
        raise Failure(f"{prefix}: {text}", 255 if exec_ else 1)


def size(call: Call) -> tuple[int, int]:
    """(rows, columns) of the terminal we are on, for one that is to look the same; else (0, 0)."""
    if call.command == "create" or call.flags.on("detach"):
        return 0, 0
    try:
        found = os.get_terminal_size(0)
    except OSError:
        return 0, 0
    return found.lines, found.columns


def send(path: str, fd: int, what: str) -> None:
    """Pass a descriptor to whoever listens on the Unix socket `path`; the data is its name."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
            there.connect(path)
            name = os.readlink(f"/proc/self/fd/{fd}")
            socket.send_fds(there, [name.encode()], [fd])
    except OSError as error:
        raise OSError(error.errno, f"{what} {path}: {error.strerror}".lower()) from None


def write_pid(path: str, pid: int) -> None:
    """The pid in a file that is there whole or not at all, without a newline, as callers read it."""
    directory, _, name = os.path.abspath(path).rpartition("/")
    temporary = f"{directory}/.{name}"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_SYNC | os.O_CLOEXEC, 0o666)
    try:
        os.write(fd, b"%d" % pid)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def hand_out(call: Call, made: Container | ExecProcess) -> None:
    """What the caller asked for: the terminal, a pidfd, a file with the pid. OSError."""
    flags = call.flags
    if made.master is not None and flags.text("console-socket"):
        send(flags.text("console-socket"), made.master, "console socket")
    if flags.text("pidfd-socket"):
        send(flags.text("pidfd-socket"), made.pidfd, "pidfd-socket")
    if flags.text("pid-file"):
        write_pid(flags.text("pid-file"), made.pid)

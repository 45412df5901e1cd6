"""How a stored plan becomes a process: its programs, the sealed launcher, signals, the end.

Imports nothing that Python has not loaded itself, but for `fcntl`: see `quick`.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enumerations first
import posix

from mobyshell.runc.shape import filled
from mobyshell.runc.stored import CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

MAIN, BEFORE = 3, 4
STDIN, STDOUT, STDERR, SYNC, FIFO, CGROUP, INIT, GROUPS = 16, 17, 18, 19, 20, 21, 22, 23
"""The launcher's descriptors, which are written into the programs; those of cgroups are the last."""
CHILD_WORD = 8
"""In a program's header: the pid of the child that the launcher has made."""

_HEADER_BYTES, _RECORD_BYTES, _TOLERATED = 256, 80, 64
_BYTES_WORD, _BEFORE_BYTES_WORD = 2, 6
_PAGE = 4096
P_PIDFD = 3
MFD_EXEC = 0x10
"""Since Linux 6.3."""


def content(entry: dict[str, Any], part: str, values: Sequence[str]) -> bytes:
    """A stored program with `values` in its texts, which come behind it; "before" first, whose size
    is in "main"."""
    content, base, texts, lengths = entry[part]
    whole = bytearray(content)
    for parts, pointers in texts:
        address = (base + len(whole)).to_bytes(8, "little")
        for at in pointers:
            whole[at : at + 8] = address
        whole += filled(parts, values).encode("utf-8", "surrogateescape") + b"\0"
    for parts, at in lengths:
        size = len(filled(parts, values).encode("utf-8", "surrogateescape"))
        whole[at : at + 8] = size.to_bytes(8, "little")
    size = -(-len(whole) // _PAGE) * _PAGE
    whole[8 * _BYTES_WORD : 8 * _BYTES_WORD + 8] = size.to_bytes(8, "little")
    if part == "main":
        # who walks this one first looks there how much of the other is to be mapped
        whole[8 * _BEFORE_BYTES_WORD : 8 * _BEFORE_BYTES_WORD + 8] = entry["size"]
    entry["size"] = size.to_bytes(8, "little")
    return bytes(whole.ljust(size, b"\0"))


def _memory(data: bytes) -> int:
    """A memfd of `data`."""
    fd = posix.memfd_create("mobyshell", posix.MFD_CLOEXEC)
    posix.write(fd, data)
    return fd


def sealed(content: bytes) -> int:
    """The launcher, sealed: nobody can change what /proc/PID/exe of the container leads to."""
    from fcntl import F_ADD_SEALS, fcntl

    how = posix.MFD_CLOEXEC | posix.MFD_ALLOW_SEALING
    try:
        fd = posix.memfd_create("mobyshell", how | MFD_EXEC)
    except OSError:
        fd = posix.memfd_create("mobyshell", how)
    posix.write(fd, content)
    fcntl(fd, F_ADD_SEALS, 0xF)
    image = posix.open(f"/proc/self/fd/{fd}", posix.O_RDONLY | CLOEXEC)
    posix.close(fd)
    return image


def launched(
    entry: dict[str, Any], values: Sequence[str], *more: tuple[int, int],
    meanwhile: Callable[[], None] | None = None,
) -> tuple[int, int]:  # fmt: skip
    """Let the launcher make a child: (memfd of its program, its pid, or 0 if it could not).

    `more`: (descriptor, number that the programs know it by), besides the streams. `meanwhile` is
    done while the launcher is at work, and raises nothing.
    """
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    before = _memory(content(entry, "before", values))
    main = _memory(content(entry, "main", values))
    image = sealed(entry["image"])
    given = ((0, STDIN), (1, STDOUT), (2, STDERR), (main, MAIN), (before, BEFORE), *more)
    # out of the way first: the numbers of one must not be overwritten before it is copied
    above = max(number for _, number in given) + 1
    moved = [(fcntl(fd, F_DUPFD_CLOEXEC, above), number) for fd, number in given]
    image, plain = fcntl(image, F_DUPFD_CLOEXEC, above), image
    posix.close(plain)
    launcher = posix.posix_spawn(
        f"/proc/self/fd/{image}", [b"mobyshell init"], {},
        file_actions=[(posix.POSIX_SPAWN_DUP2, fd, number) for fd, number in moved],
    )  # fmt: skip
    for fd in (before, image, *(fd for fd, _ in moved)):
        posix.close(fd)
    if meanwhile is not None:
        meanwhile()
    posix.waitpid(launcher, 0)
    pid = int.from_bytes(posix.pread(main, 8, 8 * CHILD_WORD), "little", signed=True)
    return main, max(pid, 0)


def failed(entry: dict[str, Any], main: int) -> bool:
    """Whether the last call that a child made was refused: then it never became its program."""
    at, count = entry["reports"]
    reports = posix.pread(main, 24 * count, at)
    for index in range(count - 1, -1, -1):
        if reports[24 * index + 16 : 24 * index + 24] != b"\0" * 8:
            code = int.from_bytes(reports[24 * index + 8 : 24 * index + 16], "little")
            # as when a program is looked for along PATH: all but the last place may refuse
            tolerated = _HEADER_BYTES + index * _RECORD_BYTES + _TOLERATED
            return bool(code) and code not in entry["main"][0][tolerated : tolerated + 8]
    return True


def pass_signals_on(entry: dict[str, Any], pidfd: int) -> None:
    """Every signal that means the program goes to it."""

    def pass_on(number: int, _: object) -> None:
        try:
            _signal.pidfd_send_signal(pidfd, number)
        except OSError:
            pass  # it has just ended

    for number in entry["signals"]:
        _signal.signal(number, pass_on)


def status_of(done: Any) -> int:
    """An exit status as shells have it: the code, or 128+n for signal n."""
    if done is None:
        return 0
    status: int = done.si_status
    return status & 0xFF if done.si_code == posix.CLD_EXITED else 128 + (status & 0x7F)


def end(pidfd: int) -> None:
    """Kill a child, and reap it."""
    try:
        _signal.pidfd_send_signal(pidfd, 9)
        posix.waitid(P_PIDFD, pidfd, posix.WEXITED)
    except OSError:
        pass  # it has ended by itself


def write_pid(path: str, pid: int) -> None:
    """As `streams.write_pid`."""
    directory, slash, name = path.rpartition("/")
    temporary = f"{directory}{slash}.{name}"
    how = posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | CLOEXEC
    fd = posix.open(temporary, how, 0o666)
    posix.write(fd, b"%d" % pid)
    posix.close(fd)
    posix.rename(temporary, path)


def start_time(pid: int | str) -> int:
    """Field 22 of /proc/PID/stat."""
    fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | CLOEXEC)
    try:
        return int(posix.read(fd, 4096).rpartition(b")")[2].split()[19])
    finally:
        posix.close(fd)

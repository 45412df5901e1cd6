"""A keeper as a program: how one is started, and what it and its shim give each other.

A keeper is called LOCK SHIM COMMAND…: the file whose lock it inherits, the pid of a shim that is there
already, as a child (0 if none is), and what to execute for a shim. Descriptors, of both:

    0, 1  /dev/null     2  the diary     3  the lock
    4     a pipe that gets one byte once the shim's socket listens, and ends with the keeper
    5     the shim's end of the line; its own for a keeper that comes to a shim
    6     the ledger: what is held for the shim, whose numbers are those of this process, and of whom
          the keeper looks out for

Owns these numbers, the ledger's form and the choice between `keeper.s`, on x86-64, and `keeper.py`. What
a keeper does is there, and what it is told in `holder`. Nothing large is imported: a shim comes through here.
"""

from __future__ import annotations

import os
import sys
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LOCK_FD, READY_FD, LINE_FD, LEDGER_FD = 3, 4, 5, 6
OWN_FDS = 16
"""Descriptors below this have a meaning, or may have one: what is held has a number from here on."""

SHIM = os.path.join(os.path.dirname(__file__), "shim.py")
"""Who looks at processes finds keepers and shims by this word; the next one is their state root."""

_SHIM_CODE = (
    "import sys; sys.path += sys.argv[4:];"
    "from mobyshell.core.lazily import RARE, lazily, without_forms; lazily(*RARE); without_forms();"
    "from mobyshell.core.tasks.shim import main; sys.exit(main(sys.argv[2:4]))"
)
_KEEPER_CODE = (
    "import sys; sys.path += [sys.argv.pop(1)]; from mobyshell.core.tasks.keeper import main;"
    "sys.exit(main(sys.argv[1:]))"
)
_NAME = "mobyshell-keeper"
_LOCALE = {"LC_ALL": "C"}
"""Has Python speak UTF-8 (PEP 540), whatever its client speaks, and load no tables of a locale."""
_HOLD, _WATCH = 0, 1
_RECORD = Struct("=III")
_MOST = 16 << 20


def shim_command(state: str, linger: str, paths: Sequence[str]) -> list[str]:
    """What a keeper executes: Python without its own paths (-I) and .pth files (-S), and where our
    modules are."""
    return [sys.executable, "-I", "-S", "-c", _SHIM_CODE, SHIM, state, linger, *paths]


def portable(arguments: Sequence[str]) -> list[str]:
    """The command of a keeper in Python."""
    package = os.path.abspath(__file__)
    for _ in range(4):
        package = os.path.dirname(package)
    return [sys.executable, "-I", "-S", "-c", _KEEPER_CODE, package, *arguments]


def native(arguments: Sequence[str]) -> tuple[int, list[str]]:
    """A descriptor of the program, and the command, of a keeper by machine code. Unsupported elsewhere
    than on x86-64, SyscallFailed if the kernel refuses."""
    from mobyshell.core.errors import Unsupported
    from mobyshell.core.linux.memory import sealed
    from mobyshell.core.linux.syscalls import MACHINE
    from mobyshell.core.runtime.native.image import elf
    from mobyshell.core.tasks.keeper_code import CODE, KEEP

    if MACHINE != "x86_64":
        raise Unsupported(f"the native keeper is for x86-64, this machine is {MACHINE}")
    return sealed(_NAME, elf(CODE, KEEP)), [_NAME, *arguments]


def start(
    arguments: Sequence[str], diary: int, lock: int, ready: int, environment: Mapping[str, str],
    kind: str = "",
) -> None:  # fmt: skip
    """Start a keeper, which is nobody's child when this returns: a native one, where that can be, else
    a portable one; `kind` is which it must be. OSError if there is no process to be had."""
    from mobyshell.core.errors import MobyshellError

    if kind != "portable":
        program = -1
        try:
            program, words = native(arguments)
            if _spawned(f"/proc/self/fd/{program}", words, diary, lock, ready, environment):
                return
        except (OSError, MobyshellError):
            if kind:
                raise
            # no memory may be executed here, say
        finally:
            if program >= 0:
                os.close(program)
    words = portable(arguments)
    _spawned(words[0], words, diary, lock, ready, environment)


def _spawned(
    program: str, words: list[str], diary: int, lock: int, ready: int,
    environment: Mapping[str, str],
) -> bool:  # fmt: skip
    """Whether it has made a process of its own, which is the keeper."""
    import signal
    from fcntl import F_DUPFD_CLOEXEC, fcntl

    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # out of the way of the numbers they get in the keeper
    sources = [fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS) for fd in (null, null, diary, lock, ready)]
    os.close(null)
    try:
        pid = os.posix_spawn(
            program,
            words,
            {**environment, **_LOCALE},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, place) for place, fd in enumerate(sources)],
            setsid=True,
            setsigmask=[],
            setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
        )
    finally:
        for fd in sources:
            os.close(fd)
    try:
        return os.waitpid(pid, 0)[1] == 0
    except ChildProcessError:
        return True  # a process that reaps whatever dies was first


def become_native(
    lock: str, shim: int, command: Sequence[str], line: int, held: Mapping[str, int],
    watched: Mapping[int, str],
) -> None:  # fmt: skip
    """Execute the native keeper in this process, whose child `shim` is; what is in `held` stays open.
    Returns by raising what `native` and execve(2) do, with all signals let through again."""
    import signal

    program, words = native([lock, str(shim), *command])
    ledger = write_ledger(held, watched)
    # one that comes now would meet nobody who takes it
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        for fd, place in ((line, LINE_FD), (ledger, LEDGER_FD)):
            os.set_inheritable(fd, False)
            os.dup2(fd, place)
        os.set_inheritable(LOCK_FD, True)
        os.execve(program, words, {**os.environ, **_LOCALE})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def write_ledger(held: Mapping[str, int], watched: Mapping[int, str]) -> int:
    """A descriptor of a ledger, to be read from its beginning. OSError if there is no memory."""
    fd = os.memfd_create("ledger", os.MFD_CLOEXEC)
    try:
        records = [_record(_HOLD, number, name) for name, number in held.items()]
        records += [_record(_WATCH, pid, directory) for pid, directory in watched.items()]
        data = memoryview(b"".join(records))
        while data:
            data = data[os.write(fd, data) :]
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _record(kind: int, number: int, text: str) -> bytes:
    encoded = text.encode() + b"\0"
    encoded += bytes(-len(encoded) % 4)
    return _RECORD.pack(_RECORD.size + len(encoded), kind, number) + encoded


def read_ledger(fd: int) -> tuple[dict[str, int], dict[int, str]]:
    """What is held, by name, and who is watched. `fd` is closed."""
    with open(fd, "rb") as file:
        data = file.read(_MOST)
    held: dict[str, int] = {}
    watched: dict[int, str] = {}
    at = 0
    while at < len(data):
        size, kind, number = _RECORD.unpack_from(data, at)
        text = data[at + _RECORD.size : at + size].rstrip(b"\0").decode()
        if kind == _HOLD:
            held[text] = number
        else:
            watched[number] = text
        at += size
    return held, watched


def moved_up(fd: int) -> int:
    """`fd`, or a copy of it, under a number that means nothing, which execve(2) leaves open."""
    from fcntl import F_DUPFD, fcntl

    if fd < OWN_FDS:
        return fcntl(fd, F_DUPFD, OWN_FDS)
    os.set_inheritable(fd, True)
    return fd

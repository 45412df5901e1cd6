"""start, state, kill and delete of a plain container, without the library.

As `quick`, and by its means: whatever is unusual (hooks to be run, a unit of systemd, groups inside
of the container's), and whatever must be explained, is left to the library, from the start. Where
words and record are as they mostly are, `verbs.s` does the same without Python.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` makes enumerations first
import posix
import time

from mobyshell.runc import place, quick, stored
from mobyshell.runc.shape import plain
from mobyshell.runc.stored import CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobyshell.runc.quick_state import Container

COMMANDS = ("start", "state", "kill", "delete")
_WIDE = {"delete": ("--force", "-f"), "kill": ("--all", "-a")}
_GLOBAL = ("--root", "--log", "--log-format")
_PATIENCE_MS = 30_000
_BUSY, _PAUSE = 2.0, 0.0005
_KILL = 9
_START_HOOKS = (b'"startContainer"', b'"poststart"')
_NOT_STARTED, _STARTED = '"started_ns": 0,', '"started_ns": %d,'


class Asked:
    """A call that is simple enough. `words`: what follows the command; `wide`: with --force or
    --all, as the command has it."""

    def __init__(self) -> None:
        self.root = self.log = self.command = ""
        self.words: list[str] = []
        self.wide = False


def parse(words: Sequence[str]) -> Asked | None:
    """What is asked, if it is one of these verbs and plain; None for everything else."""
    asked = Asked()
    index = 0
    while index < len(words) and not asked.command:
        word = words[index]
        index += 1
        name, given, value = word.partition("=")
        if word in COMMANDS:
            asked.command = word
        elif word == "--systemd-cgroup":
            continue  # about containers that are made
        elif name not in _GLOBAL:
            return None
        else:
            if not given:
                if index == len(words):
                    return None
                value = words[index]
                index += 1
            if name == "--root":
                asked.root = value
            elif name == "--log":
                asked.log = value
            elif value not in ("text", "json"):
                return None
    wide = _WIDE.get(asked.command, ())
    asked.words = [one for one in words[index:] if one not in wide]
    asked.wide = len(asked.words) < len(words) - index
    most = 2 if asked.command == "kill" else 1
    few = 1 <= len(asked.words) <= most and not any(one[:1] == "-" for one in asked.words)
    asked.root = asked.root or place.usual()
    if not asked.command or not few or not plain(asked.root):
        return None
    return asked if quick.fit_id(asked.words[0]) else None


def attempt(words: Sequence[str]) -> int | None:
    """Do what is asked; the exit status, or None if the library has to do it."""
    asked = parse(words)
    if asked is None or any(name in posix.environ for name in quick.TELLING):
        return None
    from mobyshell.runc.quick_state import read

    if asked.log:
        how = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | CLOEXEC
        posix.close(posix.open(asked.log, how, 0o644))
    try:
        container = read(asked.root, asked.words[0])
    except FileNotFoundError:
        # engines make sure in the end: what is not there need not be removed
        gone = asked.command == "delete" and asked.wide and not _there(asked)
        return 0 if gone else None
    if asked.command == "start":
        return start(container)
    if asked.command == "state":
        return container.show()
    if asked.command == "kill":
        number = _number(asked.words[1] if len(asked.words) > 1 else "SIGTERM")
        if number is None:
            return None
        return kill_all(container, number) if asked.wide else kill(container, number)
    if asked.wide and container.alive() and not _end(container):
        return None
    return delete(container)


def _there(asked: Asked) -> bool:
    """Whether there is a container's directory, if without its state."""
    try:
        posix.stat(f"{asked.root}/{asked.words[0]}")
    except OSError:
        return False
    return True


def start(container: Container) -> int | None:
    """As core/runtime/start."""
    path = container.path
    given = stored.read(f"{path}/config.json")
    if any(kind in given for kind in _START_HOOKS) or b'"process"' not in given:
        return None
    if container.status() != "created":
        return None
    if container.text.count(_NOT_STARTED) != 1:
        return None
    claimed = f"{path}/exec.fifo.claimed"
    # of several that start it at once, the one whose rename succeeds
    posix.rename(f"{path}/exec.fifo", claimed)
    try:
        end = posix.open(claimed, posix.O_WRONLY | posix.O_NONBLOCK | CLOEXEC)
    except OSError:
        posix.rename(claimed, f"{path}/exec.fifo")
        return None
    import select

    posix.write(end, b"1")
    # a writing end reports an error when its last reader is gone: by execve, or by death
    poller = select.poll()
    poller.register(end, select.POLLERR)
    if not poller.poll(_PATIENCE_MS):
        posix.rename(claimed, f"{path}/exec.fifo")
        return None
    posix.unlink(claimed)
    now = _STARTED % time.time_ns()
    temporary = f"{path}/.state.json.{posix.getpid()}"
    stored.write(temporary, container.text.replace(_NOT_STARTED, now).encode())
    posix.rename(temporary, f"{path}/state.json")
    return 0


def kill(container: Container, number: int) -> int | None:
    """As core/runtime/kill, of the init alone."""
    if number == _KILL and not _dies_alone(container):
        return None
    if number != _KILL and container.alive() and container.waits():
        return None  # it has no program yet: what a signal does then is the library's to say
    held = container.open()
    if held < 0:
        return None
    try:
        _signal.pidfd_send_signal(held, number)
    except ProcessLookupError:
        return None
    finally:
        posix.close(held)
    if number == _KILL:
        container.thaw()
    return 0


def _dies_alone(container: Container) -> bool:
    """Whether the death of its init takes all others along, and nothing frozen inside holds one up."""
    freezer = container.cgroups.get("freezer", "")
    return "pid" in container.namespaces and not (
        freezer and container.has_groups_below(freezer)
    )  # fmt: skip


def kill_all(container: Container, number: int) -> int | None:
    """As core/runtime/kill, of everybody: that nobody is left, or the end of all at once."""
    if not container.alive() and container.deserted():
        return 0
    if number != _KILL or "" not in container.cgroups or not _dies_alone(container):
        return None
    fd = posix.open(f"{container.cgroups['']}/cgroup.kill", posix.O_WRONLY | CLOEXEC)
    try:
        posix.write(fd, b"1")
    finally:
        posix.close(fd)
    container.thaw()
    return 0


def _end(container: Container) -> bool:
    """Kill a container, and wait until it is gone."""
    if not _dies_alone(container):
        return False
    held = container.open()
    if held < 0:
        return True
    import select

    try:
        _signal.pidfd_send_signal(held, _KILL)
        container.thaw()
        poller = select.poll()
        poller.register(held, select.POLLIN)
        return bool(poller.poll(_PATIENCE_MS))
    except ProcessLookupError:
        return True
    finally:
        posix.close(held)


def _number(word: str) -> int | None:
    """A signal by its number, or its name in any case with or without SIG."""
    if word.isdecimal() and word.isascii():
        return int(word) if int(word) <= 64 else None
    name = word.upper()
    name = name if name[:3] == "SIG" else f"SIG{name}"
    number = None if name[:4] == "SIG_" else getattr(_signal, name, None)
    return number if isinstance(number, int) else None


def delete(container: Container) -> int | None:
    """As core/runtime/delete, of what has stopped."""
    if container.alive() or container.unit or container.classes or not container.deserted():
        return None
    if "mount" not in container.namespaces:
        return None  # what it mounted is the host's, and has to be unmounted
    if b'"poststop"' in stored.read(f"{container.path}/config.json"):
        return None
    deadline = time.monotonic() + _BUSY
    for path in container.cgroups.values():
        # busy until the kernel is through with the last process, its zombie included
        while not _removed(path):
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE)
    for level in container.levels:
        try:
            posix.rmdir(level)
        except OSError:
            break  # another container's group is in it
    return _forget(container)


def _removed(path: str) -> bool:
    try:
        posix.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _forget(container: Container) -> int | None:
    """As core/runtime/state.forget."""
    from fcntl import LOCK_EX, flock

    gone = f"{container.root}/.gone-{posix.getpid()}-{posix.urandom(4).hex()}"
    lock = posix.open(container.root, posix.O_RDONLY | posix.O_DIRECTORY | CLOEXEC)
    try:
        flock(lock, LOCK_EX)
        if stored.read(f"{container.path}/state.json").decode() != container.text:
            return None  # meanwhile it may be another one's
        posix.rename(container.path, gone)
    finally:
        posix.close(lock)
    try:
        for name in posix.listdir(gone):
            posix.unlink(f"{gone}/{name}")
        posix.rmdir(gone)
    except OSError:
        from shutil import rmtree

        rmtree(gone, ignore_errors=True)
    return 0

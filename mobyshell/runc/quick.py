"""create and run of a bundle like those that were run before, without the library.

The plan of a bundle is data: flattened once, it can be stored, and executed by the native
executor's launcher in a process without Python. What was stored (`compiled`) holds for all bundles
of one shape (`shape`), on a host that looks as it did; whatever differs, whatever is unusual,
whatever fails is left to the library, which does it from the start and explains.

This module is on the way of every call, so it imports nothing that Python has not loaded itself,
and later only `fcntl` and `_json`. It takes no decisions about containers: it fills in names, writes
the state, and waits.
"""

from __future__ import annotations

import posix
import time

from mobyshell.runc import launch, place, shape, stored
from mobyshell.runc.shape import filled, plain
from mobyshell.runc.stored import CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_FLAGS = {
    "run": ("--detach", "-d", "--keep", "--no-new-keyring"),
    "create": ("--no-new-keyring",),
}
_WITH_VALUE = ("--bundle", "-b", "--pid-file")
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
EXECUTOR = b"MOBYSHELL_EXECUTOR"
TELLING = (b"NOTIFY_SOCKET", b"LISTEN_FDS", EXECUTOR)
_PATIENCE = 5.0


class Asked:
    """A call that is simple enough."""

    def __init__(self) -> None:
        self.root = ""
        self.log = ""
        self.command = ""
        self.bundle = ""
        self.pid_file = ""
        self.id = ""
        self.flags: list[str] = []


def parse(words: Sequence[str]) -> Asked | None:
    """What is asked, if it is a plain create or run; None for everything else."""
    asked = Asked()
    index = 0
    while index < len(words):
        word = words[index]
        index += 1
        name, given, value = word.partition("=")
        if not asked.command:
            if word in _FLAGS:
                asked.command = word
                continue
            if name not in ("--root", "--log", "--log-format"):
                return None
        elif word in _FLAGS[asked.command]:
            asked.flags.append(word)
            continue
        elif name not in _WITH_VALUE:
            if asked.id or word[:1] == "-":
                return None
            asked.id = word
            continue
        if not given:
            if index == len(words):
                return None
            value = words[index]
            index += 1
        if name == "--root":
            asked.root = value
        elif name == "--log":
            asked.log = value
        elif name == "--pid-file":
            asked.pid_file = value
        elif name != "--log-format":
            asked.bundle = value
    asked.root = asked.root or place.usual()
    if not fit_id(asked.id) or not plain(asked.root):
        return None
    if asked.bundle in ("", "."):
        asked.bundle = posix.getcwd()
    elif asked.bundle[0] != "/":
        asked.bundle = f"{posix.getcwd()}/{asked.bundle}"
    return asked if plain(asked.bundle) else None


def fit_id(id: str) -> bool:
    """Whether the library would take this name."""
    return bool(id) and len(id) <= 76 and _ALLOWED.issuperset(id) and id[0] not in "+-."


def attempt(words: Sequence[str]) -> int | None:
    """Do what is asked; the exit status, or None if the library has to do it."""
    try:
        if "exec" in words:
            from mobyshell.runc import quick_exec

            return quick_exec.attempt(words)
        if not ("create" in words or "run" in words):
            from mobyshell.runc import quick_verbs

            return quick_verbs.attempt(words)
        asked = parse(words)
        if asked is None or any(name in posix.environ for name in TELLING):
            return None
        found = shape.read(asked.bundle)
        own, mounts = stored.own_groups(), stored.cgroup_mounts()
        keyring = "--no-new-keyring" not in asked.flags
        material = stored.key(asked.root, found.document, keyring, own, mounts)
        entry = stored.load(asked.root, material, known=own)
        if entry is None:
            return None
        found.values[shape.ID] = asked.id
        if entry["home"] is not None:
            users = filled(entry["home"], found.values)
            found.values[shape.HOME] = shape.home(found.rootfs, users, entry["uid"])
        making = _Making(asked, entry, found, own, mounts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError):
        return None
    return making.run()


class _Making:
    """One container under way."""

    def __init__(
        self, asked: Asked, entry: dict[str, Any], found: shape.Shape, own: dict[str, str],
        mounts: list[bytes],
    ) -> None:  # fmt: skip
        self.asked, self.entry, self.found = asked, entry, found
        self.own, self.mounts = own, mounts
        self.path = f"{asked.root}/{asked.id}"
        self.cgroups = [filled(parts, found.values) for parts in entry["cgroups"]]
        self.levels: list[str] = []
        self.pid = self.pid_start = 0
        self.pidfd = self.main = self.fifo = -1
        self.created = 0
        self.state: list[bytes] = []
        self.made_directory = self.written = False
        self.detached = "-d" in asked.flags or "--detach" in asked.flags

    def run(self) -> int | None:
        """The exit status; None, with nothing left behind, if the library has to do it."""
        begun = None
        try:
            if self._prepare() and self._launch():
                if self.asked.command == "create":
                    return 0
                begun = self._begin()
        except (OSError, ValueError):
            pass
        if begun is not None and self._becomes(begun):
            # from here on it runs, and nothing may make it run again
            self._remember()
            return 0 if self.detached else self._end()
        self._undo()
        return None

    def _remember(self) -> None:
        """The next time it need not be Python that does this."""
        asked = self.asked
        plain_flags = {"-d", "--detach"}.issuperset(asked.flags) and not asked.log
        if not plain_flags or posix.uname().machine != "x86_64":
            return
        from mobyshell.runc import run_ticket

        try:
            run_ticket.store(
                run_ticket.Done(asked.root, asked.bundle, self.entry, self.found, self.own,
                                self.mounts, self.levels, self._words())
            )  # fmt: skip
        except (OSError, ValueError, KeyError):
            return  # no room, no words for it: then not

    def _document(self, parts: shape.Pieces, numbers: dict[int, int | str]) -> bytes:
        """A JSON document of the entry, with this container's values in its strings."""
        values = self._words()
        values.update({place: str(one) for place, one in numbers.items()})
        return filled(parts, values).encode()

    def _words(self) -> dict[int, str]:
        """What documents have in their places, but for numbers."""
        from _json import encode_basestring_ascii as quoted

        values = {place: quoted(one)[1:-1] for place, one in enumerate(self.found.values)}
        told = [f"{quoted(name)}: {quoted(one)}" for name, one in self.found.annotations.items()]
        values[shape.TOLD] = "{" + ", ".join(told) + "}"
        values[shape.LEVELS] = "[" + ", ".join([quoted(one) for one in self.levels]) + "]"
        return values

    def _prepare(self) -> bool:
        if any(stored.exists(path) for path in self.cgroups):
            return False
        self._find_levels()
        if self.asked.log:
            how = posix.O_WRONLY | posix.O_CREAT | posix.O_APPEND | CLOEXEC
            posix.close(posix.open(self.asked.log, how, 0o644))
        posix.mkdir(self.path, 0o711)
        self.made_directory = True
        stored.write(f"{self.path}/creator", b"%d %d" % (posix.getpid(), launch.start_time("self")))
        stored.write(f"{self.path}/cgroups.json", self._document(self.entry["known"], {}))
        posix.mkfifo(f"{self.path}/exec.fifo", 0o600)
        self.fifo = posix.open(f"{self.path}/exec.fifo", posix.O_RDWR | CLOEXEC)
        return True

    def _find_levels(self) -> None:
        """The directories above the cgroups that are not there yet, deepest first."""
        found: dict[str, None] = {}
        for path in self.cgroups:
            level = path.rpartition("/")[0]
            while level and level not in found and not stored.exists(level):
                found[level] = None
                level = level.rpartition("/")[0]
        self.levels = sorted(found, key=len, reverse=True)

    def _launch(self) -> bool:
        """Let the launcher make the child; True when the child has set everything up."""
        ready, sync = posix.pipe2(CLOEXEC)
        try:
            self.main, self.pid = launch.launched(
                self.entry, self.found.values, (sync, launch.SYNC), (self.fifo, launch.FIFO),
                meanwhile=self._meanwhile,
            )  # fmt: skip
        finally:
            posix.close(sync)
        if not self.pid:
            return False
        self.pidfd = posix.pidfd_open(self.pid)
        if not self.written:
            return False
        self.pid_start = launch.start_time(self.pid)
        self.created = time.time_ns()
        self._write_state(0)
        done = posix.read(ready, 2) == b"r"
        posix.close(ready)
        if done:
            posix.unlink(f"{self.path}/creator")
            posix.unlink(f"{self.path}/cgroups.json")
            if self.asked.pid_file:
                launch.write_pid(self.asked.pid_file, self.pid)
        return done

    def _meanwhile(self) -> None:
        """What is needed, but not by the child."""
        try:
            stored.write(f"{self.path}/config.json", self.found.content)
        except OSError:
            return
        self.written = True
        if self.asked.command == "run":
            import select  # noqa: F401

    def _write_state(self, started: int) -> None:
        if not self.state:
            numbers: dict[int, int | str] = {
                shape.PID: self.pid, shape.PID_START: self.pid_start,
                shape.CREATED: self.created, shape.STARTED: "\0",
            }  # fmt: skip
            # no NUL is in JSON's strings
            self.state = self._document(self.entry["state"], numbers).split(b"\0")
        temporary = f"{self.path}/.state.json"
        stored.write(temporary, (b"%d" % started).join(self.state))
        posix.rename(temporary, f"{self.path}/state.json")

    def _begin(self) -> int:
        """Get ready for the program; the writing end of the fifo that it waits for."""
        self._write_state(time.time_ns())
        end = posix.open(f"{self.path}/exec.fifo", posix.O_WRONLY | posix.O_NONBLOCK | CLOEXEC)
        if not self.detached:
            launch.pass_signals_on(self.entry, self.pidfd)
        posix.unlink(f"{self.path}/exec.fifo")
        posix.close(self.fifo)
        return end

    def _becomes(self, end: int) -> bool:
        """Let the child become the program; whether it could."""
        import select

        posix.write(end, b"1")
        # a writing end reports an error when its last reader is gone: by execve, or by death
        poller = select.poll()
        poller.register(end, select.POLLERR)
        poller.poll()
        return not launch.failed(self.entry, self.main)

    def _end(self) -> int:
        """Wait for the program's end, and take back the container; its status."""
        done = posix.waitid(launch.P_PIDFD, self.pidfd, posix.WEXITED)
        self.pid = 0
        if "--keep" not in self.asked.flags:
            try:
                self._delete()
            except OSError:
                self._leave_to_library()
        return launch.status_of(done)

    def _leave_to_library(self) -> None:
        from mobyshell.runc.main import main

        main(["--root", self.asked.root, "delete", "--force", self.asked.id])

    def _delete(self) -> None:
        """Take back what was made. What does not go at once is the library's business."""
        if not self._remove_cgroups():
            self._leave_to_library()
            return
        # without its state there is no container any more
        posix.rename(f"{self.path}/state.json", f"{self.path}/.state.json")
        self._remove_directory()

    def _remove_cgroups(self) -> bool:
        deadline = time.monotonic() + _PATIENCE
        for path in self.cgroups:
            while True:
                try:
                    posix.rmdir(path)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    if self.pid == 0 and _populated(path):
                        return False
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.0005)
        for level in self.levels:
            try:
                posix.rmdir(level)
            except OSError:
                continue  # somebody else's group is in it
        return True

    def _remove_directory(self) -> None:
        for name in posix.listdir(self.path):
            posix.unlink(f"{self.path}/{name}")
        posix.rmdir(self.path)

    def _undo(self) -> None:
        """As if nothing had been tried."""
        if self.pid:
            launch.end(self.pidfd)
            self.pid = 0
        if self.made_directory:
            self._remove_cgroups()
            self._remove_directory()


def _populated(path: str) -> bool:
    """Whether something is in a cgroup that will not go by itself: a group below, or a process."""
    try:
        if any(posix.stat(f"{path}/{one}").st_mode & 0o040000 for one in posix.listdir(path)):
            return True
    except OSError:
        return False
    return False

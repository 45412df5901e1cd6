"""exec of what was executed before in a container of the same spec, without the library.

As `quick`, and by its means. The container is found by its state, and entered by a descriptor of
its init that is checked to be the one of the state.
"""

from __future__ import annotations

import marshal
import posix

from mobyshell.runc import launch, place, quick, stored
from mobyshell.runc.quick_json import document
from mobyshell.runc.shape import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_P_PIDFD = 3
_WITH_VALUE = ("--process", "-p", "--pid-file")


class Asked:
    """An exec that is simple enough. `words`: all of its own flags and arguments, but the pid file
    and the id."""

    def __init__(self) -> None:
        self.root = ""
        self.log = self.process = self.pid_file = self.id = ""
        self.described = b""
        self.detached = False
        self.args: list[str] = []


def parse(words: Sequence[str]) -> Asked | None:
    """What is asked, if it is a plain exec; None for everything else."""
    asked = Asked()
    index, own = 0, False
    while index < len(words) and not asked.id:
        word = words[index]
        index += 1
        name, given, value = word.partition("=")
        if word == "exec" and not own:
            own = True
        elif word == "--systemd-cgroup" and not own:
            continue  # about containers that are made
        elif own and word in ("--detach", "-d"):
            asked.detached = True
        elif own and word[:1] != "-":
            asked.id = word
        elif name not in (_WITH_VALUE if own else ("--root", "--log", "--log-format")):
            return None
        else:
            if not given:
                if index == len(words):
                    return None
                value = words[index]
                index += 1
            _put(asked, name, value)
    asked.args = list(words[index:])
    asked.root = asked.root or place.usual()
    if not own or not quick.fit_id(asked.id) or not plain(asked.root):
        return None
    if asked.args[:1] == ["--"] or bool(asked.process) == bool(asked.args):
        return None
    return asked


def _put(asked: Asked, name: str, value: str) -> None:
    if name == "--root":
        asked.root = value
    elif name == "--log":
        asked.log = value
    elif name == "--pid-file":
        asked.pid_file = value
    elif name != "--log-format":
        asked.process = value


def key(
    root: str, id: str, args: Sequence[str], process: bytes, controllers: Sequence[str]
) -> bytes:
    """Everything that the plan depends on, but for what its entry lists itself. `process`: what
    describes it instead of arguments."""
    host = posix.uname()
    words = (
        "exec", stored.FORMAT, stored.made_by(), posix.geteuid(), posix.getegid(),
        stored.read(stored.OWN_IDS), host.release, host.version, root, tuple(args), process,
        tuple(controllers), stored.read(f"{root}/{id}/config.json"),
    )  # fmt: skip
    return marshal.dumps(words, 2)


def described(path: str) -> bytes:
    """What a file says of a process; nothing if there is none."""
    return stored.read(path) if path else b""


def state_of(root: str, id: str) -> tuple[int, int, dict[str, str]]:
    """(pid, its start, cgroups) of a container, from its state. ValueError if it is not one."""
    found = document(stored.read(f"{root}/{id}/state.json").decode())
    try:
        return int(found["pid"]), int(found["pid_start"]), dict(found["cgroups"])
    except (KeyError, TypeError):
        raise ValueError("not a state") from None


def attempt(words: Sequence[str]) -> int | None:
    """Do what is asked; the exit status, or None if the library has to do it."""
    try:
        asked = parse(words)
        if asked is None or any(name in posix.environ for name in quick.TELLING):
            return None
        before = _seen(f"{asked.root}/{asked.id}")
        pid, start, groups = state_of(asked.root, asked.id)
        asked.described = described(asked.process)
        material = key(asked.root, asked.id, asked.args, asked.described, list(groups))
        entry = stored.load(asked.root, material, pid)
        if (
            entry is None
            or not _thawed(groups)
            or stored.exists(f"{asked.root}/{asked.id}/creator")
        ):
            return None
        return _Exec(asked, entry, groups, before).run(pid, start)
    except (OSError, ValueError, KeyError, TypeError, EOFError, ImportError):
        return None


def _seen(directory: str) -> list[tuple[str, tuple[int, ...]]]:
    """What the files are like that a plan is made from: looked at before these are read."""
    paths = (f"{directory}/state.json", f"{directory}/config.json", *stored.sources())
    return [(path, stored.identify(path)) for path in paths]


def _thawed(groups: dict[str, str]) -> bool:
    if "freezer" in groups:
        return stored.read(f"{groups['freezer']}/freezer.state") == b"THAWED\n"
    return "" not in groups or b"frozen 0" in stored.read(f"{groups['']}/cgroup.events")


class _Exec:
    """One process under way."""

    def __init__(
        self, asked: Asked, entry: dict[str, Any], groups: dict[str, str],
        before: Sequence[tuple[str, tuple[int, ...]]],
    ) -> None:  # fmt: skip
        self.asked, self.entry, self.groups, self.before = asked, entry, groups, before

    def run(self, init: int, start: int) -> int | None:
        """The exit status; None, with nothing left behind, if the library has to do it.

        Nothing is raised once the program runs.
        """
        held = [posix.pidfd_open(init)]
        pid = pidfd = main = -1
        begun = False
        try:
            # checked after opening: from here on the number cannot change its owner unnoticed
            if launch.start_time(init) != start:
                return None
            ready, sync = posix.pipe2(posix.O_CLOEXEC)
            held.append(ready)
            try:
                given = [(sync, launch.SYNC), (held[0], launch.INIT), *self._entrances(held)]
                main, pid = launch.launched(self.entry, (self.asked.id,), *given)
            finally:
                posix.close(sync)
            if pid > 0:
                pidfd = posix.pidfd_open(pid)
                # its last word, and then the end: by execve, or by death
                begun = posix.read(ready, 16) == b"r" and posix.read(ready, 16) == b""
                begun = begun and not launch.failed(self.entry, main)
        finally:
            for fd in held:
                posix.close(fd)
            if main >= 0:
                posix.close(main)
            if pid > 0 and not begun:
                launch.end(pidfd)
        if not begun:
            return None
        self._remember(init, start)
        return self._follow(pid, pidfd)

    def _remember(self, init: int, start: int) -> None:
        """The next time it need not be Python that does this."""
        if posix.uname().machine != "x86_64":
            return
        from mobyshell.runc import exec_ticket

        asked, entry = self.asked, self.entry
        try:
            exec_ticket.store(
                asked.root, asked.id, asked.args, asked.described, entry, self.groups, (init, start),
                self.before,
            )  # fmt: skip
        except OSError:
            return  # no room: then not

    def _entrances(self, held: list[int]) -> list[tuple[int, int]]:
        """What the process goes into its cgroups by, each with its number; `held` gets them, too."""
        given = []
        number = launch.GROUPS
        for name, path in self.groups.items():
            if name:
                held.append(posix.open(f"{path}/tasks", posix.O_WRONLY | posix.O_CLOEXEC))
                given.append((held[-1], number))
                number += 1
            else:
                held.append(posix.open(path, posix.O_DIRECTORY | posix.O_CLOEXEC))
                given.append((held[-1], launch.CGROUP))
        return given

    def _follow(self, pid: int, pidfd: int) -> int:
        if self.asked.pid_file:
            try:
                launch.write_pid(self.asked.pid_file, pid)
            except OSError as error:
                launch.end(pidfd)
                posix.write(2, f"exec failed: {error}\n".encode())
                return 255
        if self.asked.detached:
            return 0
        launch.pass_signals_on(self.entry, pidfd)
        return launch.status_of(posix.waitid(_P_PIDFD, pidfd, posix.WEXITED))

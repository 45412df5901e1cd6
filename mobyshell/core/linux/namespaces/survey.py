"""Every namespace that can be seen from here: through processes, threads, descriptors, mounts, and
through each other.

One look walks /proc once. What ends meanwhile is passed over, what may not be read is counted.
Not seen, as nothing in /proc tells of it: what only a socket, or a mount in a mount namespace
without processes, keeps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.linux.mounts import parse_line
from mobyshell.core.linux.namespaces import nsfs
from mobyshell.core.linux.namespaces.kinds import FOR_CHILDREN, KINDS
from mobyshell.core.linux.namespaces.values import By, Door, Hold, Namespace, Process, Survey
from mobyshell.core.values import field, variable

_LINK = re.compile(r"([a-z]+):\[([0-9]+)\]\Z")

_OF_THREADS = ("cgroup", "ipc", "mnt", "net", "time", "uts", *FOR_CHILDREN)
"""Names in which a thread can differ from its process: user and pid are the process's."""

Key = tuple[str, int]


@variable
class _Found:
    members: list[int] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    doors: list[Door] = field(default_factory=list)
    relations: tuple[int, int, int | None] | None = None
    door: Door | None = None


def survey(proc: str = "/proc") -> Survey:
    """Look once. OSError if there is no /proc."""
    walk = _Walk()
    for name in os.listdir(proc):
        if name.isdecimal():
            walk.process(int(name))
    walk.mounts()
    walk.relate()
    return walk.result()


class _Walk:
    def __init__(self) -> None:
        self.found: dict[Key, _Found] = {}
        self.processes: dict[int, Process] = {}
        self.unreadable: set[int] = set()
        self.unsearched: set[int] = set()
        # of each mount namespace: a process for each root that its mounts are seen from
        self.roots: dict[int, dict[str, int]] = {}

    def at(self, key: Key) -> _Found:
        return self.found.setdefault(key, _Found())

    # processes

    def process(self, pid: int) -> None:
        """A process with its threads and descriptors."""
        try:
            own = dict(_links(f"/proc/{pid}/ns"))
            who = _describe(pid)
        except PermissionError:
            self.unreadable.add(pid)
            return
        except (FileNotFoundError, ProcessLookupError, NotFound):
            return  # it has ended: it is in none
        self.processes[pid] = who
        for name, key in own.items():
            self._own(pid, name, key, own)
        if who.threads > 1:
            self._threads(pid, own)
        self._descriptors(pid)

    def _own(self, pid: int, name: str, key: Key, own: dict[str, Key]) -> None:
        one = self.at(key)
        one.doors.append(Door(f"/proc/{pid}/ns/{name}"))
        kind = FOR_CHILDREN.get(name)
        if kind is None:
            one.members.append(pid)
            if name == "mnt":
                with suppress(OSError):
                    root = os.readlink(f"/proc/{pid}/root")
                    self.roots.setdefault(key[1], {}).setdefault(root, pid)
        elif own.get(kind) != key:
            one.holds.append(Hold(By.CHILDREN, pid, name))

    def _threads(self, pid: int, own: dict[str, Key]) -> None:
        with suppress(FileNotFoundError, ProcessLookupError):
            for thread in os.listdir(f"/proc/{pid}/task"):
                if int(thread) == pid:
                    continue
                with suppress(FileNotFoundError, ProcessLookupError):
                    for name, key in _links(f"/proc/{pid}/task/{thread}/ns", _OF_THREADS):
                        if own.get(name) != key:
                            one = self.at(key)
                            one.holds.append(Hold(By.THREAD, pid, thread))
                            one.doors.append(Door(f"/proc/{pid}/task/{thread}/ns/{name}"))

    def _descriptors(self, pid: int) -> None:
        directory = f"/proc/{pid}/fd"
        try:
            numbers = os.listdir(directory)
        except PermissionError:
            self.unsearched.add(pid)
            return
        except (FileNotFoundError, ProcessLookupError):
            return
        for number in numbers:
            with suppress(OSError):  # closed meanwhile
                key = _key(os.readlink(f"{directory}/{number}"))
                if key is not None:
                    one = self.at(key)
                    one.holds.append(Hold(By.DESCRIPTOR, pid, number))
                    one.doors.append(Door(f"{directory}/{number}"))

    # mounts

    def mounts(self) -> None:
        """Namespaces whose files are mounted somewhere, seen from each root of each namespace."""
        for roots in self.roots.values():
            seen: set[tuple[str, Key]] = set()
            for pid in roots.values():
                for place, key in self._mounted(pid):
                    if (place, key) not in seen:
                        seen.add((place, key))
                        one = self.at(key)
                        one.holds.append(Hold(By.MOUNT, pid, place))
                        one.doors.append(Door(place, root=pid))

    def _mounted(self, pid: int) -> Iterator[tuple[str, Key]]:
        try:
            text = procfs.read_file(pid, "mountinfo").decode("utf-8", "surrogateescape")
        except NotFound:
            return
        except OSError:
            self.unsearched.add(pid)
            return
        for line in text.split("\n"):
            if " - nsfs " in line:
                mount = parse_line(line)
                key = _key(mount.root)
                if key is not None:
                    yield mount.mount_point, key

    # relations

    def relate(self) -> None:
        """Ask the kernel who owns and contains which; whoever is met so is there, too."""
        pending = list(self.found)
        while pending:
            key = pending.pop()
            one = self.found[key]
            for door in one.doors:
                with suppress(OSError, MobyshellError), nsfs.opened(door, *key) as fd:
                    pending += self._ask(key, door, fd)
                    break

    def _ask(self, key: Key, door: Door, fd: int) -> list[Key]:
        one, new = self.found[key], []
        numbers = {step: nsfs.relative_inode(fd, step) for step in nsfs.STEPS}
        one.relations = (numbers["owner"], numbers["parent"], nsfs.owner_uid(fd))
        one.door = door
        for step, number in numbers.items():
            if number:
                # of a user namespace the owner is the parent; only a pid's may be of its own kind
                relative = ("user" if step == "owner" else key[0], number)
                known = relative in self.found
                other = self.at(relative)
                if not known:
                    other.doors.append(Door(door.path, door.root, (*door.steps, step)))
                    other.holds.append(Hold(By.RELATIVE, 0, str(key[1])))
                    new.append(relative)
        return new

    def result(self) -> Survey:
        namespaces = [
            Namespace(kind, number, *(one.relations or (0, 0, None)),
                      members=tuple(sorted(one.members)), holds=tuple(dict.fromkeys(one.holds)),
                      door=one.door)
            for (kind, number), one in self.found.items() if self._there(one)
        ]  # fmt: skip
        namespaces.sort(key=lambda one: (one.kind, one.inode))
        return Survey(tuple(namespaces), self.processes, tuple(sorted(self.unreadable)),
                      tuple(sorted(self.unsearched)))  # fmt: skip

    def _there(self, one: _Found) -> bool:
        """Whether it can still be there: not if all that told of it has ended before we asked."""
        if one.door is not None:
            return True
        told = [*one.members, *(hold.pid for hold in one.holds if hold.pid)]
        return any(os.path.isdir(f"/proc/{pid}") for pid in told)


def _key(link: str) -> Key | None:
    """`net:[4026531840]` as kind and inode; None for what is no namespace."""
    match = _LINK.match(link)
    return (match[1], int(match[2])) if match and match[1] in KINDS else None


def _links(directory: str, names: tuple[str, ...] = (*KINDS, *FOR_CHILDREN)) -> Iterator[
    tuple[str, Key]
]:  # fmt: skip
    """The namespaces in a directory of /proc; FileNotFoundError if it has ended."""
    for name in names:
        try:
            key = _key(os.readlink(f"{directory}/{name}"))
        except FileNotFoundError:
            if os.path.exists(directory):
                continue  # a kernel without this kind; a zombie, which is in few; no child yet
            raise
        if key is not None:
            yield name, key


def _describe(pid: int) -> Process:
    fields = procfs.status_fields(pid)
    words = procfs.command_line(pid)
    comm = fields.get("Name", "")
    return Process(
        pid=pid, ppid=int(fields.get("PPid", "0")), uid=int(fields.get("Uid", "0").split()[0]),
        comm=comm, command=" ".join(words) if words else f"[{comm}]", cgroup=_cgroup(pid),
        threads=int(fields.get("Threads", "1")),
        inner=int(fields.get("NSpid", str(pid)).split()[-1]),
    )  # fmt: skip


def _cgroup(pid: int) -> str:
    lines = procfs.read_file(pid, "cgroup").decode("utf-8", "surrogateescape").splitlines()
    paths = {line.split(":", 2)[0]: line.split(":", 2)[2] for line in lines if line.count(":") >= 2}
    ours = paths.get("0", "/")
    # beside the controllers of version 1, everybody may be at the root of version 2
    return ours if ours != "/" else max(paths.values(), key=len, default="")

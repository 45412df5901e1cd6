"""Namespaces, the processes in them, and what else keeps them: values of one look."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from mobyshell.core.values import value


class By(StrEnum):
    """What keeps a namespace there, beside the processes in it (namespaces(7), lifetime)."""

    THREAD = "thread"
    """A thread that is in another one than its process."""
    CHILDREN = "children"
    """A process whose children will be in it."""
    DESCRIPTOR = "descriptor"
    """A process that has it open."""
    MOUNT = "mount"
    """A mount of its file, as `ip netns add` makes one."""
    RELATIVE = "relative"
    """A namespace that it owns, or is the parent of."""


@value
class Hold:
    """One such reason. `pid` is the process (of a mount: one that sees it), `name` the thread, the
    number of the descriptor, the mount point, or the inode of the relative."""

    by: By
    pid: int
    name: str

    def __str__(self) -> str:
        match self.by:
            case By.THREAD:
                return f"thread {self.name} of {self.pid}"
            case By.CHILDREN:
                return f"children of {self.pid}"
            case By.DESCRIPTOR:
                return f"descriptor {self.name} of {self.pid}"
            case By.MOUNT:
                return f"mounted at {self.name}"
            case By.RELATIVE:
                return f"relative of {self.name}"


@value
class Door:
    """A way to a descriptor of a namespace: a file, and the relatives to ask for from there.

    With `root` the path is that of a mount, as the process of this number sees it.
    """

    path: str
    root: int = 0
    steps: tuple[str, ...] = ()


@value
class Process:
    """A process with something to see of it. `inner` is its number in its own pid namespace, `uid`
    one of ours; `cgroup` is the path in the hierarchy of version 2, or the longest one in those of
    version 1 where it is at the root of that."""

    pid: int
    ppid: int = 0
    uid: int = 0
    comm: str = ""
    command: str = ""
    cgroup: str = ""
    threads: int = 1
    inner: int = 0


@value
class Namespace:
    """One namespace. `owner` is the user namespace that owns it, `parent` contains it (pid and user
    only); 0 where the kernel does not tell. `owner_uid` made it (user only). `members` by pid;
    `holds` only where something else than members keeps it; `door` None if it cannot be opened."""

    kind: str
    inode: int
    owner: int = 0
    parent: int = 0
    owner_uid: int | None = None
    members: tuple[int, ...] = ()
    holds: tuple[Hold, ...] = ()
    door: Door | None = None


@value
class Survey:
    """All that could be seen at one moment, by kind and inode. `unreadable`: processes that did not
    let us look at their namespaces, `unsearched`: at their descriptors or mounts."""

    namespaces: tuple[Namespace, ...]
    processes: Mapping[int, Process]
    unreadable: tuple[int, ...] = ()
    unsearched: tuple[int, ...] = ()

    def find(self, inode: int) -> Namespace | None:
        """The namespace of this inode, if it was seen."""
        return next((one for one in self.namespaces if one.inode == inode), None)

    def of(self, pid: int) -> dict[str, Namespace]:
        """The namespaces that a process is in, by kind."""
        return {one.kind: one for one in self.namespaces if pid in one.members}

    def first(self, one: Namespace) -> Process | None:
        """The first process in a namespace."""
        return self.processes.get(one.members[0]) if one.members else None

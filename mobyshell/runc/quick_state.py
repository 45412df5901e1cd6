"""A container's state as the quick verbs need it: read, checked, asked of the kernel, shown.

As core/runtime/state and its neighbours do it, of whose records this reads those that are whole:
ValueError for every other. Imports nothing big, see `quick`.
"""

from __future__ import annotations

import posix
import time

from mobyshell.runc import stored
from mobyshell.runc.quick_json import document
from mobyshell.runc.stored import CLOEXEC

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_WORDS = ("id", "bundle", "rootfs", "unit", "oci_version")
_NUMBERS = ("pid", "pid_start", "created_ns", "owner")


def read(root: str, id: str) -> Container:
    """The container's state. OSError if there is none; ValueError, KeyError, TypeError for one that
    is not whole."""
    path = f"{root}/{id}"
    text = stored.read(f"{path}/state.json").decode()
    found = document(text)
    if found["id"] != id or not _well_formed(found):
        raise ValueError("not a state")
    return Container(root, path, text, found)


def _well_formed(found: dict[str, Any]) -> bool:
    maps = (found["cgroups"], found["annotations"])
    return (
        all(type(found[one]) is int and 0 <= found[one] < 1 << 63 for one in _NUMBERS)
        and all(type(found[one]) is str for one in _WORDS)
        and all(type(one) is dict for one in maps)
        and all(type(one) is str for group in maps for one in group.values())
        and all(type(one) is str for one in (*found["namespaces"], *found["cgroup_levels"]))
    )


class Container:
    """A container, as its record says. `text` is the record."""

    def __init__(self, root: str, path: str, text: str, found: dict[str, Any]) -> None:
        self.root, self.path, self.text, self._found = root, path, text, found
        self.pid: int = found["pid"]
        self.cgroups: dict[str, str] = found["cgroups"]
        self.namespaces: list[str] = found["namespaces"]
        self.levels: list[str] = found["cgroup_levels"]
        self.unit: str = found["unit"]
        self.classes: list[str] = found["resctrl"]

    def alive(self) -> bool:
        """Whether the init runs, and is no zombie."""
        return _alive(self.pid, self._found["pid_start"])

    def open(self) -> int:
        """A pidfd of the init; -1 if it does not run."""
        try:
            held = posix.pidfd_open(self.pid)
        except OSError:
            return -1
        # checked after opening: from here on the number cannot change its owner unnoticed
        if self.alive():
            return held
        posix.close(held)
        return -1

    def status(self) -> str:
        """What it is doing, in the spec's words."""
        if not self.alive():
            return "stopped"
        waiting = self.waits()
        if waiting and _lives(f"{self.path}/creator"):
            return "creating"
        if self.frozen():
            return "paused"
        return "created" if waiting else "running"

    def waits(self) -> bool:
        """Whether it has not been started."""
        return stored.exists(f"{self.path}/exec.fifo")

    def frozen(self) -> bool:
        """Whether its group is frozen, completely."""
        try:
            if "freezer" in self.cgroups:
                return stored.read(f"{self.cgroups['freezer']}/freezer.state") == b"FROZEN\n"
            if "" in self.cgroups:
                return b"frozen 1" in stored.read(f"{self.cgroups['']}/cgroup.events").split(b"\n")
        except OSError:
            pass
        return False

    def thaw(self) -> None:
        """Let its group run, if it has a freezer."""
        if "freezer" in self.cgroups:
            file, value = f"{self.cgroups['freezer']}/freezer.state", b"THAWED"
        elif "" in self.cgroups:
            file, value = f"{self.cgroups['']}/cgroup.freeze", b"0"
        else:
            return
        try:
            fd = posix.open(file, posix.O_WRONLY | CLOEXEC)
            try:
                posix.write(fd, value)
            finally:
                posix.close(fd)
        except OSError:
            return  # gone with the one that was killed

    def deserted(self) -> bool:
        """Whether nobody is in its groups, and there are none below them."""
        for path in self.cgroups.values():
            try:
                if self.has_groups_below(path) or stored.read(f"{path}/cgroup.procs"):
                    return False
            except FileNotFoundError:
                continue
        return True

    @staticmethod
    def has_groups_below(path: str) -> bool:
        """Each is a link more to the directory."""
        return posix.stat(path).st_nlink > 2

    def show(self) -> int:
        """The spec's state on standard output, as `state.described` has it."""
        import pwd
        from _json import encode_basestring as quoted

        status = self.status()
        seconds, nanos = divmod(self._found["created_ns"], 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        try:
            owner = pwd.getpwuid(self._found["owner"]).pw_name
        except KeyError:
            owner = ""
        members = [
            ("ociVersion", quoted(self._found["oci_version"])),
            ("id", quoted(self._found["id"])),
            ("pid", str(0 if status == "stopped" else self.pid)),
            ("status", quoted(status)),
            ("bundle", quoted(self._found["bundle"])),
            ("rootfs", quoted(self._found["rootfs"])),
            ("created", quoted(f"{stamp}.{nanos:09d}Z")),
        ]
        if self._found["annotations"]:
            inner = [f"    {quoted(k)}: {quoted(v)}" for k, v in self._found["annotations"].items()]
            members.append(("annotations", "{\n" + ",\n".join(inner) + "\n  }"))
        members.append(("owner", quoted(owner)))
        text = "{\n" + ",\n".join(f"  {quoted(k)}: {v}" for k, v in members) + "\n}"
        data = text.encode("utf-8", "surrogateescape")
        while data:
            data = data[posix.write(1, data) :]
        return 0


def _alive(pid: int, start: int) -> bool:
    if pid <= 0:
        return False
    try:
        fd = posix.open(f"/proc/{pid}/stat", posix.O_RDONLY | CLOEXEC)
    except OSError:
        return False
    try:
        words = posix.read(fd, 4096).rpartition(b")")[2].split()
    except ProcessLookupError:
        return False
    finally:
        posix.close(fd)
    return int(words[19]) == start and words[0] not in (b"Z", b"X")


def _lives(creator: str) -> bool:
    try:
        pid, start = stored.read(creator).split()
        return _alive(int(pid), int(start))
    except (OSError, ValueError):
        return False

"""How to go into namespaces: in which order, as whom, with what around. A plan; goes nowhere.

Owns the decisions, as data that can be shown; `core.linux.enter` is the program that takes none.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.linux.namespaces.kinds import KINDS
from mobyshell.core.linux.namespaces.values import Door, Namespace, Survey
from mobyshell.core.values import replace, value

FLAGS = {
    "mnt": "--mount", "uts": "--uts", "ipc": "--ipc", "net": "--net", "pid": "--pid",
    "user": "--user", "cgroup": "--cgroup", "time": "--time",
}  # fmt: skip
"""Of nsenter(1) and unshare(1)."""

CLONE_NAMES = {kind: f"CLONE_NEW{'NS' if kind == 'mnt' else kind.upper()}" for kind in KINDS}


@value
class Step:
    """One thing that the program does, and because of what."""

    call: str
    why: str
    man: str


@value
class Entry:
    """The way in. `targets` in the order they are entered; `root` is the process whose root becomes
    ours, 0 for that of the mount namespace; `added`: user namespaces that nobody asked for."""

    targets: tuple[Namespace, ...]
    root: int = 0
    added: tuple[int, ...] = ()

    @property
    def kinds(self) -> frozenset[str]:
        """What is entered."""
        return frozenset(one.kind for one in self.targets)

    @property
    def forks(self) -> bool:
        """Whether a child must be made: nobody changes his own pid namespace."""
        return bool(self.kinds & {"pid", "time"})


def enter_process(survey: Survey, pid: int, kinds: Sequence[str] = ()) -> Entry:
    """The way to where a process is; all kinds, or some. NotFound if it was not seen."""
    theirs = survey.of(pid)
    if not theirs:
        raise NotFound(f"no process {pid} whose namespaces may be read")
    wanted = [replace(one, door=Door(f"/proc/{pid}/ns/{kind}")) for kind, one in theirs.items()
              if not kinds or kind in kinds]  # fmt: skip
    return _order(survey, wanted, pid if "mnt" in (kinds or KINDS) else 0)


def enter_namespaces(survey: Survey, inodes: Sequence[int]) -> Entry:
    """The way into namespaces by inode. NotFound; UsageError for two of a kind."""
    wanted: dict[str, Namespace] = {}
    for number in inodes:
        one = survey.find(number)
        if one is None:
            raise NotFound(f"no namespace {number}", hint="`mobyshell ns ls` lists them")
        if one.kind in wanted and wanted[one.kind] != one:
            raise UsageError(f"{wanted[one.kind].inode} and {number} are both {one.kind} "
                             "namespaces: a process is in one of each kind")  # fmt: skip
        wanted[one.kind] = one
    return _order(survey, list(wanted.values()), 0)


def _order(survey: Survey, wanted: Sequence[Namespace], root: int) -> Entry:
    """The user namespace before what it owns, after what it does not: what a capability is worth
    there is decided by where one stands."""
    ours = survey.of(os.getpid())
    here = {one.inode for one in ours.values()}
    # who is in a user namespace cannot enter it once more, and has no reason to enter the others
    going = [one for one in wanted if one.inode not in here]
    added: list[int] = []
    if os.geteuid() != 0 and not any(one.kind == "user" for one in going):
        owners = {one.owner for one in going} - {0, *here}
        for owner in (survey.find(number) for number in owners):
            if owner is not None:
                going.append(owner)
                added.append(owner.inode)
                break
    user = next((one for one in going if one.kind == "user"), None)
    within = _below(survey, user.inode) if user is not None else set()
    # as root we may do all outside; others may do nothing before they are in
    before = [one for one in going if one is not user and os.geteuid() == 0
              and one.owner not in within]  # fmt: skip
    after = [one for one in going if one is not user and one not in before]
    order = [*_last(before, "mnt"), *([user] if user is not None else []), *_last(after, "mnt")]
    return Entry(tuple(order), root if "mnt" in {one.kind for one in going} else 0, tuple(added))


def _last(found: list[Namespace], kind: str) -> list[Namespace]:
    return sorted(found, key=lambda one: (one.kind == kind, one.kind))


def _below(survey: Survey, inode: int) -> set[int]:
    """A user namespace and all within it."""
    found = {inode}
    while True:
        more = {one.inode for one in survey.namespaces
                if one.kind == "user" and one.parent in found} - found  # fmt: skip
        if not more:
            return found
        found |= more


def steps(entry: Entry, command: Sequence[str]) -> list[Step]:
    """What the program does, in order."""
    if not entry.targets:
        return [_execve(command, "we are in these namespaces already")]
    out = [Step("prctl(PR_SET_DUMPABLE, 0)", "nobody in there may look into us (ptrace)",
                "prctl(2)")]  # fmt: skip
    for one in entry.targets:
        door = one.door
        path = "" if door is None else (f"/proc/{door.root}/root" if door.root else "") + door.path
        via = "".join(f", then its {step}" for step in (door.steps if door else ()))
        out.append(Step(f"open({path}){via}", f"a descriptor of the {one.kind} namespace "
                        f"{one.inode}, whose kind and inode are checked", "ioctl_ns(2)"))  # fmt: skip
    for one in entry.targets:
        out.append(Step(f"setns({CLONE_NAMES[one.kind]})", _why(entry, one), "setns(2)"))
        if one.kind == "user":
            out.append(Step("setgroups([]), setresgid(0), setresuid(0)",
                            "root in here, if its map has one; else the ids stay as they are",
                            "user_namespaces(7)"))  # fmt: skip
    if entry.root:
        out.append(Step(f"fchdir, chroot(/proc/{entry.root}/root)",
                        "the root that this process has", "chroot(2)"))  # fmt: skip
    if entry.forks:
        out.append(Step("fork()", "only children are in another pid or time namespace",
                        "pid_namespaces(7)"))  # fmt: skip
    out.append(_execve(command, "with an environment of its own: ours is not for who is in there"
                       if entry.kinds & {"mnt", "user"} else "with our environment"))  # fmt: skip
    return out


def _execve(command: Sequence[str], why: str) -> Step:
    return Step(f"execve({shlex.join(command)})", why, "execve(2)")


def _why(entry: Entry, one: Namespace) -> str:
    if one.kind == "user":
        if one.inode in entry.added:
            return "it owns the others: without its capabilities they cannot be entered"
        return "before what it owns: in there its capabilities count for that"
    if one.kind in ("pid", "time"):
        return "for the children: a process does not change its own"
    if one.kind == "mnt":
        return "last: from here on paths lead elsewhere; root and working directory are its root"
    return f"into {one.inode}"


def nsenter(entry: Entry, command: Sequence[str]) -> list[str]:
    """The same with util-linux, as words. Doors without a path of their own have none there."""
    words = ["nsenter"]
    for one in sorted(entry.targets, key=lambda one: one.kind):
        door = one.door
        if door is not None and not door.steps:
            root = f"/proc/{door.root}/root" if door.root else ""
            words.append(f"{FLAGS[one.kind]}={root}{door.path}")
    if entry.root:
        words.append(f"--root=/proc/{entry.root}/root")
        words.append(f"--wd=/proc/{entry.root}/root")
    return [*words, "--", *command]


def program(entry: Entry, command: Sequence[str]) -> list[str]:
    """The words of the program that does it. NotFound if there is no way to one of them."""
    doors = []
    for one in entry.targets:
        if one.door is None:
            raise NotFound(
                f"no way to the {one.kind} namespace {one.inode} may be opened from here"
            )
        doors.append([one.kind, one.inode, *pack(one.door)])
    document = {"targets": doors, "root": entry.root}
    return [
        sys.executable,
        "-P",
        "-m",
        "mobyshell.core.linux.enter",
        json.dumps(document),
        *command,
    ]


def pack(door: Door) -> tuple[str, int, list[str]]:
    """A door as JSON values."""
    return door.path, door.root, list(door.steps)


def unpack(values: Sequence[Any]) -> tuple[str, int, Door]:
    """Kind, inode and door of what `program` packed."""
    kind, number, path, root, taken = values
    return kind, number, Door(path, root, tuple(taken))


def environment(entered: frozenset[str], ours: Mapping[str, str]) -> dict[str, str]:
    """What the command gets: in a mount or user namespace nothing of ours but how to draw."""
    if not entered & {"mnt", "user"}:
        return dict(ours)
    kept = {name: value for name, value in ours.items()
            if name in ("TERM", "COLORTERM", "NO_COLOR", "LANG") or name.startswith("LC_")}  # fmt: skip
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
            **kept}  # fmt: skip

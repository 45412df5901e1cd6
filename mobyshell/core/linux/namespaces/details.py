"""What is inside one namespace, as facts for a person: the ids it maps, its devices, its mounts.

Owns where each fact is read: in /proc of a member, by a question to the kernel, or by a helper
that goes in (`inside`). What cannot be learnt is a fact, too: it says why.
"""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.linux.mounts import read_mountinfo
from mobyshell.core.linux.namespaces import nsfs
from mobyshell.core.linux.namespaces.values import Namespace, Survey
from mobyshell.core.values import value

PATIENCE = 60.0
"""Seconds that the helper may take; it reads a few files."""

_OVERFLOW = "4294967295"


@value
class Fact:
    """One line: what, and how it is."""

    name: str
    value: str


def user_name(uid: int | None) -> str:
    """The name of a user of this machine; the number of one without."""
    if uid is None:
        return ""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def details(survey: Survey, one: Namespace) -> tuple[Fact, ...]:
    """What is inside a namespace. For a thread: it may wait for a helper."""
    read = {"mnt": _mnt, "pid": _pid, "user": _user}.get(one.kind, _through_helper)
    try:
        return tuple(read(survey, one))
    except (MobyshellError, OSError) as error:
        return (Fact("not told", str(error)),)


def _mnt(survey: Survey, one: Namespace) -> Iterator[Fact]:
    if one.door is not None:
        with nsfs.opened(one.door, one.kind, one.inode) as fd:
            count = nsfs.mount_count(fd)
        if count is not None:
            yield Fact("mounts", str(count))
    for pid in one.members:
        try:
            table = read_mountinfo(pid)
        except (NotFound, PermissionError):
            continue
        if table:  # a kernel thread's is empty
            yield Fact("seen", f"{len(table)} of them from the root of {pid}")
            shared = sum(any(word.startswith("shared:") for word in row.optional) for row in table)
            yield Fact("shared", f"{shared}: what is mounted below them is mounted elsewhere, too")
            roots = [row for row in table if row.mount_point == "/"]
            for row in roots[-1:]:
                yield Fact("root", f"{row.fstype} {row.source} {','.join(row.options)}")
            return


def _pid(survey: Survey, one: Namespace) -> Iterator[Fact]:
    members = [survey.processes[pid] for pid in one.members if pid in survey.processes]
    init = next((process for process in members if process.inner == 1), None)
    if init is not None:
        yield Fact("init", f"{init.pid} {init.command}")
        try:
            numbers = procfs.status_fields(init.pid).get("NSpid", "").split()
        except NotFound:
            numbers = []
        yield Fact("depth", f"{max(len(numbers) - 1, 0)} below the one we look from")
    elif members:
        yield Fact("init", "not seen from here")
    else:
        yield Fact("init", "none: nobody can come in before there is one, or after it has ended")
    nested = sum(other.parent == one.inode for other in survey.namespaces if other.kind == "pid")
    yield Fact("within it", f"{nested} pid namespace{'s'[: nested != 1]}")


def _user(survey: Survey, one: Namespace) -> Iterator[Fact]:
    yield Fact("made by", f"uid {one.owner_uid} {user_name(one.owner_uid)}".strip())
    owned = sum(other.owner == one.inode for other in survey.namespaces if other.kind != "user")
    yield Fact("owns", f"{owned} namespace{'s'[: owned != 1]} of other kinds")
    maps: Mapping[str, Any] = {}
    for pid in one.members:
        try:
            maps = {name: Path(f"/proc/{pid}/{name}").read_text()
                    for name in ("uid_map", "gid_map", "setgroups")}  # fmt: skip
            break
        except OSError:
            continue
    else:
        maps = ask(one)
    for name in ("uid_map", "gid_map"):
        lines = str(maps.get(name, "")).splitlines()
        yield from (Fact(name, _mapped(line)) for line in lines)
        if not lines:
            yield Fact(name, str(maps.get("error", "empty: every id in here is nobody")))
    yield Fact("setgroups", str(maps.get("setgroups", "")).strip())


def _mapped(line: str) -> str:
    inside, outside, count = line.split()
    if (inside, outside, count) == ("0", "0", _OVERFLOW):
        return "all, each to itself"
    if count == "1":
        return f"{inside} is {outside} outside"
    last = int(inside) + int(count) - 1
    return f"{inside}–{last} are {outside}–{int(outside) + int(count) - 1} outside"


def _through_helper(survey: Survey, one: Namespace) -> Iterator[Fact]:
    member = one.members[0] if one.members else 0
    told = ask(one, member)
    if "error" in told:
        yield Fact("not told", str(told["error"]))
    else:
        yield from {"uts": _uts, "ipc": _ipc, "net": _net, "time": _time, "cgroup": _cgroup}[
            one.kind
        ](told, survey.processes[member].cgroup if member in survey.processes else "")


def _uts(told: Mapping[str, Any], _: str) -> Iterator[Fact]:
    yield Fact("hostname", told["hostname"])
    yield Fact("domainname", told["domainname"] or "none")


def _ipc(told: Mapping[str, Any], _: str) -> Iterator[Fact]:
    yield Fact("message queues", str(told["queues"]))
    yield Fact("semaphore sets", str(told["semaphores"]))
    yield Fact("shared memory", f"{told['memory']} segment{'s'[: told['memory'] != 1]}")


def _net(told: Mapping[str, Any], _: str) -> Iterator[Fact]:
    for one in told["devices"]:
        words = ["up" if one["up"] else "down", one["kind"], one["mac"], *one["addresses"]]
        yield Fact(one["name"], "  ".join(word for word in words if word))
    for one in told["routes"]:
        through = f" through {one['through']}" if one["through"] else ""
        yield Fact("route", f"{one['to']}{through} by {one['device']}")
    if not told["routes"]:
        yield Fact("route", "none")


def _time(told: Mapping[str, Any], _: str) -> Iterator[Fact]:
    for name, offset in told.items():
        yield Fact(name, f"{offset:+g} s" if offset else "as of the machine")


def _cgroup(told: Mapping[str, Any], outside: str) -> Iterator[Fact]:
    lines = str(told.get("inside", "")).splitlines()
    inside = next((line.split(":", 2)[2] for line in lines if line.startswith("0:")), "")
    if not inside:
        yield Fact("root", "not told: no process is in it whose cgroup would say so")
    elif inside.startswith("/.."):
        yield Fact("root", f"not told: its first process is outside of it, at {inside}")
    else:
        root = outside[: len(outside) - len(inside)] if inside != "/" else outside
        yield Fact("root", f"{root or '/'} is / in here")


def ask(one: Namespace, member: int = 0) -> dict[str, Any]:
    """What the helper reads in there; `error` says why it could not."""
    door = one.door
    if door is None:
        return {"error": "no way to it may be opened from here"}
    words = [sys.executable, "-I", "-m", "mobyshell.core.linux.namespaces.inside", one.kind,
             str(one.inode), door.path, str(door.root), ",".join(door.steps),
             str(member)]  # fmt: skip
    try:
        done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=False)
        told: dict[str, Any] = json.loads(done.stdout)
    except subprocess.TimeoutExpired:
        return {"error": f"it did not answer in {PATIENCE:.0f} seconds"}
    except ValueError:
        return {"error": done.stderr.decode(errors="replace").strip()[-300:] or "no answer"}
    return told

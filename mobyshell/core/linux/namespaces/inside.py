"""What can only be read from inside a namespace: a program that goes in, reads, and says it.

`python -m mobyshell.core.linux.namespaces.inside KIND INODE PATH ROOT STEPS MEMBER`, the door in
its parts. It is a program of its own because entering must never happen in a process with threads.
It enters that namespace and no other (and its owner first, where it must), so no process in there
sees it; answers with a JSON object on stdout, and changes nothing.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from typing import Any

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.links import Links, load
from mobyshell.core.linux.namespaces import nsfs
from mobyshell.core.linux.namespaces.kinds import KINDS
from mobyshell.core.linux.namespaces.values import Door
from mobyshell.core.linux.syscalls import call


def enter(fd: int, kind: str) -> None:
    """Be in a namespace. Who may not, may yet from within the user namespace that owns it."""
    try:
        call("setns", fd, KINDS[kind], what=f"entering the {kind} namespace")
    except SyscallFailed as error:
        owner = nsfs.relative(fd, "owner") if error.errno == errno.EPERM else None
        if owner is None:
            raise
        call("setns", owner, c.CLONE_NEWUSER, what="entering its user namespace")
        call("setns", fd, KINDS[kind], what=f"entering the {kind} namespace")


def uts(_: int) -> dict[str, Any]:
    """Its two strings."""
    told = os.uname()
    domain = Path("/proc/sys/kernel/domainname").read_text().strip()
    return {"hostname": told.nodename, "domainname": "" if domain == "(none)" else domain}


def ipc(_: int) -> dict[str, Any]:
    """How many there are of each kind of object (sysvipc(7)): lines but the first, of titles."""
    return {
        name: len(Path(f"/proc/sysvipc/{file}").read_text().splitlines()) - 1
        for name, file in (("queues", "msg"), ("semaphores", "sem"), ("memory", "shm"))
    }


def net(_: int) -> dict[str, Any]:
    """Devices with their addresses, and routes."""
    links = Links()
    try:
        devices, addresses, routes = links.all(), links.addresses(), links.routes()
    finally:
        links.close()
    names = {one.index: one.name for one in devices}
    return {
        "devices": [
            {"name": one.name, "up": one.up, "kind": one.kind, "mtu": one.mtu, "mac": one.mac,
             "addresses": [each.text for each in addresses if each.index == one.index]}
            for one in devices
        ],
        "routes": [{"to": one.destination, "through": one.gateway,
                    "device": names.get(one.index, "")} for one in routes],
    }  # fmt: skip


def time(_: int) -> dict[str, Any]:
    """Its offsets in seconds, by clock (time_namespaces(7))."""
    lines = Path("/proc/self/timens_offsets").read_text().splitlines()
    return {name: int(seconds) + int(ns) / 1e9
            for name, seconds, ns in (line.split() for line in lines)}  # fmt: skip


def cgroup(member: int) -> dict[str, Any]:
    """How a member's cgroup is called in here; by that and its name outside, its root is known."""
    return {"inside": Path(f"/proc/{member}/cgroup").read_text()} if member else {}


def user(fd: int) -> dict[str, Any]:
    """The maps of one without processes: a child goes in, and its maps are read from out here."""
    told, say = os.pipe()
    asked, stay = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(stay)
        try:
            enter(fd, "user")
        except MobyshellError as error:
            os.write(say, str(error).encode())
            os._exit(1)
        os.close(say)
        os.read(asked, 1)
        os._exit(0)
    os.close(say)
    try:
        refused = os.read(told, 4096)
        if refused:
            return {"error": refused.decode(errors="replace")}
        return {name: Path(f"/proc/{child}/{name}").read_text()
                for name in ("uid_map", "gid_map", "setgroups")}  # fmt: skip
    finally:
        os.close(stay)
        os.waitpid(child, 0)


READERS = {"uts": uts, "ipc": ipc, "net": net, "time": time, "cgroup": cgroup}
"""What to read in each kind, once in it."""


def main(argv: list[str]) -> int:
    """0, or 1 with the reason in `error`."""
    kind, inode, path, root, steps, member = argv
    door = Door(path, int(root), tuple(step for step in steps.split(",") if step))
    try:
        if kind == "net":
            load()  # before we are somebody who may read less
        with nsfs.opened(door, kind, int(inode)) as fd:
            if kind == "user":
                answer = user(fd)
            else:
                enter(fd, kind)
                answer = READERS[kind](int(member))
    except (MobyshellError, OSError, ValueError) as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
    return int("error" in answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

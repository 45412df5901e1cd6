"""Cache and memory bandwidth by class of service: the resctrl file system (Intel RDT, AMD QoS).

Owns where it is mounted, what it can do, and how its lines are read (Documentation/filesystems/
resctrl.rst). What a container's class is to be is the planner's business.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.values import value

USUAL = "/sys/fs/resctrl"
LARGEST = 1 << 16


@value
class Resctrl:
    """A mounted resctrl: its mount point, and the directories below info/: L3, MB, L3_MON …"""

    root: str
    can: tuple[str, ...] = ()

    def has(self, *names: str) -> bool:
        """Whether one of these is to be had."""
        return any(name in self.can for name in names)


def detect(mountinfo: str = "/proc/self/mountinfo") -> Resctrl | None:
    """The one of this machine, None if none is mounted (proc_pid_mountinfo(5))."""
    found = []
    with open(mountinfo) as file:
        for line in file:
            left, _, right = line.partition(" - ")
            if right.startswith("resctrl "):
                found.append(left.split(" ")[4])
    if not found:
        return None
    return at(USUAL if USUAL in found else found[0])


def at(root: str) -> Resctrl:
    """The one that is mounted on `root`."""
    try:
        names = tuple(sorted(os.listdir(f"{root}/info")))
    except OSError:
        names = ()
    return Resctrl(root, names)


def read(path: str) -> str:
    """A small file, without the last newline; "" if it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, LARGEST).decode(errors="replace").strip()
        finally:
            os.close(fd)
    except OSError:
        return ""


def write_schemata(path: str, lines: Iterable[str]) -> None:
    """Change what the class at `path` may use. SyscallFailed, with the kernel's reason as hint."""
    text = "".join(f"{line}\n" for line in lines)
    try:
        fd = os.open(f"{path}/schemata", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=f"{path}/schemata", hint=reason(path)) from None


def reason(path: str) -> str:
    """What the kernel says of the last command that failed below the mount of `path`; often ""."""
    while path not in ("", "/"):
        if os.path.isdir(f"{path}/info"):
            said = read(f"{path}/info/last_cmd_status")
            return "" if said in ("", "ok") else f"last_cmd_status: {said}"
        path = os.path.dirname(path)
    return ""


def granularity(root: str) -> int:
    """The steps in which a share of the memory's bandwidth is given, of the resctrl on `root`."""
    text = read(f"{root}/info/MB/bandwidth_gran")
    return int(text) if text.isdecimal() and int(text) else 1


def disagreement(path: str, lines: Sequence[str], steps: int = 1) -> str:
    """Which of `lines` the class at `path` does not have, as they are there; "" if it has all.

    Compared as numbers, domain by domain; bandwidths as the kernel rounds them up, to `steps`.
    """
    there = dict(_parsed(line) for line in read(f"{path}/schemata").splitlines() if ":" in line)
    for line in lines:
        name, wanted = _parsed(line)
        for domain, asked in wanted.items():
            has = there.get(name, {}).get(domain)
            if name == "MB" and asked.isdecimal():
                asked = str(-(-int(asked) // steps) * steps)
            if has is None or not _same(name, asked, has):
                return f"{name}:{domain}={has}" if has is not None else f"no {name}:{domain}"
    return ""


def _parsed(line: str) -> tuple[str, dict[str, str]]:
    name, _, rest = line.strip().partition(":")
    pairs = (one.partition("=") for one in rest.split(";"))
    return name.strip(), {domain.strip(): value.strip() for domain, _, value in pairs}


def _same(name: str, one: str, other: str) -> bool:
    try:
        base = 10 if name == "MB" else 16
        return int(one, base) == int(other, base)
    except ValueError:
        return one == other


def remove(paths: Iterable[str]) -> None:
    """Remove classes and monitoring groups. Not being there is fine; SyscallFailed otherwise."""
    for path in paths:
        try:
            os.rmdir(path)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise SyscallFailed.of(error, "rmdir", path=path) from None

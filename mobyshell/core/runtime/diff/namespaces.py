"""The namespaces of the init against `linux.namespaces`, with what belongs to them."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mobyshell.core.linux import procfs
from mobyshell.core.oci import Namespace, Spec
from mobyshell.core.runtime.diff.words import line, unknown
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference

_PROC_NAME = {"network": "net", "mount": "mnt"}
_ALL = ("pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time")
_INSIDE = "the kernel tells it only inside of the namespace"


def namespace_lines(spec: Spec, state: State) -> Iterator[Difference]:
    """In the spec's order, then those that the container must share with the host."""
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value:
            yield unknown(name, value, _INSIDE)
    linux = spec.linux
    if linux is None:
        return
    for index, one in enumerate(linux.namespaces or ()):
        yield _namespace(f"linux.namespaces[{index}] {one.type}", one, state.pid)
    given = {one.type for one in linux.namespaces or ()}
    for kind in _ALL:
        if kind not in given:
            theirs, ours = _link(state.pid, kind), _link(os.getpid(), kind)
            yield Difference(f"linux.namespaces ({kind})", "the host's",
                             "the host's" if theirs == ours else theirs, theirs == ours)  # fmt: skip
    for kind, asked in (("uid", linux.uid_mappings), ("gid", linux.gid_mappings)):
        if asked:
            rows = procfs.read_file(state.pid, f"{kind}_map").decode().splitlines()
            found = ", ".join(" ".join(row.split()) for row in rows)
            wanted = ", ".join(f"{one.container_id} {one.host_id} {one.size}" for one in asked)
            yield line(f"linux.{kind}Mappings", wanted, found, "inside, outside, count")
    for clock, offset in (linux.time_offsets or {}).items():
        rows = procfs.read_file(state.pid, "timens_offsets").decode().splitlines()
        words = next((row.split() for row in rows if row.startswith(clock)), [clock, "?", "?"])
        wanted = f"{offset.secs or 0} {offset.nanosecs or 0}"
        yield line(f"linux.timeOffsets {clock}", wanted, " ".join(words[1:]),
                   "seconds, nanoseconds")  # fmt: skip
    for name, device in (linux.net_devices or {}).items():
        yield unknown(f"linux.netDevices {name}", device.name or name, _INSIDE)
    for key, value in (linux.sysctl or {}).items():
        # /proc/sys shows everybody the values of their own namespaces, whoever's /proc it is
        yield unknown(f"linux.sysctl {key}", value, _INSIDE)


def _namespace(path: str, one: Namespace, pid: int) -> Difference:
    theirs = _link(pid, one.type)
    if one.path:
        try:
            there = f"{theirs.partition(':')[0]}:[{os.stat(one.path).st_ino}]"
        except OSError:
            return unknown(path, one.path, "the file by which it was joined is gone", theirs)
        return Difference(path, there, theirs, there == theirs, one.path)
    shared = theirs == _link(os.getpid(), one.type)
    return Difference(path, "a new one", "the host's" if shared else theirs, not shared)


def _link(pid: int, kind: str) -> str:
    return os.readlink(f"/proc/{pid}/ns/{_PROC_NAME.get(kind, kind)}")

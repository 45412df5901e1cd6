"""diff: the spec of a container against what the kernel says of it now."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mobyshell.core.errors import MobyshellError, NotFound, WrongState
from mobyshell.core.linux import capabilities, cgroups, procfs
from mobyshell.core.linux.cgroup_limits import limits_v1, limits_v2
from mobyshell.core.linux.mount_options import parse_options
from mobyshell.core.linux.mounts import MountInfo, read_mountinfo
from mobyshell.core.oci import Mount, Spec, load_spec, spec_to_json
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.values import Difference, Status

_PROC_NAME = {
    "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user",
    "cgroup": "cgroup", "time": "time",
}  # fmt: skip

_SET_FIELDS = (
    ("bounding", "CapBnd"), ("effective", "CapEff"), ("permitted", "CapPrm"),
    ("inheritable", "CapInh"), ("ambient", "CapAmb"),
)  # fmt: skip

_LIMIT_NAMES = {
    "RLIMIT_CPU": "Max cpu time", "RLIMIT_FSIZE": "Max file size", "RLIMIT_DATA": "Max data size",
    "RLIMIT_STACK": "Max stack size", "RLIMIT_CORE": "Max core file size",
    "RLIMIT_RSS": "Max resident set", "RLIMIT_NPROC": "Max processes",
    "RLIMIT_NOFILE": "Max open files", "RLIMIT_MEMLOCK": "Max locked memory",
    "RLIMIT_AS": "Max address space", "RLIMIT_LOCKS": "Max file locks",
    "RLIMIT_SIGPENDING": "Max pending signals", "RLIMIT_MSGQUEUE": "Max msgqueue size",
    "RLIMIT_NICE": "Max nice priority", "RLIMIT_RTPRIO": "Max realtime priority",
    "RLIMIT_RTTIME": "Max realtime timeout",
}  # fmt: skip

_NONE = 2**64 - 1


def diff(root: Path, id: str) -> list[Difference]:
    """What the spec asks for and what is, line by line, in the spec's order.

    Everything is read from outside, by the pid of the container's init: /proc, its mountinfo, its
    cgroup files. A program that changed its own identity since its start shows as a difference.
    WrongState if the container has stopped.
    """
    state = states.read(root, id)
    if states.status(root, state) is Status.STOPPED:
        raise WrongState(
            f"container not running: {id}", hint="the kernel forgets a process when it ends"
        )
    spec = load_spec(states.directory(root, id))
    try:
        return [
            *_process(spec, state.pid),
            *_names(spec, state.pid),
            *_mounts(spec, state.pid),
            *_namespaces(spec, state.pid),
            *_mappings(spec, state.pid),
            *_paths(spec, state.pid),
            *_limits(spec, state.cgroups),
        ]
    except (NotFound, FileNotFoundError, ProcessLookupError):
        raise WrongState(f"container not running: {id}") from None


def _line(path: str, wanted: str, found: str, note: str = "") -> Difference:
    return Difference(path, wanted, found, wanted == found, note)


def _process(spec: Spec, pid: int) -> Iterator[Difference]:
    process = spec.process
    assert process is not None
    status = procfs.status_fields(pid)
    words = procfs.command_line(pid)
    wanted = " ".join(process.args or ())
    yield Difference(
        "process.args", wanted, " ".join(words), None if wanted != " ".join(words) else True,
        "" if wanted == " ".join(words) else "a program may rename itself, or execute another",
    )  # fmt: skip
    uids, gids = status["Uid"].split(), status["Gid"].split()
    yield _line("process.user.uid", str(_outside(spec, "uid", process.user.uid)), uids[1])
    yield _line("process.user.gid", str(_outside(spec, "gid", process.user.gid)), gids[1])
    groups = sorted(_outside(spec, "gid", one) for one in process.user.additional_gids or ())
    found = sorted(int(one) for one in status.get("Groups", "").split())
    yield _line("process.user.additionalGids", _numbers(groups), _numbers(found))
    umask = 0o022 if process.user.umask is None else process.user.umask
    yield _line("process.user.umask", f"{umask:04o}", status.get("Umask", "?").zfill(4))
    wanted_flag = str(int(bool(process.no_new_privileges)))
    yield _line("process.noNewPrivileges", wanted_flag, status.get("NoNewPrivs", "?"))
    filtered = spec.linux is not None and spec.linux.seccomp is not None
    yield _line("linux.seccomp", "2" if filtered else "0", status.get("Seccomp", "?"),
                "0: none, 2: a filter")  # fmt: skip
    yield from _capabilities(spec, status)
    yield from _rlimits(spec, pid)
    if process.oom_score_adj is not None:
        score = procfs.read_file(pid, "oom_score_adj").decode().strip()
        yield _line("process.oomScoreAdj", str(process.oom_score_adj), score)


def _outside(spec: Spec, kind: str, inside: int) -> int:
    """An id as the host numbers it."""
    linux = spec.linux
    mappings = (linux.uid_mappings if kind == "uid" else linux.gid_mappings) if linux else None
    for one in mappings or ():
        if one.container_id <= inside < one.container_id + one.size:
            return one.host_id + inside - one.container_id
    return inside


def _numbers(values: list[int]) -> str:
    return " ".join(str(one) for one in values) or "none"


def _capabilities(spec: Spec, status: dict[str, str]) -> Iterator[Difference]:
    given = spec.process.capabilities if spec.process else None
    inheritable = set(given.inheritable or ()) if given else set()
    for name, field in _SET_FIELDS:
        wanted = {one for one in (getattr(given, name) if given else None) or ()
                  if capabilities.known(one)}  # fmt: skip
        note = ""
        if name == "ambient" and wanted - inheritable:
            note = "only what is inheritable too can be ambient"
            wanted &= inheritable
        mask = sum(1 << capabilities.number(one) for one in wanted)
        found = int(status.get(field, "0"), 16)
        yield _line(f"process.capabilities.{name}", _names_of(mask), _names_of(found), note)


def _names_of(mask: int) -> str:
    listed = [name.removeprefix("CAP_").lower() for name in capabilities.names(mask)]
    return " ".join(listed) or "none"


def _rlimits(spec: Spec, pid: int) -> Iterator[Difference]:
    asked = spec.process.rlimits or () if spec.process else ()
    if not asked:
        return
    rows = procfs.read_file(pid, "limits").decode().splitlines()
    for index, one in enumerate(asked):
        label = _LIMIT_NAMES[one.type]
        row = next((line for line in rows if line.startswith(label)), "")
        found = " ".join(row.removeprefix(label).split()[:2]) or "?"
        wanted = " ".join("unlimited" if n == _NONE else str(n) for n in (one.soft, one.hard))
        yield _line(f"process.rlimits[{index}]", f"{one.type[7:].lower()} {wanted}",
                    f"{one.type[7:].lower()} {found}")  # fmt: skip


def _names(spec: Spec, pid: int) -> Iterator[Difference]:
    for name, value in (("hostname", spec.hostname), ("domainname", spec.domainname)):
        if value:
            # only uname(2) inside the namespace tells, and nobody enters one just to look
            yield Difference(name, value, "?", None, "the kernel tells it only inside")


def _mounts(spec: Spec, pid: int) -> Iterator[Difference]:
    table = {one.mount_point: one for one in read_mountinfo(pid)}  # the last one is on top
    if spec.root is not None and "/" in table:
        wanted = "ro" if spec.root.readonly else "rw"
        yield _line("root.readonly", wanted, "ro" if "ro" in table["/"].options else "rw")
    for index, one in enumerate(spec.mounts or ()):
        point = os.path.normpath(one.destination)
        path = f"mounts[{index}] {one.destination}"
        found = table.get(point)
        if found is None:
            yield _line(path, _wanted_mount(one), "not mounted")
        else:
            yield _mount(path, one, found)


_CHECKED = ("ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime")


def _wanted_mount(one: Mount) -> str:
    options = parse_options(one.options or ())
    flags = [word for word in _CHECKED if word in (one.options or ())]
    kind = "bind" if options.bind else one.type or "?"
    return " ".join((kind, *flags))


def _mount(path: str, one: Mount, found: MountInfo) -> Difference:
    options = parse_options(one.options or ())
    asked = [word for word in _CHECKED if word in (one.options or ())]
    there = [word for word in _CHECKED if word in found.options]
    note = ""
    if options.bind:
        kind = "bind"
        note = f"of {found.fstype}, {found.root}"
    elif one.type == "cgroup":
        kind, note = "cgroup", f"a {found.fstype}"
    else:
        kind = found.fstype
    missing = [word for word in asked if word not in there]
    wanted = _wanted_mount(one)
    shown = " ".join((kind, *there))
    right = not missing and (options.bind or one.type in ("cgroup", kind))
    return Difference(path, wanted, shown, right, note)


def _namespaces(spec: Spec, pid: int) -> Iterator[Difference]:
    for index, one in enumerate(spec.linux.namespaces or () if spec.linux else ()):
        name = _PROC_NAME[one.type]
        path = f"linux.namespaces[{index}] {one.type}"
        theirs, ours = _link(f"/proc/{pid}/ns/{name}"), _link(f"/proc/self/ns/{name}")
        if one.path:
            there = _inode(one.path)
            yield Difference(path, f"{one.path} ({there})", theirs, f"[{there}]" in theirs)
        else:
            yield Difference(path, "a new one", theirs, theirs != ours)


def _link(path: str) -> str:
    return os.readlink(path)


def _inode(path: str) -> str:
    try:
        return str(os.stat(path).st_ino)
    except OSError:
        return "gone"


def _mappings(spec: Spec, pid: int) -> Iterator[Difference]:
    linux = spec.linux
    for kind, asked in (
        ("uid", linux.uid_mappings if linux else None),
        ("gid", linux.gid_mappings if linux else None),
    ):
        if not asked:
            continue
        rows = procfs.read_file(pid, f"{kind}_map").decode().splitlines()
        found = ", ".join(" ".join(row.split()) for row in rows)
        wanted = ", ".join(f"{one.container_id} {one.host_id} {one.size}" for one in asked)
        yield _line(f"linux.{kind}Mappings", wanted, found)


def _paths(spec: Spec, pid: int) -> Iterator[Difference]:
    table = {one.mount_point: one for one in read_mountinfo(pid)}
    linux = spec.linux
    for name, wanted, paths in (
        ("maskedPaths", "hidden", linux.masked_paths if linux else None),
        ("readonlyPaths", "ro", linux.readonly_paths if linux else None),
    ):
        for index, one in enumerate(paths or ()):
            found = table.get(os.path.normpath(one))
            path = f"linux.{name}[{index}] {one}"
            if found is None:
                note = "it may not exist in this container"
                yield Difference(path, wanted, "not mounted over", None, note)
            elif name == "maskedPaths":
                hidden = found.root.endswith("/null") or found.fstype == "tmpfs"
                yield Difference(path, wanted, f"{found.fstype} {found.root}", hidden)
            else:
                yield _line(path, wanted, "ro" if "ro" in found.options else "rw")


def _limits(spec: Spec, paths: dict[str, str]) -> Iterator[Difference]:
    resources = spec.linux.resources if spec.linux else None
    if resources is None or not paths:
        return
    asked = spec_to_json(resources)
    writes = limits_v2(asked) if set(paths) == {""} else limits_v1(asked)
    for write in writes:
        if not write.source or write.file.startswith("devices."):
            continue
        try:
            found = cgroups.read(paths[write.controller], write.file)
        except (KeyError, MobyshellError):
            yield Difference(write.source, write.value, "?", None, f"no {write.file} here")
            continue
        yield _limit(write.source, write.file, write.value, found)


def _limit(source: str, file: str, wanted: str, found: str) -> Difference:
    if wanted.isdecimal() and found.isdecimal() and int(wanted) >= 4096:
        # the kernel rounds bytes to pages
        close = abs(int(wanted) - int(found)) < 65536
        return Difference(source, wanted, found, close, file)
    if "_device" in file or file in ("io.max", "io.weight"):
        return Difference(
            source, wanted, wanted if wanted in found else found, wanted in found, file
        )
    if wanted == "-1":
        return Difference(source, wanted, found, int(found) < 0 or int(found) > 2**62, file)
    return _line(source, wanted, found, file)

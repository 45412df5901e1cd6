"""The init against `process`: /proc/PID/status, limits, environ and their neighbours."""

from __future__ import annotations

import os
from collections.abc import Iterator

from mobyshell.core.linux import capabilities, procfs, rlimits
from mobyshell.core.oci import Process, Spec
from mobyshell.core.runtime.diff.scheduling import scheduling_lines
from mobyshell.core.runtime.diff.words import line, listed, unknown
from mobyshell.core.runtime.environment import complete
from mobyshell.core.runtime.plan import HOME
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.values import Difference

_SETS = (
    ("bounding", "CapBnd"), ("effective", "CapEff"), ("inheritable", "CapInh"),
    ("permitted", "CapPrm"), ("ambient", "CapAmb"),
)  # fmt: skip

_SECCOMP = {"0": "none", "1": "strict", "2": "a filter"}
_TAKEN_AT_EXEC = "taken on by the program; the container is only created"


def process_lines(spec: Spec, state: State, *, started: bool) -> Iterator[Difference]:
    """`started`: its program runs. Before that, only what is set up for it can be compared."""
    process = spec.process
    if process is None:
        return
    if not started:
        yield unknown("process", listed(process.args or ()), _TAKEN_AT_EXEC, "not started")
    else:
        yield from _program(process, state.pid)
        status = procfs.status_fields(state.pid)
        yield from _identity(spec, process, status, state.pid)
        yield from _capability_lines(process, status)
        yield line("process.noNewPrivileges", _yes(process.no_new_privileges),
                   _yes(status.get("NoNewPrivs") == "1"))  # fmt: skip
        yield from _rlimits(process, state.pid)
        yield _seccomp(spec, status)
    yield from scheduling_lines(spec, state.pid)
    if process.oom_score_adj is not None:
        score = procfs.read_file(state.pid, "oom_score_adj").decode().strip()
        yield line("process.oomScoreAdj", str(process.oom_score_adj), score)


def _yes(value: object) -> str:
    return "yes" if value else "no"


def _program(process: Process, pid: int) -> Iterator[Difference]:
    wanted, found = " ".join(process.args or ()), " ".join(procfs.command_line(pid))
    if wanted == found:
        yield line("process.args", wanted, found)
    else:
        yield unknown(
            "process.args", wanted, "a program may rename itself, or execute another", found
        )
    yield _environment(process, pid)
    try:
        there = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        yield unknown("process.cwd", process.cwd, "not shown to this user")
    else:
        wanted = os.path.normpath(process.cwd)
        if wanted == there:
            yield line("process.cwd", wanted, there)
        else:
            yield unknown("process.cwd", wanted, "a program may change its directory", there)
    yield line("process.terminal", _yes(process.terminal), _yes(_terminal(pid)))


def _environment(process: Process, pid: int) -> Difference:
    """Each variable as execve got it. A later execve may have been given others."""
    wanted = [one for one in complete(process.env or ()) if "=" in one and HOME not in one]
    names = listed(one.partition("=")[0] for one in wanted)
    try:
        text = procfs.read_file(pid, "environ").decode(errors="surrogateescape")
    except OSError:
        return unknown("process.env", names, "not shown to this user")
    there = set(text.split("\0"))
    other = [one.partition("=")[0] for one in wanted if one not in there]
    if not other:
        return line("process.env", names, names)
    return unknown("process.env", names, "a program may change its environment",
                   f"other or without: {listed(other)}")  # fmt: skip


def _terminal(pid: int) -> bool:
    """Whether it has a controlling terminal: field 7 (proc_pid_stat(5))."""
    text = procfs.read_file(pid, "stat").decode(errors="replace")
    return text.rpartition(")")[2].split()[4] != "0"


def _identity(
    spec: Spec, process: Process, status: dict[str, str], pid: int
) -> Iterator[Difference]:
    user = process.user
    yield _id("process.user.uid", spec, "uid", user.uid, status["Uid"])
    yield _id("process.user.gid", spec, "gid", user.gid, status["Gid"])
    groups = sorted(outside(spec, "gid", one) for one in user.additional_gids or ())
    found = sorted(int(one) for one in status.get("Groups", "").split())
    note = ""
    if groups != found and procfs.read_file(pid, "setgroups").strip() == b"deny":
        note = "in a user namespace made without privileges, nobody can change groups"
    yield line("process.user.additionalGids", listed(groups), listed(found), note)
    umask = 0o022 if user.umask is None else user.umask
    yield line("process.user.umask", f"{umask:04o}", status.get("Umask", "?").zfill(4))


def _id(path: str, spec: Spec, kind: str, inside: int, field: str) -> Difference:
    there = outside(spec, kind, inside)
    note = "" if there == inside else f"{inside} in the container's user namespace"
    return line(path, str(there), field.split()[1], note)


def outside(spec: Spec, kind: str, inside: int) -> int:
    """An id as the host numbers it."""
    linux = spec.linux
    mappings = (linux.uid_mappings if kind == "uid" else linux.gid_mappings) if linux else None
    for one in mappings or ():
        if one.container_id <= inside < one.container_id + one.size:
            return one.host_id + inside - one.container_id
    return inside


def _capability_lines(process: Process, status: dict[str, str]) -> Iterator[Difference]:
    asked = {name: _mask(process, name) for name, _ in _SETS}
    expected = _after_execve(asked, root=process.user.uid == 0)
    for name, field in _SETS:
        found = int(status.get(field, "0"), 16)
        path, asks = f"process.capabilities.{name}", _names_of(asked[name])
        if found != asked[name] and found == expected[name]:
            # the spec's set cannot survive execve: what comes of it is what is wanted
            yield line(path, _names_of(found), _names_of(found), f"of {asks}: {_RULE[name]}")
        else:
            yield line(path, asks, _names_of(found))


_RULE = {
    "ambient": "only what is permitted and inheritable can be ambient",
    "permitted": "at execve root gets what is in the bounding set, others what is ambient",
    "effective": "at execve root gets what is in the bounding set, others what is ambient",
}


def _after_execve(asked: dict[str, int], *, root: bool) -> dict[str, int]:
    """capabilities(7), "Transformation of capabilities during execve()"; no file capabilities."""
    ambient = asked["ambient"] & asked["permitted"] & asked["inheritable"]
    permitted = asked["bounding"] | asked["inheritable"] if root else ambient
    return {**asked, "ambient": ambient, "permitted": permitted, "effective": permitted}


def _mask(process: Process, name: str) -> int:
    names = (getattr(process.capabilities, name) if process.capabilities else None) or ()
    return sum(1 << capabilities.number(one) for one in set(names) if capabilities.known(one))


def _names_of(mask: int) -> str:
    return listed(name.removeprefix("CAP_").lower() for name in capabilities.names(mask))


def _rlimits(process: Process, pid: int) -> Iterator[Difference]:
    if not process.rlimits:
        return
    there = rlimits.parse(procfs.read_file(pid, "limits").decode())
    for index, one in enumerate(process.rlimits):
        name = one.type.removeprefix("RLIMIT_").lower()
        wanted = [rlimits.show(value) for value in (one.soft, one.hard)]
        found = there.get(one.type, ("?",))
        yield line(
            f"process.rlimits[{index}]", f"{name} {listed(wanted)}", f"{name} {listed(found)}"
        )


def _seccomp(spec: Spec, status: dict[str, str]) -> Difference:
    wanted = "2" if spec.linux is not None and spec.linux.seccomp is not None else "0"
    found = status.get("Seccomp", "?")
    # a filter is inherited, and nobody can get rid of one
    note = "whoever started the runtime is filtered" if (wanted, found) == ("0", "2") else ""
    return line("linux.seccomp", _SECCOMP[wanted], _SECCOMP.get(found, found), note)

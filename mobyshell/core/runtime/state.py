"""The state directory of a container: `<root>/<id>/`, with `state.json` and the exec fifo.

Owns the record and its atomic writing, and the status, which is never stored but computed from what
the kernel says now. What lies below the root may be half made, foreign or damaged: it is read with
suspicion. Who has the directory is said in `directories`.

    state.json    what is remembered; without it there is no container
    config.json   the spec it was made from: later edits of the bundle change nothing
    exec.fifo     there while the container is created and not started
    creator       there while it is being made: PID and start time of who makes it, and the names of
                  what its owner keeps in the directory from one making to the next
    cgroups.json  likewise: what the next creator has to remove if this one is killed
"""

from __future__ import annotations

import fcntl
import json
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Any

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import MobyshellError, NotFound, SyscallFailed
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.oci import check_id
from mobyshell.core.runtime.small_files import LARGEST as LARGEST
from mobyshell.core.runtime.small_files import read_small as read_small
from mobyshell.core.runtime.small_files import write_file as write_file
from mobyshell.core.runtime.small_files import write_new as write_new
from mobyshell.core.runtime.values import Status
from mobyshell.core.values import field, names, replace, value

STATE = "state.json"
FIFO = "exec.fifo"
CREATOR = "creator"
CONFIG = "config.json"
CGROUPS = "cgroups.json"
LEVELS = "levels"
"""In cgroups.json, beside the controllers: the directories above, as in `State.cgroup_levels`."""

OCI_VERSION = "1.2.0"


@value
class State:
    """What a runtime must remember of a container. Times in ns since the epoch.

    `pid_start`: field 22 of /proc/PID/stat. `cgroups`: controller (v2: "") → directory.
    `unit`: the unit of systemd that they are of, if any.
    `cgroup_levels`: directories above those that were made on the way, deepest first.
    `namespaces`: kinds that are not the host's, as in the spec. `exit_status`: of the init, once
    somebody has waited for it (128+n for signal n). `root_mount`: type, source and options of what
    its root filesystem was mounted from, if it was not there before. `resctrl`: classes of service
    and monitoring groups that go when it goes.
    """

    id: str
    pid: int
    pid_start: int
    bundle: str
    rootfs: str
    created_ns: int
    started_ns: int = 0
    cgroups: dict[str, str] = field(default_factory=dict)
    namespaces: tuple[str, ...] = ()
    terminal: bool = False
    args: tuple[str, ...] = ()
    annotations: dict[str, str] = field(default_factory=dict)
    owner: int = 0
    oci_version: str = OCI_VERSION
    exit_status: int | None = None
    exited_ns: int = 0
    cgroup_levels: tuple[str, ...] = ()
    unit: str = ""
    root_mount: tuple[str, ...] = ()
    resctrl: tuple[str, ...] = ()


@lru_cache(maxsize=256)
def directory(root: Path, id: str) -> Path:
    """Where the container's files are. UsageError for a malformed id."""
    check_id(id)
    return root / id


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Alone among those who take away or take over directories of `root`."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def creator_lives(path: Path) -> bool | None:
    """Whether who makes this container is alive; None if it is not (any more) being made."""
    try:
        pid, start = read_small(path, CREATOR).split()[:2]
        return procfs.alive(int(pid), int(start))
    except (OSError, ValueError):
        return None


def write(path: Path, state: State) -> None:
    """Put `state` in place at once: a reader sees the old or the new one."""
    data = _encode(dict(zip(names(State), _members(state), strict=True))).encode()
    write_file(f"{path}/{STATE}", data)
    _remember(data, state)


_encode = json.JSONEncoder(check_circular=False).encode
_members = attrgetter(*names(State))

_understood: OrderedDict[bytes, State] = OrderedDict()
"""What documents say that were written or read lately: a state is a value, and every verb of a
container reads the one that the verb before it has left."""
_MOST_UNDERSTOOD = 128


def _remember(data: bytes, state: State) -> None:
    _understood[data] = state
    while len(_understood) > _MOST_UNDERSTOOD:
        _understood.popitem(last=False)


def read(root: Path, id: str) -> State:
    """The state of a container. NotFound if there is no such container."""
    path = directory(root, id)
    try:
        data = read_small(path, STATE)
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"container does not exist: {id}", hint="`mobyshell task ls` lists those there are"
        ) from None
    except OSError as error:
        raise SyscallFailed.of(error, "open", path=str(path / STATE)) from None
    return decode(data, path)


def decode(data: bytes, path: Path) -> State:
    """The state in `data`, which lies in `path`. MobyshellError if it is not one."""
    known = _understood.get(data)
    state = known if known is not None and known.id == path.name else _decoded(data, path.name)
    if state is None:
        raise MobyshellError(
            f"{path / STATE} is damaged", hint="deleting it with --force ends what is left of it"
        )
    if known is None:
        _remember(data, state)
    return state


def _decoded(data: bytes, id: str) -> State | None:
    try:
        document: dict[str, Any] = json.loads(data)
        known = {name: document[name] for name in names(State) if name in document}
        known["namespaces"] = tuple(known.get("namespaces", ()))
        known["args"] = tuple(known.get("args", ()))
        known["cgroup_levels"] = tuple(known.get("cgroup_levels", ()))
        known["root_mount"] = tuple(known.get("root_mount", ()))
        known["resctrl"] = tuple(known.get("resctrl", ()))
        state = State(**known)
        if state.id == id and _well_formed(state):
            return state
    except (ValueError, TypeError, AttributeError, RecursionError):
        pass
    return None


def _well_formed(state: State) -> bool:
    numbers = (state.pid, state.pid_start, state.created_ns, state.started_ns, state.owner,
               state.exited_ns, 0 if state.exit_status is None else state.exit_status)  # fmt: skip
    words = (state.bundle, state.rootfs, state.unit, state.oci_version, *state.namespaces, *state.args,
             *state.cgroup_levels, *state.root_mount, *state.resctrl)  # fmt: skip
    maps = (state.cgroups, state.annotations)
    return (
        all(type(one) is int and -(2**63) <= one < 2**63 for one in numbers)
        and all(isinstance(one, str) for one in words)
        and all(isinstance(one, dict) for one in maps)
        and all(isinstance(one, str) for group in maps for pair in group.items() for one in pair)
    )


def started(path: Path, state: State, now_ns: int) -> State:
    """Remember that the program runs."""
    later = replace(state, started_ns=now_ns)
    write(path, later)
    return later


def record_exit(root: Path, state: State, status: int, now_ns: int) -> None:
    """Remember how the init ended, for those who ask later. Nothing if it has been deleted."""
    path = directory(root, state.id)
    try:
        with locked(root):
            if same(path, state):
                write(path, replace(state, exit_status=status, exited_ns=now_ns))
    except (OSError, SyscallFailed):
        return  # another user's container: then the kernel's answer is not kept


def same(path: Path, state: State) -> bool:
    """Whether the container at `path` still is the one of `state`."""
    try:
        now = decode(read_small(path, STATE), path)
    except (OSError, MobyshellError):
        return False
    return (now.pid, now.pid_start) == (state.pid, state.pid_start)


def status(root: Path, state: State) -> Status:
    """What the container is doing, by what the kernel says now (runtime.md#state)."""
    if not procfs.alive(state.pid, state.pid_start):
        return Status.STOPPED
    path = directory(root, state.id)
    waiting = waits(path)
    if waiting and creator_lives(path):
        return Status.CREATING
    if state.cgroups and cgroups.frozen(state.cgroups):
        return Status.PAUSED  # also one that was not started
    return Status.CREATED if waiting else Status.RUNNING


def waits(path: Path) -> bool:
    """Whether the container whose directory this is has not been started."""
    return os.path.lexists(f"{path}/{FIFO}")


def oci_state(state: State, now: Status) -> dict[str, Any]:
    """The state as the spec's JSON: what hooks get on standard input (runtime.md#state)."""
    document: dict[str, Any] = {
        "ociVersion": state.oci_version,
        "id": state.id,
        "pid": 0 if now is Status.STOPPED else state.pid,
        "status": str(now),
        "bundle": state.bundle,
        "rootfs": state.rootfs,
        "created": rfc3339(state.created_ns),
    }
    if state.annotations:
        document["annotations"] = dict(state.annotations)
    return document


def annotations_of(value: Mapping[str, str] | None) -> dict[str, str]:
    """The spec's annotations as a plain dictionary."""
    return dict(value or {})

"""The state directory of a container: `<root>/<id>/`, with `state.json` and the exec fifo.

Owns the record and its atomic writing, the lock that an id is, and the status, which is never
stored but computed from what the kernel says now.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from mobyshell.core.clock import rfc3339
from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound
from mobyshell.core.linux import cgroups, procfs
from mobyshell.core.oci import check_id
from mobyshell.core.runtime.values import Status

STATE = "state.json"
FIFO = "exec.fifo"
CREATOR = "creator"
CONFIG = "config.json"

OCI_VERSION = "1.2.0"


@dataclass(frozen=True, slots=True)
class State:
    """What a runtime must remember of a container. Times in ns since the epoch.

    `pid_start`: field 22 of /proc/PID/stat. `cgroups`: controller (v2: "") → directory.
    `namespaces`: kinds that are not the host's, as in the spec.
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


def directory(root: Path, id: str) -> Path:
    """Where the container's files are. UsageError for a malformed id."""
    check_id(id)
    return root / id


def reserve(root: Path, id: str) -> Path:
    """Take the id: whoever makes its directory has it. AlreadyExists for everybody else.

    What a killed creator left half made (no state, creator gone) is cleared away first.
    """
    path = directory(root, id)
    root.mkdir(mode=0o711, parents=True, exist_ok=True)
    for attempt in (1, 2):
        try:
            path.mkdir(mode=0o711)
        except FileExistsError:
            if attempt == 2 or not _abandoned(path):
                raise AlreadyExists(
                    f"container with given ID already exists: {id}",
                    hint="choose another id, or delete that one first",
                ) from None
            _clear(path)
            continue
        pid = os.getpid()
        (path / CREATOR).write_text(f"{pid} {procfs.start_time(pid)}")
        return path
    raise AssertionError("unreachable")


def _abandoned(path: Path) -> bool:
    """Whether `path` has no state, and whoever was making it is dead."""
    if (path / STATE).exists():
        return False
    try:
        pid, start = (path / CREATOR).read_text().split()
        return not procfs.alive(int(pid), int(start))
    except (OSError, ValueError):
        # between mkdir and its creator file: give it the benefit of the doubt for a while
        try:
            age = os.stat(path).st_mtime
        except FileNotFoundError:
            return False
        return time.time() - age > 10


def _clear(path: Path) -> None:
    """Remove an abandoned directory and the cgroups that were made for it."""
    plan = path / "cgroups.json"
    if plan.exists():
        try:
            cgroups.remove(json.loads(plan.read_text()).values())
        except (ValueError, AttributeError):
            pass
    shutil.rmtree(path, ignore_errors=True)


def write(path: Path, state: State) -> None:
    """Put `state` in place at once: a reader sees the old or the new one."""
    write_file(path / STATE, json.dumps(asdict(state)).encode())


def write_file(path: Path, data: bytes) -> None:
    """Write a file by rename. No fsync: pids and FIFOs do not survive a power loss either."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def read(root: Path, id: str) -> State:
    """The state of a container. NotFound if there is no such container."""
    path = directory(root, id)
    try:
        data = (path / STATE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(
            f"container does not exist: {id}", hint="`mobyshell task ls` lists those there are"
        ) from None
    return decode(data, path)


def decode(data: bytes, path: Path) -> State:
    """The state in `data`. MobyshellError if it is not one."""
    try:
        document: dict[str, Any] = json.loads(data)
        known = {name: document[name] for name in State.__slots__ if name in document}
        known["namespaces"] = tuple(known.get("namespaces", ()))
        known["args"] = tuple(known.get("args", ()))
        return State(**known)
    except (ValueError, TypeError, AttributeError):
        raise MobyshellError(
            f"{path / STATE} is damaged", hint="remove the directory if its container is gone"
        ) from None


def started(path: Path, state: State, now_ns: int) -> State:
    """Remember that the program runs."""
    later = replace(state, started_ns=now_ns)
    write(path, later)
    return later


def forget(path: Path) -> None:
    """Remove the state directory. state.json goes first: without it, the container is no more."""
    (path / STATE).unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def status(root: Path, state: State) -> Status:
    """What the container is doing, by what the kernel says now (runtime.md#state)."""
    if not procfs.alive(state.pid, state.pid_start):
        return Status.STOPPED
    if os.path.lexists(root / state.id / FIFO):
        return Status.CREATED
    if state.cgroups and cgroups.frozen(state.cgroups):
        return Status.PAUSED
    return Status.RUNNING


def oci_state(state: State, now: Status) -> dict[str, Any]:
    """The state as the spec's JSON: what hooks get on standard input (runtime.md#state)."""
    document: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "id": state.id,
        "status": str(now),
        "pid": 0 if now is Status.STOPPED else state.pid,
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

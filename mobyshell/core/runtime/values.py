"""What the runtime's verbs answer: plain values, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The states of runtime-spec, with `paused` as runc has it."""

    CREATING = "creating"
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process inside a task, as the host sees it. `rss` in bytes, `cpu_ns` user + system."""

    pid: int
    ppid: int
    pid_inside: int
    uid: int
    state: str
    rss: int
    cpu_ns: int
    command: str


@dataclass(frozen=True, slots=True)
class Stats:
    """What the cgroups count. Bytes and ns. None: not known here; of a limit, that there is none."""

    time_ns: int
    cpu_ns: int | None
    cpu_throttled_ns: int | None
    memory: int | None
    memory_limit: int | None
    memory_peak: int | None
    pids: int | None
    pids_limit: int | None
    io_read: int | None
    io_write: int | None
    oom_kills: int | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """Spec against kernel, one line: `agrees` is None where the kernel cannot be asked."""

    path: str
    wanted: str
    found: str
    agrees: bool | None
    note: str = ""

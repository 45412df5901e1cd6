"""What is known of a process on disk: `process.json`, written by the shim, read by everybody.

Owns the record, its atomic writing, and how a status is made of it. A record is written before
what it says is announced, so that a reader who heard of it finds it. Never talks to the shim.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError
from mobyshell.core.runtime.values import Status

if TYPE_CHECKING:
    from typing import Any

RECORD = "process.json"
EXIT = "exit"
"""Written by the keeper, `STATUS TIME_NS`, for a process that ended while no shim lived."""

UNKNOWN_STATUS = -1


@dataclass(slots=True)
class Record:
    """One process: a task's init (`exec_id` empty) or a further process in it.

    `pid_start`: field 22 of /proc/PID/stat, which makes a pid unmistakable. Times in ns since the
    epoch, 0 for not yet. `exit_status`: None while it lives, -1 if nobody could learn it.
    """

    id: str
    namespace: str = ""
    exec_id: str = ""
    pid: int = 0
    pid_start: int = 0
    bundle: str = ""
    created_ns: int = 0
    started_ns: int = 0
    exited_ns: int = 0
    exit_status: int | None = None
    terminal: bool = False
    stdin: bool = False
    paused: bool = False
    args: list[str] = field(default_factory=list)
    annotations: dict[str, str] = field(default_factory=dict)
    runtime: str = "mobyshell"

    def status(self) -> Status:
        """What the record says; whether the process still is there is the reader's to check."""
        if self.exit_status is not None:
            return Status.STOPPED
        if self.paused:
            return Status.PAUSED
        return Status.RUNNING if self.started_ns else Status.CREATED


_FIELDS = frozenset(one.name for one in fields(Record))


def write_record(directory: str, record: Record) -> None:
    """Put `record` in place at once: a reader sees the old or the new one."""
    import json

    write_atomically(f"{directory}/{RECORD}", json.dumps(asdict(record)).encode())


def write_atomically(path: str, data: bytes) -> None:
    """Write `path` by rename. No fsync: pids and FIFOs do not survive a power loss either."""
    temporary = f"{path}.{os.getpid()}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
    os.rename(temporary, path)


def read_record(directory: str) -> Record | None:
    """The record in `directory`; None if there is none. MobyshellError if it is not readable."""
    import json

    try:
        with open(f"{directory}/{RECORD}", "rb", buffering=0) as file:
            document: Any = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise _damaged(directory, str(error)) from None
    try:
        return Record(**{key: value for key, value in document.items() if key in _FIELDS})
    except (TypeError, AttributeError) as error:
        raise _damaged(directory, str(error)) from None


def _damaged(directory: str, why: str) -> MobyshellError:
    return MobyshellError(
        f"the record {directory}/{RECORD} is damaged: {why}",
        hint="delete the task with --force",
    )


def read_exit(directory: str) -> tuple[int, int] | None:
    """`(status, time_ns)` as the keeper wrote them; None if it did not."""
    try:
        with open(f"{directory}/{EXIT}", "rb", buffering=0) as file:
            status, time_ns = file.read(64).split()
            return int(status), int(time_ns)
    except (OSError, ValueError):
        return None


def process_start(pid: int) -> int:
    """The start time of `pid` in clock ticks since boot (a zombie's too); 0 if there is none.

    proc_pid_stat(5), field 22. The command in field 2 may hold anything, also parentheses.
    """
    found = _stat(pid)
    return int(found[19]) if len(found) > 19 else 0


def zombie_status(pid: int, start: int) -> int | None:
    """The exit status of a zombie nobody reaps (field 52), where this user may read it."""
    found = _stat(pid)
    if len(found) < 50 or int(found[19]) != start or found[0] != b"Z":
        return None
    return decode_wait_status(int(found[49]))


def _stat(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return []


def decode_wait_status(status: int) -> int:
    """The code of a wait(2) status word, or 128+n for signal n."""
    if os.WIFSIGNALED(status):
        return 128 + os.WTERMSIG(status)
    return os.WEXITSTATUS(status)

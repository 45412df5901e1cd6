"""What is known of a process on disk: `process.json`, written by the shim, read by everybody.

Owns the record, its atomic writing, and how a status is made of it. A record is written before
what it says is announced, so that a reader who heard of it finds it. Never talks to the shim.
"""

from __future__ import annotations

from functools import cache
from operator import attrgetter
from typing import TYPE_CHECKING

from mobyshell.core.runtime.values import Status
from mobyshell.core.tasks.bare import EXIT, decode_wait_status, write_atomically, write_file
from mobyshell.core.tasks.listing import (
    RECORD,
    UNKNOWN_STATUS,
    damaged,
    process_start,
    read_document,
    read_exit,
    read_stat,
    status_of,
)
from mobyshell.core.tasks.restarts import parse, pause_ms
from mobyshell.core.values import field, names, variable

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "EXIT", "RECORD", "UNKNOWN_STATUS", "Record", "decode_wait_status", "process_start",
    "read_exit", "read_record", "record_of", "write_atomically", "write_record", "zombie_status",
]  # fmt: skip


PROBE = "health-"
"""How the names of the processes begin that only ask whether a task is well (`health`)."""


class _Beside:
    """`fixed`: the JSON of what never changes in a record, up to its end, once it was made: see `text_of`.
    No field of it."""

    __slots__ = ("fixed",)
    fixed: str


@variable
class Record(_Beside):
    """One process: a task's init (`exec_id` empty) or a further process in it.

    `pid_start`: field 22 of /proc/PID/stat, which makes a pid unmistakable. Times in ns since the
    epoch, 0 for not yet. `exit_status`: None while it lives, -1 if nobody could learn it.
    `restart`: the policy by which a task is started again, `restarts` how often that was done;
    `restart_ns`: when it will be (0: it will not), after a pause of `pause_ms`. `stopped`: somebody
    has asked it to end. `rootfs`: type, source and options of what its root is mounted from; `store`:
    the root of the store that its container is in, if it is in one. `health`: how it is by its health
    check, "" without one; `failing`: how often in a row that has failed.
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
    runtime_path: str = ""
    restart: str = ""
    restarts: int = 0
    restart_ns: int = 0
    pause_ms: int = 0
    stopped: bool = False
    rootfs: list[str] = field(default_factory=list)
    store: str = ""
    health: str = ""
    failing: int = 0

    def __post_init__(self) -> None:
        self.fixed = ""

    def status(self) -> Status:
        """What the record says; whether the process still is there is the reader's to check."""
        return Status(status_of(self.exit_status, self.paused, self.started_ns, self.restart_ns))

    def to_json(self) -> dict[str, Any]:
        """Its members, as JSON has them; of those about restarts, what says something."""
        found = dict(zip(_NAMES, _usual(self), strict=True))
        rare = _rare(self)
        if any(rare):
            found |= {name: value for name, value in zip(_RARE, rare, strict=True) if value}
        return found

    def next_run(self, now_ns: int) -> None:
        """It has ended: whether it is started again by its policy, and when."""
        ran = max(0, self.exited_ns - self.started_ns) if self.started_ns else 0
        status = UNKNOWN_STATUS if self.exit_status is None else self.exit_status
        started = bool(self.started_ns or self.restart_ns or self.restarts)
        self.restart_ns = 0
        if (
            self.restart
            and started
            and not self.stopped
            and parse(self.restart).wants(status, self.restarts)
        ):
            self.pause_ms = pause_ms(self.pause_ms, ran)
            self.restart_ns = now_ns + self.pause_ms * 1_000_000


_RARE = ("restart", "restarts", "restart_ns", "pause_ms", "stopped", "rootfs", "store", "health",
         "failing")  # fmt: skip
_FIELDS = frozenset(names(Record))
_NAMES = tuple(name for name in names(Record) if name not in _RARE)
_FIXED = ("id", "namespace", "exec_id", "bundle", "terminal", "stdin", "args", "annotations", "runtime",
          "runtime_path")  # fmt: skip
_usual, _rare = attrgetter(*_NAMES), attrgetter(*_RARE)


def text_of(record: Record) -> str:
    """`to_json` as it is written. A record is written a few times, and the most of it is always the
    same."""
    if not record.fixed:
        record.fixed = _encoder()({name: getattr(record, name) for name in _FIXED})[:-1]
    status = "null" if record.exit_status is None else record.exit_status
    text = (
        f'{record.fixed}, "pid": {record.pid}, "pid_start": {record.pid_start}, '
        f'"created_ns": {record.created_ns}, "started_ns": {record.started_ns}, '
        f'"exited_ns": {record.exited_ns}, "exit_status": {status}, '
        f'"paused": {"true" if record.paused else "false"}'
    )
    rare = _rare(record)
    if any(rare):
        more = {name: value for name, value in zip(_RARE, rare, strict=True) if value}
        text += f", {_encoder()(more)[1:-1]}"
    return text + "}"


def fixed_but_name(record: Record) -> tuple[str, str]:
    """What is the same in the records of all further processes like this one, which has been written:
    the `fixed` of one of them is these two with its name in between."""
    before, name, behind = record.fixed.partition(f'"exec_id": "{record.exec_id}"')
    return f"{before}{name[: -len(record.exec_id) - 1]}", f'"{behind}'


def write_record(directory: str, record: Record, *, fresh: bool = False) -> None:
    """Put `record` in place at once: a reader sees the old or the new one. `fresh`: in a directory
    that nobody sees yet."""
    path, data = f"{directory}/{RECORD}", text_of(record).encode()
    if fresh:
        write_file(path, data)
    else:
        write_atomically(path, data)


@cache
def _encoder() -> Callable[[object], str]:
    import json

    return json.JSONEncoder(check_circular=False).encode


def read_record(directory: str) -> Record | None:
    """The record in `directory`; None if there is none. MobyshellError if it is not readable."""
    document = read_document(directory)
    return None if document is None else record_of(document, directory)


def record_of(document: dict[str, Any], directory: str) -> Record:
    """The record that `document` is; members of a later version are left out."""
    try:
        return Record(**{key: value for key, value in document.items() if key in _FIELDS})
    except TypeError as error:
        raise damaged(directory, str(error)) from None


def zombie_status(pid: int, start: int) -> int | None:
    """The exit status of a zombie nobody reaps (field 52), where this user may read it."""
    found = read_stat(pid)
    if len(found) < 50 or int(found[19]) != start or found[0] != b"Z":
        return None
    return decode_wait_status(int(found[49]))

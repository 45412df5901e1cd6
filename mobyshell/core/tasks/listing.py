"""What the disk and /proc say of tasks, as plain values.

`mobyshell task ls` is this and no more, as a process that lives for milliseconds: nothing is
imported here that is not in every Python, and what is made of the values (`records`, `service`)
is made elsewhere.
"""

from __future__ import annotations

import os

from mobyshell.core.errors import MobyshellError
from mobyshell.core.tasks.bare import EXIT
from mobyshell.core.tasks.paths import check_name, task_dir

TYPE_CHECKING = False  # as typing's, which takes longer to import than all of this to run
if TYPE_CHECKING:
    from typing import Any

RECORD = "process.json"

UNKNOWN_STATUS = -1


_KINDS: dict[str, tuple[type, ...]] = {
    "pid": (int,), "pid_start": (int,), "bundle": (str,), "created_ns": (int,),
    "started_ns": (int,), "exited_ns": (int,), "exit_status": (int, type(None)), "args": (list,),
    "annotations": (dict,), "runtime": (str,), "restart": (str,), "restarts": (int,),
    "restart_ns": (int,), "pause_ms": (int,), "rootfs": (list,), "store": (str,), "health": (str,),
}  # fmt: skip


def read_document(directory: str) -> dict[str, Any] | None:
    """The record in `directory` as JSON values; None if there is none. MobyshellError if damaged."""
    import json

    try:
        with open(f"{directory}/{RECORD}", "rb", buffering=0) as file:
            document: Any = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(directory, str(error)) from None
    if not isinstance(document, dict) or not isinstance(document.get("id"), str):
        raise damaged(directory, "it is not of a process")
    for name, kinds in _KINDS.items():
        if not isinstance(document.get(name, kinds[0]()), kinds):
            raise damaged(directory, f"{name} cannot be read")
    if not all(isinstance(one, str) for one in document.get("args", ())):
        raise damaged(directory, "args cannot be read")
    return document


def damaged(directory: str, why: str) -> MobyshellError:
    """What to say of a record that cannot be read."""
    return MobyshellError(
        f"the record {directory}/{RECORD} is damaged: {why}",
        hint="delete the task with --force",
    )


def live_document(directory: str) -> dict[str, Any] | None:
    """The record in `directory`, with what /proc says now: a process that is gone has stopped.

    A zombie still counts as alive: its shim has not yet written down how it ended.
    """
    document = read_document(directory)
    if document is None or document.get("exit_status") is not None:
        return document
    if process_start(document.get("pid", 0)) == document.get("pid_start", 0):
        return document
    document = read_document(directory)  # it may have ended between the two looks
    if document is not None and document.get("exit_status") is None:
        status, exited_ns = read_exit(directory) or (UNKNOWN_STATUS, 0)
        document["exit_status"], document["exited_ns"] = status, exited_ns
    return document


def status_of(exit_status: int | None, paused: bool, started_ns: int, restart_ns: int = 0) -> str:
    """The state (runtime-spec's, `paused` and `restarting`) that a record tells."""
    if restart_ns:
        return "restarting"
    if exit_status is not None:
        return "stopped"
    if paused:
        return "paused"
    return "running" if started_ns else "created"


def fields_of(document: dict[str, Any], namespace: str) -> dict[str, Any]:
    """A record as the fields of a `service.TaskInfo`."""
    get = document.get
    exit_status = get("exit_status")
    due = get("restart_ns", 0)
    status = status_of(exit_status, get("paused", False), get("started_ns", 0), due)
    return {
        "id": document["id"], "namespace": namespace, "status": status,
        "pid": 0 if exit_status is not None else get("pid", 0), "bundle": get("bundle", ""),
        "created_ns": get("created_ns", 0), "started_ns": get("started_ns", 0),
        "exited_ns": get("exited_ns", 0), "exit_status": exit_status,
        "terminal": get("terminal", False), "args": tuple(get("args", ())),
        "runtime": get("runtime", "mobyshell"), "annotations": get("annotations", {}),
        "restart": get("restart", ""), "restarts": get("restarts", 0), "restart_ns": due,
        "health": get("health", ""),
    }  # fmt: skip


def list_fields(state: str, namespace: str) -> list[dict[str, Any]]:
    """Every task of a namespace, by id; one whose record is damaged is shown as stopped."""
    check_name(namespace, "namespace")
    try:
        names = os.listdir(f"{state}/{namespace}")
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise MobyshellError(
            f"{state}/{namespace} cannot be read: {error.strerror}",
            hint="whose is it? yours is another: --state",
        ) from None
    found = []
    for id in sorted(names, key=natural):
        try:
            document = live_document(task_dir(state, namespace, id))
        except MobyshellError:
            document = {"id": id, "exit_status": UNKNOWN_STATUS}
        if document is not None:
            found.append(fields_of(document, namespace))
    return found


_LETTERS = 1 << 62  # longer than any number: letters come after digits

_HEX = frozenset("0123456789abcdef")

_DIGEST, _LONGEST = 12, 128
"""How many hexadecimal digits are a digest, or the beginning of one: to sha512's."""


def natural(text: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts as people count: task2 before task10. In digests nobody counts: they are
    text."""
    parts: list[tuple[int, str]] = []
    digits = letters = ""
    uncounted = digest_end(text) if len(text) >= _DIGEST else 0
    for at, one in enumerate(text):
        if at < uncounted:
            letters += one
        elif one in "0123456789":
            if letters:
                parts.append((_LETTERS, letters))
                letters = ""
            digits += one
        else:
            if digits:
                parts.append(_number(digits))
                digits = ""
            letters += one
    if digits:
        parts.append(_number(digits))
    elif letters:
        parts.append((_LETTERS, letters))
    return parts, text


def digest_end(text: str) -> int:
    """Where the digest ends that `text` begins with (`sha256:01ab…` or `01ab…`); 0 if it does not."""
    algorithm, colon, _ = text.partition(":")
    begin = len(algorithm) + 1 if colon and algorithm.isalnum() else 0
    end = begin
    while end < len(text) and text[end] in _HEX:
        end += 1
    whole = _DIGEST <= end - begin <= _LONGEST and not text[end : end + 1].isalnum()
    # twelve digits may be a date
    return end if whole and (begin or not text[:end].isdecimal()) else 0


def _number(digits: str) -> tuple[int, str]:
    """By length, then digit by digit: no number is too long."""
    plain = digits.lstrip("0")
    return len(plain), plain


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
    found = read_stat(pid)
    return int(found[19]) if len(found) > 19 else 0


def read_stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat after the command's; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            return file.read(4096).rpartition(b")")[2].split()
    except OSError:
        return []

"""Which processes of ours can be asked about themselves, and asking one, whatever kind it is.

    shim      answers at <state>/debug.sock
    keeper    writes its stack into the diary when it is knocked at; nothing else
    face      opens <state>/.debug/PID when it is knocked at (core.debug.door)

Owns the looking through /proc and the knocking. What it finds there is a stranger's claim: a signal
goes only to who catches it, by a pidfd, and whoever answers is compared with who was asked.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mobyshell.core.debug.client import ask as ask_at
from mobyshell.core.debug.door import DIRECTORY, KNOCK
from mobyshell.core.debug.request import Request
from mobyshell.core.errors import (
    MobyshellError,
    NotFound,
    Refused,
    SyscallFailed,
    TimedOut,
    Unsupported,
)
from mobyshell.core.linux import procfs
from mobyshell.core.tasks.paths import DEBUG_SOCKET, DIARY

SHIM, KEEPER, FACE = "shim", "keeper", "face"
_NAMES = {"mobyshell-shim": SHIM, "mobyshell-keep": KEEPER}
_PATIENCE = 30.0
_PAUSE = 0.02


@dataclass(frozen=True, slots=True)
class Attachable:
    """A process of ours. `state`: its state root, "" where that is not known before it is asked."""

    pid: int
    role: str
    uid: int
    state: str
    command: tuple[str, ...]


def processes() -> list[Attachable]:
    """Those of this user (for root: of all), by pid."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            one = _look(int(name))
            if one is not None:
                found.append(one)
    return sorted(found, key=lambda one: one.pid)


def find(pid: int) -> Attachable:
    """The process `pid`. NotFound if there is none, or it is none of ours."""
    if pid != os.getpid():
        found = _look(pid)
        if found is not None:
            return found
    if pid <= 0 or not os.path.exists(f"/proc/{pid}"):
        raise NotFound(f"no process {pid}", hint="`mobyshell debug ls` lists those there are")
    raise NotFound(f"process {pid} is none of mobyshell's that can be asked, or another user's",
                   hint="`mobyshell debug ls` lists those there are")  # fmt: skip


def shim_of(state: str) -> Attachable:
    """The shim of a state root. NotFound if there is none."""
    for one in processes():
        if one.role == SHIM and one.state == state:
            return one
    raise NotFound(f"{state} has no shim now", hint="there is one while a task is")


def _look(pid: int) -> Attachable | None:
    try:
        uid = os.stat(f"/proc/{pid}").st_uid
        if uid != os.geteuid() and os.geteuid() != 0:
            return None
        status = procfs.status_fields(pid)
        role = _NAMES.get(status.get("Name", ""))
        # a keeper by machine code has it wait, and looks
        taken = ("SigCgt", "SigBlk") if role == KEEPER else ("SigCgt",)
        if not any(int(status.get(one, "0"), 16) >> (KNOCK - 1) & 1 for one in taken):
            return None
        command = procfs.command_line(pid)
    except (MobyshellError, OSError, ValueError):
        return None
    if role is not None:
        place = next((at for at, word in enumerate(command) if word.endswith("/tasks/shim.py")), -1)
        state = command[place + 1] if 0 <= place < len(command) - 1 else ""
        return Attachable(pid, role, uid, state, command) if state else None
    if any("mobyshell" in word for word in command[:4]):
        return Attachable(pid, FACE, uid, _opened(pid).removesuffix(f"/{DIRECTORY}"), command)
    return None


def _opened(pid: int) -> str:
    """The directory of a face's socket; "" while its door is closed."""
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                place = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if place.endswith(f"/{DIRECTORY}"):
                return place
    except OSError:
        pass
    return ""


def ask(one: Attachable, request: Request) -> Any:
    """What the process answers, as JSON values. Raises as `core.debug.client.ask` does."""
    if one.role == KEEPER:
        raise Unsupported("the keeper tells its stacks only",
                          hint=f"mobyshell debug stacks {one.pid}")  # fmt: skip
    if one.role == SHIM:
        return ask_at(f"{one.state}/{DEBUG_SOCKET}", one.pid, one.uid, request)
    place = _opened(one.pid) or _knocked(one)
    return ask_at(f"{place}/{one.pid}", one.pid, one.uid, request)


def _knocked(one: Attachable) -> str:
    """Knock, and wait until the door is open; the directory of its socket."""
    _knock(one)
    for _ in _patiently(one):
        place = _opened(one.pid)
        if place and os.path.exists(f"{place}/{one.pid}"):
            return place
    raise TimedOut(f"process {one.pid} did not open its debug socket in {_PATIENCE:g} s",
                   hint="it does not get to run Python, or has no state root to open it in")  # fmt: skip


def last_words(one: Attachable) -> Iterator[str]:
    """What a shim or a keeper is in the midst of, line by line, as faulthandler writes it: that comes
    also from one that hangs. SyscallFailed, Refused, TimedOut."""
    path = f"{one.state}/{DIARY}"
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise SyscallFailed.of(error, "open") from None
    with open(fd, "rb") as diary:
        if os.fstat(fd).st_uid != one.uid:
            raise Refused(f"{path} is not of the user whose process that is")
        diary.seek(0, os.SEEK_END)
        _knock(one)
        data = b""
        for _ in _patiently(one):
            more = diary.read(1 << 16)
            data += more
            if data and not more:  # what is written at once is there at once, but for a moment
                break
    if not data:
        raise TimedOut(f"process {one.pid} did not write down its stacks in {_PATIENCE:g} s")
    yield from data.decode(errors="replace").splitlines()


def _patiently(one: Attachable) -> Iterator[None]:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        if not os.path.exists(f"/proc/{one.pid}"):
            raise NotFound(f"process {one.pid} has ended")
        yield
        time.sleep(_PAUSE)


def _knock(one: Attachable) -> None:
    """The signal, to this process and no later one of its number, and only while it catches it."""
    try:
        pidfd = os.pidfd_open(one.pid)
        try:
            if _look(one.pid) is None:
                raise NotFound(f"process {one.pid} has ended")
            signal.pidfd_send_signal(pidfd, KNOCK)
        finally:
            os.close(pidfd)
    except ProcessLookupError:
        raise NotFound(f"process {one.pid} has ended") from None
    except OSError as error:
        raise SyscallFailed.of(error, "pidfd_send_signal", path=str(one.pid)) from None

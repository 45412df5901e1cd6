"""Reaching the shim: a connection to it, and a keeper that starts one where there is none.

Owns the client's half of the coming and going: who holds the lock on the state root is, or is
about to be, the keeper; a client that finds neither socket nor lock takes the lock and starts one
with it. A request is sent only once the shim has greeted, so a shim that was just leaving is not
noticed at all.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

from mobyshell.core.errors import MobyshellError, ShimLost, TimedOut, from_wire
from mobyshell.core.linux import unix_sockets
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.paths import DIARY, LOCK, SOCKET, prepare_state_root

LINGER = 5.0
"""Seconds a shim without tasks and clients stays; MOBYSHELL_LINGER is another number."""
MOST_ENDS = 64
"""Processes whose end is told without being asked for; of others it can be asked."""
_PATIENCE = 15.0
_SLICE = 250
"""Milliseconds of waiting, after which it is asked whether that was all."""
_ENVIRONMENT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "TMPDIR", "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip


class Connection:
    """A greeted connection to the shim. One thread at a time, but for `drain`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.decoder = wire.Decoder()
        self._frames: list[tuple[int, bytes]] = []
        self._number = 0
        self.ends: dict[tuple[str, ...], int] = {}
        """Processes that have ended, which nobody has asked for yet."""
        self.shim_pid = self.version = 0
        self._lock = threading.Lock()
        self._poller = _poller(sock)

    def close(self) -> None:
        self.sock.close()

    def hang_up(self) -> None:
        """Wake whoever sends or receives in another thread."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the shim was first

    def receive(self, timeout: float | None = None) -> tuple[int, bytes] | None:
        """The next frame; None when the shim has hung up. TimedOut after `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        while not self._frames:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not self._poller.poll(None if left is None else int(left * 1000 + 0.999)):
                raise TimedOut("the shim did not answer in time")
            if not self._gather():
                return None
        return self._frames.pop(0)

    def _gather(self) -> bool:
        """Take what is here already, without waiting; False once the shim has hung up."""
        with self._lock:
            if self._frames:
                return True
            try:
                data = self.sock.recv(wire.RECEIVED, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True
            except OSError:
                return False
            self._frames.extend(self.decoder.feed(data))
            return bool(data)

    def drain(self) -> None:
        """Take everything that a shim which has hung up had sent before."""
        with self._lock:
            try:
                while data := self.sock.recv(wire.RECEIVED, socket.MSG_DONTWAIT):
                    self._frames.extend(self.decoder.feed(data))
            except OSError:
                return

    def has(self, kind: int) -> bool:
        """Whether a frame of `kind` is here and not yet received."""
        return any(found == kind for found, _ in self._frames)

    def take_over(self, other: Connection) -> None:
        """Go on with the socket number, and the frames not yet received, of one that was lost."""
        os.dup2(self.sock.fileno(), other.sock.fileno(), inheritable=False)
        self.sock.close()
        self.sock, self._poller = other.sock, other._poller
        self._frames[:0] = other._frames

    def hung_up(self) -> bool:
        """Whether the shim is gone, as far as can be seen without asking it."""
        # between requests it has nothing else to say than that processes have ended
        return bool(self._poller.poll(0)) and not self._gather()

    @property
    def pending(self) -> bool:
        """Whether frames are here already."""
        return bool(self._frames)

    def message(self, timeout: float | None = None) -> dict[str, Any]:
        """The next message, but for those that processes have ended, which are kept for `end`. ShimLost
        if the shim hangs up instead."""
        while True:
            document = wire.parse_message(self._payload(timeout))
            if "ended" not in document:
                return document
            self._keep_end(document)

    def _payload(self, timeout: float | None) -> bytes:
        frame = self.receive(timeout)
        if frame is None:
            raise lost()
        return frame[1]

    def _keep_end(self, told: dict[str, Any]) -> None:
        self.ends[tuple(told["ended"])] = told["exit_status"]
        while len(self.ends) > MOST_ENDS:
            del self.ends[next(iter(self.ends))]

    def end(self, process: tuple[str, str], timeout: float | None = None) -> int:
        """The exit status of a process (task, exec id) whose end is told here. ShimLost, TimedOut."""
        until = None if timeout is None else time.monotonic() + timeout
        begin = wire.ended(*process)
        while (status := self.ends.pop(process, None)) is None:
            payload = self._payload(None if until is None else max(0.0, until - time.monotonic()))
            if payload.startswith(begin):  # as it usually comes
                return int(payload[len(begin) : -1])
            document = wire.parse_message(payload)
            if "ended" in document:
                self._keep_end(document)
        return status

    def send(self, verb: str, namespace: str, args: dict[str, Any]) -> int:
        """Ask; the number of the request. ShimLost if that is not possible any more."""
        request = {"id": self._number + 1, "verb": verb, "namespace": namespace, "args": args}
        return self._send(wire.message(request))

    def send_named(self, head: bytes, name: str) -> int:
        """`send`, of what begins as `wire.named_head` says."""
        return self._send(wire.named(head, name, self._number + 1))

    def _send(self, request: bytes) -> int:
        self._number += 1
        try:
            self.sock.sendall(request)
        except OSError:
            raise lost() from None
        return self._number

    def request(
        self, verb: str, namespace: str, args: dict[str, Any], timeout: float | None = None
    ) -> Any:
        """Ask and wait for the answer; raises the error that is the answer."""
        return self.answer(self.send(verb, namespace, args), timeout)

    def answer(self, number: int, timeout: float | None = None) -> Any:
        """What is said to a request that was sent; raises the error that is the answer."""
        while True:
            answer = self.message(timeout)
            if "error" in answer and answer.get("id") in (number, None):
                raise from_wire(answer["error"])
            if answer.get("id") == number:
                return answer.get("ok")


def _poller(sock: socket.socket) -> select.poll:
    """What tells when there is something to receive."""
    made = select.poll()
    made.register(sock.fileno(), select.POLLIN)
    return made


def lost() -> ShimLost:
    """The shim went away during a call."""
    return ShimLost(
        "the shim went away during the call",
        hint="a new one takes its tasks over; `mobyshell task ls` shows how they are",
    )


def dial(state: str) -> Connection | None:
    """A greeted connection; None if there is no shim, or it was just leaving."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        unix_sockets.connect(sock, f"{state}/{SOCKET}")
        connection = Connection(sock)
        greeting = connection.receive(_PATIENCE)
        hello = wire.parse_message(greeting[1]) if greeting is not None else {}
        if "hello" in hello:
            connection.shim_pid, connection.version = int(hello.get("pid", 0)), int(hello["hello"])
            return connection
    except (FileNotFoundError, ConnectionError, NotADirectoryError):
        pass
    except PermissionError:
        sock.close()
        raise MobyshellError(
            f"the shim of {state} belongs to another user",
            hint="use a state directory of your own: --state or MOBYSHELL_STATE",
        ) from None
    except BaseException:
        sock.close()
        raise
    sock.close()
    return None


def connect(state: str) -> Connection:
    """A greeted connection, to a shim that is started if need be. ShimLost if it does not come."""
    prepare_state_root(state)
    waited = 0.0
    for pause in _pauses():
        connection = dial(state)
        if connection is not None:
            return connection
        lock = take_lock(state)
        if lock >= 0:
            try:
                start_keeper(state, lock)
            finally:
                os.close(lock)
            continue
        if waited > _PATIENCE:
            break
        time.sleep(pause)
        waited += pause
    raise ShimLost(f"the shim of {state} does not answer", hint=f"{state}/{DIARY} may say why")


def _pauses() -> Iterator[float]:
    pause = 0.001
    while True:
        yield pause
        pause = min(pause * 2, 0.05)


def take_lock(state: str) -> int:
    """The lock on the state root, open and held; -1 if somebody has it."""
    path = f"{state}/{LOCK}"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(path)
            mine = os.fstat(fd)
        except FileNotFoundError:
            os.close(fd)  # a leaving keeper removed what we had opened
            continue
        except BlockingIOError:
            os.close(fd)
            return -1
        if (there.st_ino, there.st_dev) == (mine.st_ino, mine.st_dev):
            return fd
        os.close(fd)


def start_keeper(state: str, lock: int) -> None:
    """Start a keeper that inherits `lock`, and wait until its shim listens. ShimLost if not."""
    from mobyshell.core.linux.interpreter import import_paths
    from mobyshell.core.tasks import keeping

    linger = os.environ.get("MOBYSHELL_LINGER") or str(LINGER)
    command = keeping.shim_command(state, linger, import_paths())
    before = _diary(state)
    diary = open_diary(state)
    ready, told = os.pipe2(os.O_CLOEXEC)
    try:
        keeping.start([f"{state}/{LOCK}", "0", *command], diary, lock, told, _environment())
        os.close(told)
        told = -1
        if not comes(ready, _PATIENCE) or not os.read(ready, 1):
            last = (
                _diary(state)[len(before) :].strip().rpartition(b"\n")[2].decode(errors="replace")
            )
            raise ShimLost(
                f"the shim of {state} could not be started{': ' if last else ''}{last}",
                hint=f"{state}/{DIARY} says why",
            )
    finally:
        for fd in (diary, ready, told):
            if fd >= 0:
                os.close(fd)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}


def comes(fd: int, patience: float) -> bool:
    """Whether `fd` becomes readable within `patience` seconds, as far as we were running: who was
    stopped meanwhile (by hand, or with the whole machine) has not waited, nor has the other side."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return any(poller.poll(_SLICE) for _ in range(1 + int(patience * 1000 / _SLICE)))


def open_diary(state: str) -> int:
    """A descriptor that writes to the end of the diary, which begins anew when it is long."""
    how = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(f"{state}/{DIARY}", how, 0o600)
    if os.fstat(fd).st_size > _DIARY_BYTES:
        os.ftruncate(fd, 0)
    return fd


def _diary(state: str) -> bytes:
    """What the shims of a state root had to say; little, and for people."""
    try:
        with open(f"{state}/{DIARY}", "rb") as file:
            return file.read(_MOST_READ)
    except OSError:
        return b""


_MOST_READ = 1 << 20
_DIARY_BYTES = 256 << 10

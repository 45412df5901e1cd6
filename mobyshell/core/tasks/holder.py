"""What the shim gives its keeper to keep: descriptors under names, and pids to look out for.

Owns the language between the two: datagrams of words between NUL bytes over a socketpair, with
descriptors beside them. The keeper keeps its copies while the shim lives; a successor inherits
them, and finds their names in its ledger (`keeping`). Names are `namespace/id/exec_id/pid/kind`.
A datagram has one thing to say or several, with an empty word after each but the last.

    hold NAME + fd      drop NAME      watch PID DIRECTORY      unwatch PID
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

from mobyshell.core.tasks.loop import Loop, Timer, Watch

_A_WHILE = 0.1
_MOST_LATER = 32


class Holder:
    """The shim's end of the line. Never blocks: what the keeper does not take now waits here.

    `lost` is called once when the keeper is gone.
    """

    def __init__(
        self, loop: Loop, line: socket.socket, held: dict[str, int], lost: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._line = line
        self._inherited = held
        self._lost = lost
        self._waiting: deque[tuple[bytes, list[int]]] = deque()
        self._together: list[str] | None = None
        self._beside: list[int] = []
        self._later: list[str] = []
        self._timer: Timer | None = None
        self._writing: Watch | None = None
        self.held: dict[str, int] = {}
        self.watched: dict[int, str] = {}
        line.setblocking(False)
        self._reading: Watch | None = loop.watch(line.fileno(), self._read)

    def take(self, name: str) -> int:
        """The descriptor a predecessor left under `name`, now the caller's; -1 if there is none."""
        return self._inherited.pop(name, -1)

    def leftovers(self, kept: Iterable[str] = ()) -> list[str]:
        """Close what nobody took; the names. What is of a task in `kept` (`namespace/id/`) stays
        held, and closed by nobody."""
        stays = {one for one in self._inherited if one.startswith(tuple(kept))}
        names = [one for one in self._inherited if one not in stays]
        for name, fd in self._inherited.items():
            if name in stays:
                self.held[name] = fd
            else:
                os.close(fd)
                self._send(f"drop\0{name}")
        self._inherited.clear()
        return names

    def processes(self, task: str) -> dict[int, int]:
        """Pid → descriptor, now the caller's, of what is held of a task that `leftovers` has kept;
        everything else of it is let go."""
        found = {}
        for name in [one for one in self.held if one.startswith(task)]:
            fd = self.held[name]
            self.drop(name)
            *_, pid, kind = name.split("/")
            if kind == "pidfd" and pid.isdecimal():
                found[int(pid)] = fd
            else:
                os.close(fd)
        return found

    def hold(self, name: str, fd: int) -> None:
        """Have the keeper keep a copy of `fd`; it stays the caller's to close, after `drop`."""
        if self.held.get(name) != fd:
            self.held[name] = fd
            self._send(f"hold\0{name}", fd)

    def hold_all(self, place: str, fds: Mapping[str, int], pid: int, directory: str) -> None:
        """`hold` all descriptors of a process, by their kinds, and `watch` it (0: do not), at once."""
        words, beside = [], []
        for kind, fd in fds.items():
            name = place + kind
            if self.held.get(name) != fd:
                self.held[name] = fd
                words.append(f"hold\0{name}")
                beside.append(fd)
        if pid and self.watched.get(pid) != directory:
            self.watched[pid] = directory
            words.append(f"watch\0{pid}\0{directory}")
        if words:
            self._say("\0\0".join(words).encode(), beside)

    def drop(self, name: str) -> None:
        """Have the keeper close its copy, in a moment."""
        if self.held.pop(name, None) is not None:
            self._send(f"drop\0{name}")

    def drop_later(self, name: str) -> None:
        """`drop` what nobody misses: with what else is said, or in a while."""
        if self.held.pop(name, None) is not None:
            self._put_off(f"drop\0{name}")

    def drop_now(self, name: str) -> None:
        """`drop` what somebody waits for to be closed."""
        if name in self.held:
            self.drop(name)
            if self._reading is not None:
                os.kill(os.getppid(), signal.SIGCHLD)  # it looks at once

    def watch(self, pid: int, directory: str) -> None:
        """If `pid` becomes the keeper's child and ends, have it written to `directory`/exit."""
        if self.watched.get(pid) != directory:
            self.watched[pid] = directory
            self._send(f"watch\0{pid}\0{directory}")

    def unwatch(self, pid: int) -> None:
        """Forget `pid`, which has ended: that is not urgent either."""
        if self.watched.pop(pid, None) is not None:
            self._put_off(f"unwatch\0{pid}")

    def _put_off(self, words: str) -> None:
        self._later.append(words)
        if len(self._later) >= _MOST_LATER:
            self._say_later()
        elif self._timer is None:
            self._timer = self._loop.call_later(_A_WHILE, self._say_later)

    def _say_later(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._later and self._reading is not None:
            self._say(b"", [])

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is said meanwhile is one datagram, which wakes the keeper once. A few things; their
        descriptors must stay open until the end of it."""
        self._together, self._beside = [], []
        try:
            yield
        finally:
            words, self._together = self._together, None
            if words:
                self._say("\0\0".join(words).encode(), self._beside)

    def _send(self, words: str, fd: int = -1) -> None:
        beside = [fd] if fd >= 0 else []
        if self._together is not None:
            self._together.append(words)
            self._beside += beside
        else:
            self._say(words.encode(), beside)

    def _say(self, words: bytes, fds: list[int]) -> None:
        if self._later:
            # what was put off comes first: a pid, or a name, may be another's by now
            before, self._later = self._later, []
            words = "\0\0".join(before).encode() + (b"\0\0" + words if words else b"")
        if not self._waiting and self._sent(words, fds):
            return
        # copies, as the caller may close its own before the keeper takes them
        self._waiting.append((words, [os.dup(fd) for fd in fds]))
        self._flush()

    def _sent(self, words: bytes, fds: list[int]) -> bool:
        """Whether the keeper's queue had room; False also if there is no keeper: `_flush` finds out."""
        try:
            self._line.sendmsg([words], _beside(fds), socket.MSG_NOSIGNAL)
        except OSError:
            return False
        return True

    def _flush(self) -> None:
        while self._waiting:
            words, fds = self._waiting[0]
            try:
                self._line.sendmsg([words], _beside(fds), socket.MSG_NOSIGNAL)
            except BlockingIOError:
                if self._writing is None:
                    self._writing = self._loop.watch(self._line.fileno(), self._flush, write=True)
                return
            except OSError:
                self._gone()
                return
            self._waiting.popleft()
            for fd in fds:
                os.close(fd)
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def _read(self) -> None:
        try:
            if self._line.recv(64):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._gone()

    def _gone(self) -> None:
        self.close()
        lost, self._lost = self._lost, lambda: None
        lost()

    def close(self) -> None:
        """Hang up. Copies the keeper has, it keeps."""
        for watch in (self._reading, self._writing):
            if watch is not None:
                watch.close()
        self._reading = self._writing = None
        for _, fds in self._waiting:
            for fd in fds:
                os.close(fd)
        self._waiting.clear()
        self._line.close()

    def renew(self, line: socket.socket, lost: Callable[[], None]) -> None:
        """A new keeper, which has everything already: it is the process this one was forked from."""
        self._line = line
        self._lost = lost
        self._later.clear()
        line.setblocking(False)
        self._reading = self._loop.watch(line.fileno(), self._read)


def _beside(fds: list[int]) -> list[tuple[int, int, bytes]]:
    return (
        [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"={len(fds)}i", *fds))] if fds else []
    )

"""A criu that is asked: the process `criu swrk 3`, and the socket to it.

Owns the process and the order of words; takes no decision. Who asks waits until the service can be
read (`fileno`), then takes one answer after the other. Never used in a process with threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mobyshell.core.checkpoint.criu import rooted
from mobyshell.core.checkpoint.criu.messages import ANSWER, REQUEST, Ask
from mobyshell.core.checkpoint.criu.wire import decode, encode
from mobyshell.core.errors import CheckpointFailed, MobyshellError, SyscallFailed

SOCKET = 3
"""Criu's number of its end."""
FIRST_MORE = 4
"""Criu's number of the first of further descriptors."""

_LARGEST = 64 << 10
_HIGH = 64
_MOST_DESCRIPTORS = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What criu said: `values` as in `messages.ANSWER`, and descriptors that came along."""

    values: Mapping[str, Any]
    descriptors: tuple[int, ...] = ()

    @property
    def type(self) -> int:
        return int(self.values.get("type", Ask.EMPTY))

    @property
    def success(self) -> bool:
        return bool(self.values.get("success"))

    @property
    def script(self) -> str:
        """Which moment a notification tells of."""
        return str(self.values.get("notify", {}).get("script", ""))

    @property
    def pid(self) -> int:
        """The init that a notification, or the end of a restore, tells of; 0 if none."""
        told = self.values.get("restore") or self.values.get("notify") or {}
        return int(told.get("pid", 0))


class Service:
    """One criu. Its standard streams are `streams`; it finds `more` as descriptors 4, 5, …

    SyscallFailed if `program` cannot be executed.
    """

    def __init__(
        self, program: str, streams: tuple[int, int, int], more: Sequence[int] = ()
    ) -> None:
        self._start([program], streams, more)

    def _start(
        self, words: Sequence[str], streams: tuple[int, int, int], more: Sequence[int]
    ) -> None:
        self._status: int | None = None
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        copies: list[int] = []
        try:
            for fd in (*streams, theirs.fileno(), *more):
                # out of the way first: the numbers of one must not be overwritten before its copy
                copies.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH))
            self.pid = os.posix_spawn(
                words[0], [*words, "swrk", str(SOCKET)], os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(copies)
                ],
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )  # fmt: skip
        except OSError as error:
            self._socket.close()
            raise SyscallFailed.of(error, "execve", path=words[0]) from None
        finally:
            theirs.close()
            for fd in copies:
                os.close(fd)

    def fileno(self) -> int:
        return self._socket.fileno()

    def ask(self, type: Ask, **values: Any) -> None:
        """Send a request. CheckpointFailed if nobody is there any more."""
        data = encode(REQUEST, {"type": type, **values})
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno == errno.EMSGSIZE:
                raise SyscallFailed.of(error, "send", path="criu") from None
            raise CheckpointFailed("criu ended before it was asked") from None

    def answer(self) -> Answer | None:
        """The next message, waited for; None if criu has ended. MobyshellError if it is none."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self._socket, _LARGEST, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        try:
            if flags & socket.MSG_TRUNC:
                raise ValueError("it is too long")
            if not data:
                return None
            return Answer(decode(ANSWER, data), tuple(descriptors))
        except ValueError as error:
            for fd in descriptors:
                os.close(fd)
            raise MobyshellError(f"criu's answer cannot be read: {error}") from None

    def finish(self) -> int:
        """Hang up and wait for its end: its exit status, 128+n for signal n.

        Never killed: in the middle of something it first lets go of the processes it holds.
        """
        self._socket.close()
        if self._status is None:
            status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            self._status = status if status >= 0 else 128 - status
        return self._status


class RootedService(Service):
    """One criu that restores into `rootfs`, mounted on the directory `place` for it alone.

    Its descriptors `rooted.IMAGES` and `rooted.WORK` are the directories `images` and `work`.
    MobyshellError, with the reason, if that cannot be had.
    """

    def __init__(
        self, program: str, streams: tuple[int, int, int], more: Sequence[int], *,
        rootfs: str, place: str, images: str, work: str,
    ) -> None:  # fmt: skip
        helper = [sys.executable, "-I", "-S", rooted.__file__, rootfs, place, images, work]
        self._start([*helper, program], streams, more)
        line = self._socket
        said, descriptors, _, _ = socket.recv_fds(line, 4096, 1, socket.MSG_CMSG_CLOEXEC)
        if not descriptors:
            self.finish()
            why = said.decode(errors="replace") or "the helper for criu ended"
            raise MobyshellError(f"cannot make a root for criu: {why}")
        line.close()
        self._socket = socket.socket(fileno=descriptors[0])

"""The shim's door: its socket, and one object per connected client.

Owns who may come in (the same user, or root), the reading and writing of frames with bounded
memory, and what happens to a client that talks nonsense: an error, or the door. What the words
mean is the `Desk`'s business.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeAlias

from mobyshell.core.errors import MobyshellError, UsageError
from mobyshell.core.linux.unix_sockets import allowed, bind
from mobyshell.core.tasks import wire
from mobyshell.core.tasks.attach import Attached, LogAttachment
from mobyshell.core.tasks.loop import Loop, Watch
from mobyshell.core.tasks.process import Process

Reply: TypeAlias = Callable[[Any, BaseException | None], None]
_PENDING_REQUESTS = 64
_PENDING_BYTES = 1 << 20
_OUT_OF_FILES_PAUSE = 0.5
VERSION = 2
"""What is said first: 2 since there is `run`."""


class Desk(Protocol):
    """Answers requests. `reply` is called exactly once, now or later."""

    def ask(
        self, verb: str, namespace: str, args: dict[str, Any], connection: Connection,
        reply: Reply, head: bytes = b"",
    ) -> None:  # fmt: skip
        """`head`: by what it is known again, if that may be asked again."""
        ...

    def again(self, head: bytes, name: str, connection: Connection, number: int) -> bool:
        """Whether a request is known by its head (`wire.named_head`), and was taken: the answer to its
        number comes later."""
        ...

    def left(self, connection: Connection) -> None:
        """A client is gone."""
        ...


class Connection:
    """One client."""

    def __init__(self, loop: Loop, peer: socket.socket, desk: Desk) -> None:
        peer.setblocking(False)
        self._loop = loop
        self._peer = peer
        self._desk = desk
        self._decoder = wire.Decoder()
        self._out = bytearray()
        self._pending = 0
        self._process: Process | None = None
        self._attached: Attached | None = None
        self._want_drained = False
        self._finishing = False
        self._reading: Watch | None = None
        self._writing: Watch | None = None
        self.closed = False
        self.cleanups: set[Callable[[], None]] = set()
        """What else is to be undone when the client leaves."""
        self.send(wire.message({"hello": VERSION, "pid": os.getpid()}))
        self._read_on()

    # outwards

    @property
    def backlog(self) -> int:
        return len(self._out)

    def send(self, data: bytes) -> None:
        """Have `data` sent as fast as the client takes it."""
        if self.closed:
            return
        self._out += data
        if self._writing is None:
            self._flush()

    def on_drained(self) -> None:
        self._want_drained = True

    def finish(self) -> None:
        """Hang up once everything was sent."""
        self._finishing = True
        if not self._out:
            self._loop.call_soon(self.close)

    def _flush(self) -> None:
        try:
            while self._out:
                sent = self._peer.send(memoryview(self._out)[: 256 << 10], socket.MSG_NOSIGNAL)
                del self._out[:sent]
        except BlockingIOError:
            if self._writing is None:
                self._writing = self._loop.watch(self._peer.fileno(), self._flush, write=True)
            return
        except OSError:
            self.close()
            return
        if self._writing is not None:
            self._writing.close()
            self._writing = None
        if self._want_drained:
            self._want_drained = False
            if self._attached is not None:
                self._attached.drained()
        if self._finishing and not self._out:
            self._loop.call_soon(self.close)
        self._read_on()

    # inwards

    def _read_on(self) -> None:
        """Read if there is nothing that holds it up."""
        busy = (
            self._pending >= _PENDING_REQUESTS
            or (self._attached is None and len(self._out) > _PENDING_BYTES)
            or (self._process is not None and self._input_full())
        )
        if self.closed:
            return
        if busy and self._reading is not None:
            self._reading.close()
            self._reading = None
        elif not busy and self._reading is None:
            self._reading = self._loop.watch(self._peer.fileno(), self._read)

    def _input_full(self) -> bool:
        source = self._process.input if self._process is not None else None
        if source is None or not source.full:
            return False
        if self._read_on not in source.drained:
            source.drained.append(self._read_on)
        return True

    def _read(self) -> None:
        try:
            data = self._peer.recv(wire.USUAL)
            if len(data) == wire.USUAL:
                data += self._more()
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        try:
            if self._attached is None and self._decoder.empty and wire.is_message(data):
                self._take_message(data[wire.HEADER.size :])  # as they usually come
            else:
                self._take_frames(data)
        except UsageError as error:
            self._refuse(error)
            return
        except BaseException:
            self.close()  # it would hang for ever; what went wrong is for the diary
            raise
        self._read_on()

    def _more(self) -> bytes:
        try:
            return self._peer.recv(wire.RECEIVED)
        except BlockingIOError:
            return b""

    def _take_frames(self, data: bytes) -> None:
        for kind, payload in self._decoder.feed(data):
            if self.closed:
                return
            if self._attached is not None:
                self._take_stream(kind, payload)
            elif kind == wire.MESSAGE:
                self._take_message(payload)
            else:
                raise UsageError("malformed message on the shim's socket: not attached to anything")

    def _refuse(self, error: MobyshellError) -> None:
        """Say why, as far as the client listens, and hang up."""
        self.send(wire.message({"id": None, "error": error.to_wire()}))
        self.close()

    def _take_message(self, payload: bytes) -> None:
        head, name, asked = wire.split_named(payload)
        if head and self._desk.again(head, name, self, asked):
            return
        document = wire.parse_message(payload)
        verb, number = document.get("verb"), document.get("id")
        namespace, args = document.get("namespace"), document.get("args", {})
        if not (
            isinstance(verb, str) and isinstance(number, int)
            and isinstance(namespace, str) and isinstance(args, dict)
        ):  # fmt: skip
            raise UsageError("malformed message on the shim's socket: not a request")
        self._desk.ask(verb, namespace, args, self, self.reply_to(number), head)

    def reply_to(self, number: int) -> Reply:
        """What answers a request that was taken."""
        self._pending += 1

        def reply(result: Any, error: BaseException | None) -> None:
            self._pending -= 1
            self._answer(number, result, error)

        return reply

    def _answer(self, number: int, result: Any, error: BaseException | None) -> None:
        if error is None:
            self.send(wire.message({"id": number, "ok": result}))
        else:
            if not isinstance(error, MobyshellError):
                error = MobyshellError(
                    f"the shim stumbled: {type(error).__name__}: {error}",
                    hint="this is a mistake in mobyshell; shim.log in the state directory says where",
                )
            self.send(wire.message({"id": number, "error": error.to_wire()}))
        self._read_on()

    # attached

    def attach(self, process: Process, attached: Attached) -> None:
        """From now on the client speaks to `process`."""
        self._process, self._attached = process, attached

    def hear_end(self, process: Process, say: Callable[[int], None]) -> None:
        """Have `say` called with the exit status of a process that lives, unless the client leaves."""

        def waiter(status: int) -> None:
            self.cleanups.discard(forget)
            say(status)

        def forget() -> None:
            if waiter in process.waiters:
                process.waiters.remove(waiter)

        process.waiters.append(waiter)
        self.cleanups.add(forget)

    @property
    def attached(self) -> bool:
        return self._attached is not None

    def _take_stream(self, kind: int, payload: bytes) -> None:
        process = self._process
        assert process is not None
        if kind == wire.STDIN:
            if process.input is not None:
                process.input.write(payload)
        elif kind == wire.CLOSE_STDIN:
            process.finish_input()
        elif kind == wire.RESIZE and len(payload) == wire.SIZE.size:
            if process.terminal is not None:
                process.terminal.resize(*wire.SIZE.unpack(payload))
        elif kind == wire.ARM and len(payload) == wire.POSITION.size:
            if isinstance(self._attached, LogAttachment):
                self._attached.arm(wire.POSITION.unpack(payload)[0])
        else:
            raise UsageError("malformed message on the shim's socket: not for an attached client")

    def close(self) -> None:
        """Hang up."""
        if self.closed:
            return
        self.closed = True
        for watch in (self._reading, self._writing):
            if watch is not None:
                watch.close()
        self._peer.close()
        self._out.clear()
        if self._process is not None and self._attached is not None:
            self._process.detach(self._attached)
        for cleanup in tuple(self.cleanups):
            cleanup()
        self._desk.left(self)


class Server:
    """The listening socket."""

    def __init__(self, loop: Loop, path: str, desk: Desk) -> None:
        self._loop = loop
        self._path = path
        self._desk = desk
        self.connections: set[Connection] = set()
        self._listen()

    def _listen(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.setblocking(False)
            bind(listener, self._path)
            listener.listen(128)
        except OSError:
            listener.close()
            raise
        self._listener = listener
        self._inode = os.stat(self._path).st_ino
        self._watch_door()

    def _watch_door(self) -> None:
        self._watch = self._loop.watch(self._listener.fileno(), self._welcome)

    def _welcome(self) -> None:
        self._accept()

    def _accept(self) -> bool:
        try:
            peer, _ = self._listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):  # it stays readable: not at once again
                self._watch.close()
                self._loop.call_later(_OUT_OF_FILES_PAUSE, self._watch_door)
            return False
        if not allowed(peer):
            peer.close()
            return False
        self.connections.add(Connection(self._loop, peer, self._desk))
        return True

    def leave(self) -> bool:
        """Close the door if nobody stands in it; False (and open as before) if somebody does.

        A client that finds the socket gone takes the lock once we let go of it and starts our
        successor; one that had connected, but was not greeted, does the same.
        """
        with suppress(FileNotFoundError):  # somebody removed the whole state root
            if os.stat(self._path).st_ino == self._inode:  # and did not make another since
                os.unlink(self._path)
        came = self._accept()
        self._watch.close()
        self._listener.close()
        if came and os.path.isdir(os.path.dirname(self._path)):
            self._listen()
            return False
        return not came

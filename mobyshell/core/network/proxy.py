"""Ports passed on by a program, where the kernel cannot: a connection in, a connection out.

`python -m mobyshell.core.network.proxy PIDFILE PROTOCOL|IP|PORT|TO|PORT…`. It listens, goes to the
background, and serves in one loop until it is told to end. A container sees its connections come
from the host. Owns its sockets, and nothing else.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mobyshell.core.network import files

_CHUNK = 1 << 16
_BACKLOG = 512
_MOST_CLIENTS = 4096
_UDP_IDLE = 90.0
_TICK = 10.0


class Loop:
    """What is readable or writable, and who wants to know."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    def want(self, sock: socket.socket, events: int, answer: Callable[[int], None]) -> None:
        """Call `answer` with what a socket is ready for; with no events, never again."""
        known = sock.fileno() in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(sock)
        elif known:
            self._selector.modify(sock, events, answer)
        else:
            self._selector.register(sock, events, answer)

    def run(self, tick: Callable[[], None]) -> None:
        """Serve for ever."""
        last = time.monotonic()
        while True:
            for key, events in self._selector.select(_TICK):
                now = self._selector.get_map().get(key.fd)
                if now is not None and now.fileobj is key.fileobj:  # one before may have hung up
                    key.data(events)
            if time.monotonic() - last > _TICK:
                last = time.monotonic()
                tick()


class Half:
    """One direction of a connection: what was read of `source` and is not yet written."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source, self.target = source, target
        self.waiting = bytearray()
        self.ended = self.closed = False

    def read(self) -> None:
        """Take what there is."""
        try:
            data = self.source.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        self.waiting += data
        self.ended = self.ended or not data

    def write(self) -> None:
        """Pass on what can be; the end too, once all is."""
        if self.waiting:
            try:
                sent = self.target.send(self.waiting)
            except (BlockingIOError, InterruptedError):
                return
            del self.waiting[:sent]
        if self.ended and not self.waiting and not self.closed:
            self.closed = True
            try:
                self.target.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # it closed first


class Connection:
    """A TCP connection and its other half: each end is read only while the other takes."""

    def __init__(self, loop: Loop, client: socket.socket, to: tuple[str, int],
                 gone: Callable[[Connection], None]) -> None:  # fmt: skip
        self._loop, self._gone = loop, gone
        self._client = client
        family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
        self._server = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        client.setblocking(False)
        self._up, self._down = Half(client, self._server), Half(self._server, client)
        code = self._server.connect_ex(to)
        if code not in (0, errno.EINPROGRESS):
            self._server.close()
            raise OSError(code, os.strerror(code))
        self._connecting = code != 0
        self._ask()

    def _ask(self) -> None:
        """Tell the loop what we wait for."""
        if self._connecting:
            self._loop.want(self._server, selectors.EVENT_WRITE, self._ready_server)
            self._loop.want(self._client, 0, self._ready_client)
            return
        for sock, out, into, answer in (
            (self._client, self._up, self._down, self._ready_client),
            (self._server, self._down, self._up, self._ready_server),
        ):
            events = 0
            if not out.ended and len(out.waiting) < _CHUNK:
                events |= selectors.EVENT_READ
            if into.waiting:
                events |= selectors.EVENT_WRITE
            self._loop.want(sock, events, answer)

    def _ready_client(self, events: int) -> None:
        self._pump(events, self._up, self._down)

    def _ready_server(self, events: int) -> None:
        if self._connecting:
            self._connecting = False
            if self._server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.close()
                return
        self._pump(events, self._down, self._up)

    def _pump(self, events: int, out: Half, into: Half) -> None:
        try:
            if events & selectors.EVENT_WRITE:
                into.write()
            if events & selectors.EVENT_READ:
                out.read()
                out.write()
        except OSError:
            self.close()
            return
        if self._up.closed and self._down.closed:
            self.close()
            return
        self._ask()

    def close(self) -> None:
        """Hang up on both."""
        for sock in (self._client, self._server):
            self._loop.want(sock, 0, self._ready_client)
            sock.close()
        self._gone(self)


class TcpPort:
    """A port that is listened on."""

    def __init__(self, loop: Loop, sock: socket.socket, to: tuple[str, int]) -> None:
        self._loop, self._socket, self._to = loop, sock, to
        self._connections: set[Connection] = set()
        sock.listen(_BACKLOG)
        self._listen()

    def _listen(self) -> None:
        events = selectors.EVENT_READ if len(self._connections) < _MOST_CLIENTS else 0
        self._loop.want(self._socket, events, self._accept)

    def _accept(self, events: int) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return
        try:
            self._connections.add(Connection(self._loop, client, self._to, self._gone))
        except OSError:
            client.close()  # no descriptor is left, or no way there
        self._listen()

    def _gone(self, one: Connection) -> None:
        self._connections.discard(one)
        self._listen()

    def tick(self) -> None:
        """Nothing ages here."""


@dataclass(slots=True)
class _Peer:
    socket: socket.socket
    used: float = field(default_factory=time.monotonic)


class UdpPort:
    """A port of datagrams: each sender has a socket towards the container, until it is silent."""

    def __init__(self, loop: Loop, sock: socket.socket, to: tuple[str, int]) -> None:
        self._loop, self._socket, self._to = loop, sock, to
        self._peers: dict[tuple[Any, ...], _Peer] = {}
        loop.want(sock, selectors.EVENT_READ, self._received)

    def _received(self, events: int) -> None:
        try:
            data, sender = self._socket.recvfrom(_CHUNK)
            peer = self._peers.get(sender) or self._meet(sender)
            peer.used = time.monotonic()
            peer.socket.send(data)
        except OSError:
            return  # a datagram may get lost

    def _meet(self, sender: tuple[Any, ...]) -> _Peer:
        if len(self._peers) >= _MOST_CLIENTS:
            raise OSError("too many senders")
        family = socket.AF_INET6 if ":" in self._to[0] else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        sock.connect(self._to)
        peer = self._peers[sender] = _Peer(sock)

        def answered(events: int) -> None:
            try:
                self._socket.sendto(sock.recv(_CHUNK), sender)
                peer.used = time.monotonic()
            except OSError:
                return

        self._loop.want(sock, selectors.EVENT_READ, answered)
        return peer

    def tick(self) -> None:
        """Forget who was silent for long."""
        now = time.monotonic()
        for sender, peer in list(self._peers.items()):
            if now - peer.used > _UDP_IDLE:
                self._loop.want(peer.socket, 0, self._received)
                peer.socket.close()
                del self._peers[sender]


def listen(protocol: str, ip: str, port: int) -> socket.socket:
    """A socket bound to a port. OSError."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    if protocol == "tcp":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((ip, port))
    return sock


def main(argv: list[str]) -> int:
    """Listen, then leave a process of its own that serves. 1 with the reason on stderr if a port
    cannot be had."""
    pidfile, sockets = argv[0], []
    for word in argv[1:]:
        protocol, ip, port, to, inside = word.split("|")
        try:
            if protocol not in _KINDS:
                raise OSError(errno.EPROTONOSUPPORT, f"{protocol} cannot be passed on")
            sockets.append((protocol, listen(protocol, ip, int(port)), (to, int(inside))))
        except OSError as error:
            print(f"port {port}/{protocol}: {error.strerror}", file=sys.stderr)
            return 1
    pid = os.fork()  # nothing but the sockets is here yet, and no thread
    if pid:
        files.write(pidfile, f"{pid} {files.start_time(pid)}\n".encode())
        return 0
    _serve(sockets)
    return 0


def _serve(sockets: Sequence[tuple[str, socket.socket, tuple[str, int]]]) -> None:
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    loop = Loop()
    ports = [_KINDS[protocol](loop, sock, to) for protocol, sock, to in sockets]

    def tick() -> None:
        for one in ports:
            one.tick()

    loop.run(tick)


_KINDS: dict[str, type[TcpPort] | type[UdpPort]] = {"tcp": TcpPort, "udp": UdpPort}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

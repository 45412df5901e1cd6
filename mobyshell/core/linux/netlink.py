"""Netlink sockets: requests to the kernel's networking, and its answers (netlink(7)).

Owns the framing: headers, attributes, acknowledgements with the kernel's own words. What the bodies
mean is in `links` (rtnetlink, by pyroute2's messages) and `nftables`. A socket stays in the network
namespace that it was made in, wherever its process goes.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence

from mobyshell.core.errors import SyscallFailed

REQUEST, ACK, DUMP, CREATE, EXCL, APPEND = 0x1, 0x4, 0x300, 0x400, 0x200, 0x800
NESTED = 0x8000
NETFILTER = 12
_ERROR, _DONE = 2, 3
_DUMP_INTR, _ACK_TLVS, _MESSAGE = 0x10, 0x200, 1
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_LARGEST_ANSWER = 1 << 18
_TRIES = 50


class Netlink:
    """A socket to the kernel, in the network namespace we are in. OSError if there is no such
    family in this kernel."""

    def __init__(self, family: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family
        )
        for option in (_CAP_ACK, _EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0
        self._interrupted = False

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, kind: int, flags: int, body: bytes, what: str) -> Iterator[bytes]:
        """The bodies of the answers. SyscallFailed, with `what` it was about, if it is refused."""
        self._sequence += 1
        self._socket.send(_message(kind, flags | REQUEST, self._sequence, body))
        while True:
            for answer, told, content in self._receive():
                self._interrupted = self._interrupted or bool(told & _DUMP_INTR)
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    _check(told, content, what)
                    return
                yield content
                if not flags & (DUMP | ACK):
                    return

    def dump(self, kind: int, body: bytes, what: str) -> list[bytes]:
        """The bodies of everything there is. What changed meanwhile may be missing or there twice: then
        the kernel says so, and is asked again. SyscallFailed; EBUSY if it changes all the time."""
        for _ in range(_TRIES):
            self._interrupted = False
            found = [*self.ask(kind, DUMP, body, what)]
            if not self._interrupted:
                return found
        raise SyscallFailed("netlink", errno.EBUSY, what=f"{what}, which change all the time")

    def tell(self, kind: int, flags: int, body: bytes, what: str) -> None:
        """Ask for nothing but that it is done. SyscallFailed if it is refused."""
        for _ in self.ask(kind, flags | ACK, body, what):
            pass

    def batch(self, messages: Sequence[tuple[int, int, bytes, str]], ends: tuple[bytes, bytes],
              marks: tuple[int, int]) -> None:  # fmt: skip
        """Several requests `(kind, flags, body, what)` of which all are done, or none: between the
        messages of the kinds `marks` with the bodies `ends`. SyscallFailed for the first refusal."""
        self._sequence += 1
        data = _message(marks[0], REQUEST, self._sequence, ends[0])
        whats = {}
        for kind, flags, body, what in messages:
            self._sequence += 1
            whats[self._sequence] = what
            data += _message(kind, flags | REQUEST | ACK, self._sequence, body)
        self._sequence += 1
        whats[self._sequence] = "committing"
        data += _message(marks[1], REQUEST | ACK, self._sequence, ends[1])
        self._socket.send(data)
        failed: SyscallFailed | None = None
        while whats:
            data = self._socket.recv(_LARGEST_ANSWER)
            for answer, sequence, told, content in _messages(data):
                if answer != _ERROR:
                    continue
                what = whats.pop(sequence, "")
                try:
                    _check(told, content, what)
                except SyscallFailed as error:
                    failed = failed or error
                    if not what or what == "committing":
                        raise failed from None
            if failed is not None and not self._pending():
                raise failed  # after a refusal not everything is answered

    def _pending(self) -> bool:
        try:
            return bool(self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        for kind, sequence, flags, content in _messages(self._socket.recv(_LARGEST_ANSWER)):
            if sequence == self._sequence:
                yield kind, flags, content


def _message(kind: int, flags: int, sequence: int, body: bytes) -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return _HEADER.pack(_HEADER.size + len(body), kind, flags, sequence, 0) + body + padding


def _messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(type, sequence, flags, body) of each message in what was received."""
    while len(data) >= _HEADER.size:
        size, kind, flags, sequence, _ = _HEADER.unpack_from(data)
        if size < _HEADER.size:
            return
        yield kind, sequence, flags, data[_HEADER.size : size]
        data = data[(size + 3) & ~3 :]


def _check(flags: int, content: bytes, what: str) -> None:
    """Raise what an acknowledgement says, with the kernel's own words if it has any."""
    (code,) = struct.unpack_from("=i", content)
    if not code:
        return
    said = ""
    if flags & _ACK_TLVS:
        told = dict(attributes(content[4 + _HEADER.size :]))
        said = told.get(_MESSAGE, b"").rstrip(b"\0").decode(errors="replace")
    raise SyscallFailed(
        "netlink", -code, what=what, hint=f"the kernel says: {said}" if said else ""
    )


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    size = 4 + len(value)
    return struct.pack("=HH", size, kind) + value + b"\0" * (-size % 4)


def nested(kind: int, *parts: bytes) -> bytes:
    """An attribute that holds attributes."""
    return attribute(kind | NESTED, b"".join(parts))


def text(kind: int, value: str) -> bytes:
    """An attribute that is a string."""
    return attribute(kind, os.fsencode(value) + b"\0")


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of each attribute, without the flags of kinds."""
    while len(data) >= 4:
        size, kind = struct.unpack_from("=HH", data)
        if size < 4:
            return
        yield kind & 0x3FFF, data[4:size]
        data = data[(size + 3) & ~3 :]

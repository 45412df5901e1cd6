"""The shim's language: frames of a length, a kind and a payload, on a Unix stream socket.

Owns the frame format and the decoder; pure, does no I/O. A frame is `>IB` (payload length, kind)
and the payload. Kind MESSAGE carries JSON objects: requests `{id, verb, namespace, args}`,
answers `{id, ok}` or `{id, error}`, and what the shim says by itself (`{hello}`, `{event}`,
`{ended, exit_status}`).
The other kinds belong to an attached connection.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from mobyshell.core.errors import UsageError

MESSAGE, STDIN, STDOUT, STDERR, RESIZE, CLOSE_STDIN, LOST, END, ARM, RING = range(10)

HEADER = struct.Struct(">IB")
SIZE = struct.Struct(">HH")
POSITION = struct.Struct(">Q")
STATUS = struct.Struct(">i")

MAX_MESSAGE = 4 << 20
MAX_CHUNK = 64 << 10
USUAL = 4 << 10
"""Bytes in which most requests have room."""
RECEIVED = 64 << 10
"""Bytes to receive at once. The buffer is made anew each time, and from 128 KiB on the C library maps
and unmaps memory for it, which costs more than everything else about a message."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(len(payload), kind) + payload


def message(document: dict[str, Any]) -> bytes:
    """A MESSAGE frame of `document`."""
    return frame(MESSAGE, _encode(document).encode())


def named_head(verb: str, namespace: str, args: dict[str, Any]) -> bytes:
    """A request, all of it but `exec_id`, the name of the process that it makes, and its number: these
    come last, so that what is asked again begins with the same bytes. See `named`."""
    request = {"verb": verb, "namespace": namespace, "args": args}
    return _encode(request)[:-2].encode() + _NAME


def named(head: bytes, name: str, number: int) -> bytes:
    """The MESSAGE frame of a request that begins with `head`. `name` has no letter that JSON escapes."""
    return frame(MESSAGE, b'%b%b"},"id":%d}' % (head, name.encode(), number))


def split_named(payload: bytes) -> tuple[bytes, str, int]:
    """Head, name and number of a request that was written by `named`; else an empty head."""
    head, is_named, rest = payload.rpartition(_NAME)
    name, _, number = rest.partition(_NUMBER)
    if is_named and number[:-1].isdigit() and number.endswith(b"}") and name.isascii():
        return head + _NAME, name.decode(), int(number[:-1])
    return b"", "", 0


def is_message(data: bytes) -> bool:
    """Whether this is one MESSAGE frame and nothing else."""
    if not HEADER.size <= len(data) <= MAX_MESSAGE:
        return False
    length, kind = HEADER.unpack_from(data)
    return bool(kind == MESSAGE and HEADER.size + length == len(data))


def ended(task: str, exec_id: str) -> bytes:
    """A message that tells the exit status of a process, up to that, with which `ended_frame` completes
    it. Names have no letter that JSON escapes."""
    return f'{{"ended":["{task}","{exec_id}"],"exit_status":'.encode()


def ended_frame(begin: bytes, status: int) -> bytes:
    """The MESSAGE frame of it."""
    return frame(MESSAGE, b"%b%d}" % (begin, status))


_NAME, _NUMBER = b',"exec_id":"', b'"},"id":'
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().raw_decode


def parse_message(payload: bytes) -> dict[str, Any]:
    """The JSON object in a MESSAGE frame. Raises UsageError for anything else."""
    try:
        text = payload.decode().strip(_BLANKS)
        document, end = _decode(text)
        if end != len(text):
            raise ValueError("more than one")
    except (ValueError, RecursionError):
        raise UsageError("malformed message on the shim's socket: not JSON") from None
    if not isinstance(document, dict):
        raise UsageError("malformed message on the shim's socket: not an object")
    return document


_BLANKS = " \t\r\n"


class Decoder:
    """Bytes in, frames out. Never holds more than one frame's maximum and what was fed last."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """Whether there is no part of a frame yet."""
        return not self._buffer

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames completed by `data`. Raises UsageError if this cannot become one."""
        if not self._buffer and is_message(data):
            return iter(((MESSAGE, data[HEADER.size :]),))  # as they usually come
        return self._feed(data)

    def _feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        at = 0
        try:
            while len(self._buffer) - at >= HEADER.size:
                length, kind = HEADER.unpack_from(self._buffer, at)
                if kind > RING or length > (MAX_MESSAGE if kind == MESSAGE else MAX_CHUNK):
                    raise UsageError("malformed message on the shim's socket: no such frame")
                end = at + HEADER.size + length
                if len(self._buffer) < end:
                    break
                payload = bytes(self._buffer[at + HEADER.size : end])
                at = end
                yield kind, payload
        finally:
            del self._buffer[:at]

"""The shim's language: frames of a length, a kind and a payload, on a Unix stream socket.

Owns the frame format and the decoder; pure, does no I/O. A frame is `>IB` (payload length, kind)
and the payload. Kind MESSAGE carries JSON objects: requests `{id, verb, namespace, args}`,
answers `{id, ok}` or `{id, error}`, and what the shim says by itself (`{hello}`, `{event}`).
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
RECEIVED = 64 << 10
"""Bytes to receive at once. The buffer is made anew each time, and from 128 KiB on the C library maps
and unmaps memory for it, which costs more than everything else about a message."""


def frame(kind: int, payload: bytes = b"") -> bytes:
    """One frame."""
    return HEADER.pack(len(payload), kind) + payload


def message(document: dict[str, Any]) -> bytes:
    """A MESSAGE frame of `document`."""
    return frame(MESSAGE, _encode(document).encode())


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

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """The frames completed by `data`. Raises UsageError if this cannot become one."""
        if not self._buffer and len(data) >= HEADER.size:
            length, kind = HEADER.unpack_from(data)
            if kind == MESSAGE and HEADER.size + length == len(data) <= MAX_MESSAGE:
                return iter(((kind, data[HEADER.size :]),))  # a message, as they usually come
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

"""Messages between a program and its layers' worker: length, JSON, and descriptors beside them.

Both ends are ours, on a socket pair that nobody else has. What comes back is bounded all the same:
the worker has read a stranger's bytes.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from typing import Any

_LENGTH = struct.Struct("=I")
MOST = 128 << 20
"""Bytes of a message. The answer that lists most is kept below (`Limits.noted`)."""
_MOST_FDS = 4


def send(line: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Send one message, and copies of `fds`. OSError if nobody listens."""
    data = json.dumps(message).encode()
    head = _LENGTH.pack(len(data))
    sent = socket.send_fds(line, [head], fds) if fds else line.send(head)
    line.sendall(head[sent:] + data)


def receive(line: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message with its descriptors, which are the receiver's now; None at the end.

    OSError, ValueError if it is no message.
    """
    head, fds, _, _ = socket.recv_fds(line, _LENGTH.size, _MOST_FDS)
    for fd in fds:
        os.set_inheritable(fd, False)
    if not head:
        return None
    data = _exactly(line, head, _LENGTH.size)
    (size,) = _LENGTH.unpack(data)
    if size > MOST:
        raise ValueError(f"a message of {size} bytes")
    return json.loads(_exactly(line, b"", size)), fds


def _exactly(line: socket.socket, start: bytes, size: int) -> bytes:
    parts, left = [start], size - len(start)
    while left:
        part = line.recv(min(left, 1 << 20))
        if not part:
            raise ConnectionResetError("the other end went away in the middle of a message")
        parts.append(part)
        left -= len(part)
    return b"".join(parts)

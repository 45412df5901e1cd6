"""Asking at a debug socket, and believing nothing of the answer but that it is bounded.

Whoever answers has the uid that was expected, and the pid: a container can bind a socket too.
"""

from __future__ import annotations

import socket
from typing import Any

from mobyshell.core.debug.request import Request, target
from mobyshell.core.errors import MobyshellError, NotFound, Refused, TimedOut
from mobyshell.core.linux import unix_sockets
from mobyshell.core.oci import safejson

_HEAD = 4096


def ask(path: str, pid: int, uid: int, request: Request, patience: float = 30.0) -> Any:
    """The answer of process `pid` (0: whoever listens) of user `uid` at the socket `path`, as JSON
    values.

    `patience`: seconds beyond those that are asked for. NotFound where nobody listens; Refused where
    somebody else does; TimedOut; MobyshellError with what the process said.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(request.seconds + patience)
        try:
            unix_sockets.connect(sock, path)
            if unix_sockets.peer(sock)[1] != uid or pid not in (0, unix_sockets.peer(sock)[0]):
                raise Refused(f"{path} is answered by somebody else than process {pid}")
            sock.sendall(f"GET {target(request)} HTTP/1.1\r\nHost: mobyshell\r\n\r\n".encode())
            data = _read(sock)
        except (TimeoutError, BlockingIOError):  # the latter: as many wait at its door as can
            raise TimedOut(f"process {pid} did not answer in time",
                           hint="it does not get to run Python just now") from None  # fmt: skip
        except (FileNotFoundError, ConnectionError, NotADirectoryError):
            raise NotFound(f"nobody answers at {path}") from None
        except PermissionError:
            raise Refused(f"{path} belongs to another user") from None
    return _body(data)


def _read(sock: socket.socket) -> bytes:
    data = bytearray()
    while more := sock.recv(1 << 16):
        data += more
        if len(data) > safejson.LARGEST + _HEAD:
            raise MobyshellError("the answer of the process is too large")
    return bytes(data)


def _body(data: bytes) -> Any:
    head, found, body = data.partition(b"\r\n\r\n")
    if not found:
        raise MobyshellError("the process hung up in the middle of its answer")
    value = safejson.read_json(body, "the answer of the process")
    if head.startswith(b"HTTP/1.1 200 "):
        return value
    words = value if isinstance(value, dict) else {}
    raise MobyshellError(f"the process says: {words.get('error')}", hint=str(words.get("hint", "")))

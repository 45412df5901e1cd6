"""Unix sockets by path, also a path longer than the 107 bytes of sun_path; and who is at the other
end (unix(7)).

Owns binding for the owner alone, connecting, and the peer's credentials. Never listens.
"""

from __future__ import annotations

import os
import socket
import struct

_CREDENTIALS = struct.Struct("=iII")  # struct ucred: pid, uid, gid


def bind(sock: socket.socket, path: str) -> None:
    """Bind to `path`, for the owner only; in a process without threads, as the umask is everybody's.
    What is there already is replaced: a predecessor's, which was killed; whoever calls this has
    the right to the name. OSError."""
    mask = os.umask(0o177)
    try:
        bind_hidden(sock, path)
    finally:
        os.umask(mask)


def bind_hidden(sock: socket.socket, path: str) -> None:
    """Bind to `path` in a directory that nobody else can enter, as `bind` does. OSError."""
    directory, name = os.path.split(path)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        sock.bind(f"/proc/self/fd/{parent}/{name}")
    finally:
        os.close(parent)


def connect(sock: socket.socket, path: str) -> None:
    """Connect to the socket at `path`. OSError."""
    if len(os.fsencode(path)) < 108:
        sock.connect(path)
        return
    directory, name = os.path.split(path)
    parent = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock.connect(f"/proc/self/fd/{parent}/{name}")
    finally:
        os.close(parent)


def peer(sock: socket.socket) -> tuple[int, int]:
    """(pid, uid) of the other end, as it was when it connected, or listened (SO_PEERCRED)."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def allowed(sock: socket.socket) -> bool:
    """Whether the other end is the same user, or root."""
    return peer(sock)[1] in (0, os.geteuid())

"""NOTIFY_SOCKET: a service manager wants to hear when the container is ready (sd_notify(3)).

The container gets a socket of its own, at /run/notify; READY=1 is passed on, with the pid that
the manager knows the container by.
"""

from __future__ import annotations

import os
import socket as sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

    from mobyshell.core.oci import Spec
    from mobyshell.core.runtime.state import State

DIRECTORY = "notify"
NAME = "notify.sock"
INSIDE = "/run/notify"


def wanted() -> bool:
    """Whether a service manager listens."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def with_socket(spec: Spec, directory: Path) -> Spec:
    """The spec with the socket in its place and in the environment."""
    from dataclasses import replace

    from mobyshell.core.oci import Mount

    assert spec.process is not None
    mount = Mount(
        destination=INSIDE, type="bind", source=str(directory / DIRECTORY),
        options=("bind", "nosuid", "noexec", "nodev", "ro"),
    )  # fmt: skip
    env = (*(spec.process.env or ()), f"NOTIFY_SOCKET={INSIDE}/{NAME}")
    return replace(
        spec, mounts=(*(spec.mounts or ()), mount), process=replace(spec.process, env=env)
    )


def listen(directory: Path) -> sockets.socket | None:
    """The socket that the container writes to; None if it was created without one."""
    place = directory / DIRECTORY
    if not place.is_dir():
        return None
    here = sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM)
    path = place / NAME
    path.unlink(missing_ok=True)
    # by the directory's descriptor: the path may be longer than a socket's name can be
    fd = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        here.bind(f"/proc/self/fd/{fd}/{NAME}")
    finally:
        os.close(fd)
    path.chmod(0o777)
    return here


def wait_ready(here: sockets.socket, state: State) -> None:
    """Pass READY=1 on to the manager; return then, or when the container has ended."""
    import select

    from mobyshell.core.errors import NotFound
    from mobyshell.core.linux import pidfd as pidfds

    try:
        init = pidfds.open_verified(state.pid, state.pid_start)
    except NotFound:
        return
    try:
        while True:
            waited: list[sockets.socket | int] = [here, init]
            ready, _, _ = select.select(waited, [], [])
            if here in ready:
                lines = here.recv(4096).split(b"\n")
                found = [line for line in lines if line.startswith(b"READY=")]
                if found:
                    _tell(b"MAINPID=%d\n%s\n" % (state.pid, found[0]))
                    return
            elif init in ready:
                return
    finally:
        os.close(init)


def _tell(data: bytes) -> None:
    address = os.environ["NOTIFY_SOCKET"]
    with sockets.socket(sockets.AF_UNIX, sockets.SOCK_DGRAM) as manager:
        manager.sendto(data, "\0" + address[1:] if address.startswith("@") else address)

"""Filters that ask somebody: what the agent is told, and the way to it (config-linux.md#seccomp)."""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.oci import Linux, Spec
from mobyshell.core.runtime.plan import INIT, PID
from mobyshell.core.runtime.values import Status

_NOTIFY = "SCMP_ACT_NOTIFY"


def agent_path(linux: Linux | None) -> str:
    """Where the agent of the spec's filter listens; empty if the filter asks nobody."""
    asked = linux.seccomp if linux is not None else None
    if asked is None or not any(one.action == _NOTIFY for one in asked.syscalls or ()):
        return ""
    return asked.listener_path or ""


def process_state(spec: Spec, id: str, bundle: str, status: Status) -> str:
    """The ContainerProcessState as JSON, with placeholders for what only a run knows."""
    version = json.dumps(spec.oci_version)
    asked = spec.linux.seccomp if spec.linux is not None else None
    metadata = asked.listener_metadata if asked is not None else None
    # an id has no character that JSON would escape; but a placeholder has
    state = (
        f'{{"ociVersion": {version}, "id": "{id}", "status": "{status}", "pid": {INIT}, '
        f'"bundle": {json.dumps(bundle)}'
    )
    if spec.annotations:
        state += f', "annotations": {json.dumps(spec.annotations)}'
    told = f'"metadata": {json.dumps(metadata)}, ' if metadata else ""
    return (
        f'{{"ociVersion": {version}, "fds": ["seccompFd"], "pid": {PID}, {told}"state": {state}}}}}'
    )


@contextmanager
def connected(path: str) -> Iterator[dict[str, int]]:
    """A connection to the agent at `path`, as a descriptor to be given; none if the path is empty.

    SyscallFailed if nobody listens there.
    """
    if not path:
        yield {}
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as there:
        there.setblocking(False)  # an agent whose queue is full would keep everybody waiting
        try:
            there.connect("\0" + path[1:] if path.startswith("@") else os.fsencode(path))
        except OSError as error:
            code = error.errno or errno.ENAMETOOLONG
            raise SyscallFailed(
                "connect", code, path=path,
                what="failed to connect with seccomp agent specified in the seccomp profile",
                hint="linux.seccomp.listenerPath is the socket it must listen on",
            ) from None  # fmt: skip
        there.setblocking(True)
        yield {"agent": there.fileno()}

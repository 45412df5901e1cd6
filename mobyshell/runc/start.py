"""start: let the program of a created container run."""

from __future__ import annotations

from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.runtime.steps import run as steps
from mobyshell.runc import notify
from mobyshell.runc.call import Call


def run(call: Call) -> int:
    """`start`."""
    start(call, call.runtime())
    return 0


def start(call: Call, runtime: Runtime) -> None:
    """Start it; with a NOTIFY_SOCKET, until it says that it is ready."""
    socket = notify.listen(call.root() / call.id) if notify.wanted() else None
    try:
        state = steps(runtime.start(call.id))
        if socket is not None:
            notify.wait_ready(socket, state)
    finally:
        if socket is not None:
            socket.close()

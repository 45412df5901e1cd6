"""The worker's process: unpacks what strangers have packed, and nothing else.

    python -I -S process.py FD PATH…      FD: a socket to whoever started it; PATH: where our modules are

It has a umask of 0, is not dumpable, has only the powers that files need, and ends when nobody is
at the other end any more, or after an error: whatever a hostile layer has done to it, the next one
gets another process.
"""

from __future__ import annotations

import gc
import os
import sys

if __name__ == "__main__":  # run by its path, as -I leaves sys.path bare; not to be loaded twice
    # modules stay, and so does what is known of directories: few looks for cycles among them
    gc.set_threshold(50_000, 20, 20)
    sys.path += sys.argv[2:]
    from mobyshell.core.store.layers.process import main as _main

    sys.exit(_main(sys.argv[1:]))

import resource
import select
import socket
import struct
import threading

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux import capabilities
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.layers import wire
from mobyshell.core.store.layers.jobs import JOBS, Job
from mobyshell.core.values import as_dict

_INTERVAL = 100
"""Milliseconds between two messages of progress."""

_NEEDED = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
    "CAP_MKNOD", "CAP_SETFCAP", "CAP_SYS_RESOURCE", "CAP_SYS_ADMIN",
)  # fmt: skip
"""For owners and modes, devices, attributes (`trusted.` needs the last), and the disk's reserve."""
_VERSION_3 = 0x20080522
"""Of struct __user_cap_header_struct (linux/capability.h)."""


class Reporter:
    """A thread that tells how far a job is, and ends the process if nobody wants to know."""

    def __init__(self, line: socket.socket, job: Job) -> None:
        self._line = line
        self._job = job
        self._done = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._line, select.POLLRDHUP)
        poller.register(self._done, select.POLLIN)
        while True:
            ready = dict(poller.poll(_INTERVAL))
            if self._line.fileno() in ready:
                os._exit(1)
            if ready:
                return
            progress = self._job.progress()
            try:
                wire.send(self._line, {"progress": as_dict(progress)})
            except OSError:
                os._exit(1)

    def stop(self) -> None:
        """Nothing is sent any more."""
        os.eventfd_write(self._done, 1)
        self._thread.join()
        os.close(self._done)


def serve(line: socket.socket, request: dict[str, object], fds: list[int]) -> bool:
    """Do one request and answer; whether this process may do another."""
    try:
        job = JOBS[str(request["job"])](request, fds)
        reporter = Reporter(line, job)
        try:
            answer = job.run()
        finally:
            reporter.stop()
    except MobyshellError as error:
        wire.send(line, {"error": error.to_wire()})
        return False
    except OSError as error:
        wire.send(line, {"error": SyscallFailed.of(error, "the layer's worker").to_wire()})
        return False
    wire.send(line, {"answer": answer})
    return True


def _give_up_powers() -> None:
    """Keep what files need, before there is any other thread (capset(2) is of one)."""
    call("prctl", c.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    kept = capabilities.held() & sum(1 << capabilities.number(one) for one in _NEEDED)
    low, high = kept & 0xFFFFFFFF, kept >> 32
    header = struct.pack("=Ii", _VERSION_3, 0)
    call("capset", header, struct.pack("=6I", low, low, 0, high, high, 0))
    call("prctl", c.PR_SET_DUMPABLE, 0)


def main(argv: list[str]) -> int:
    """Serve until the other end is closed."""
    os.umask(0)
    _give_up_powers()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    line = socket.socket(fileno=int(argv[0]))
    line.set_inheritable(False)
    while (received := wire.receive(line)) is not None:
        request, fds = received
        again = serve(line, request, fds)
        for fd in fds:
            os.close(fd)
        if not again:
            return 0
    return 0

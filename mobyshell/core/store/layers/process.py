"""The worker's process: unpacks what strangers have packed, and nothing else.

    python -I -S process.py FD PATH…      FD: a socket to whoever started it; PATH: where our modules are

It has a umask of 0, is not dumpable, and ends when nobody is at the other end any more, or after an
error: whatever a hostile layer has done to it, the next one gets another process.
"""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # run by its path, as -I leaves sys.path bare; not to be loaded twice
    sys.path += sys.argv[2:]
    from mobyshell.core.store.layers.process import main as _main

    sys.exit(_main(sys.argv[1:]))

import resource
import select
import socket
import threading

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.syscalls import call
from mobyshell.core.store.layers import wire
from mobyshell.core.store.layers.jobs import JOBS, Job

_INTERVAL = 100
"""Milliseconds between two messages of progress."""


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
                wire.send(self._line, {"progress": wire.plain(progress)})
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


def main(argv: list[str]) -> int:
    """Serve until the other end is closed."""
    os.umask(0)
    call("prctl", c.PR_SET_DUMPABLE, 0)
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

"""An init for orphans of containers, which the machine's own may be slow to bury, or never bury.

Process 1 of a pid namespace ends only when all others in there have been reaped. Those that a
runtime's `exec --detach` left go to whoever is the nearest subreaper, so tests of a runtime without
a shim need one that does its duty, as engines do.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PR_SET_CHILD_SUBREAPER, _PR_GET_CHILD_SUBREAPER = 36, 37


@contextmanager
def subreaper() -> Iterator[None]:
    """This process adopts orphans for a while."""
    libc, before = ctypes.CDLL(None, use_errno=True), ctypes.c_int()
    libc.prctl(_PR_GET_CHILD_SUBREAPER, ctypes.byref(before), 0, 0, 0)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, before.value, 0, 0, 0)


def bury() -> None:
    """Reap every child of this process that has ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


@contextmanager
def undertaker() -> Iterator[None]:
    """... and buries, in a thread, those that ended in another pid namespace than ours."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.1):
            for pid in _orphans():
                try:
                    os.waitpid(pid, os.WNOHANG)
                except ChildProcessError:
                    continue

    thread = threading.Thread(target=work, daemon=True)
    with subreaper():
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _orphans() -> list[int]:
    """Our zombies with a pid in another namespace as well: nothing that a test started itself."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/status", "rb") as file:
                    status = dict(line.split(b":\t", 1) for line in file if b":\t" in line)
            except (OSError, ValueError):
                continue
            ours = int(status.get(b"PPid", b"0")) == os.getpid()
            if ours and status[b"State"][:1] == b"Z" and len(status[b"NSpid"].split()) > 1:
                found.append(int(name))
    return found

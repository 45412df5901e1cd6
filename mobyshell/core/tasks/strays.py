"""Children that come to the shim without being its own: orphans, from when it is a subreaper.

Owns becoming one and burying strays. Only runtimes that are programs need it: a container's init
is the child of a call that has ended. Then whatever else loses its parent below us (a process
that a runtime left in between, a daemon in a container without a pid namespace) comes here, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import NotFound
from mobyshell.core.linux import procfs
from mobyshell.core.tasks.keeper import become_subreaper
from mobyshell.core.tasks.loop import Loop, Timer

_SOON = 0.5
_LATER = 10.0


class Strays:
    """`known`: the pids that somebody waits for, which are left alone."""

    def __init__(self, loop: Loop, known: Callable[[], set[int]]) -> None:
        self._loop, self._known = loop, known
        self._timer: Timer | None = None
        self._begun = False

    def begin(self) -> None:
        """Be a subreaper from now on, and look now and then. Again: nothing."""
        if not self._begun:
            self._begun = True
            become_subreaper()
            self._again(_LATER)

    def renew(self) -> None:
        """In a forked copy, which does not inherit being a subreaper."""
        if self._begun:
            become_subreaper()

    def soon(self) -> None:
        """Something has ended: look in a moment."""
        if self._begun:
            self._again(_SOON)

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        # a verb under way may have children that it is about to wait for
        if self._loop.driving == 0:
            known = self._known()
            for pid in children():
                if pid not in known:
                    bury(pid)
        self._again(_LATER)


def children() -> list[int]:
    """The children of this process, which has one thread (proc_tid_children(5))."""
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []  # a kernel without it: they stay until we go


def bury(pid: int) -> None:
    """Let a child go if it has ended."""
    try:
        if procfs.stat(pid).state == "Z":
            os.waitpid(pid, os.WNOHANG)
    except (NotFound, ChildProcessError):
        pass  # somebody was faster

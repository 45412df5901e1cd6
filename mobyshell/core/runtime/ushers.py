"""Which containers have an usher, and what is known of those: so that the next exec looks at little.

Owns the look (is it still the same container, does it run), and the coming and going of ushers. An
exec plan is fit for one if nobody else has to do anything meanwhile, and everything that the process
is given comes with the order.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux import cgroups
from mobyshell.core.linux import pidfd as pidfds
from mobyshell.core.oci import Process, Spec, load_spec
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.executor import Executor, stands
from mobyshell.core.runtime.prepared import Prepared
from mobyshell.core.runtime.program import Program
from mobyshell.core.runtime.usher import Usher, post

KEPT = 16
"""Ushers at a time; the one that was longest without work goes first."""
_PLANS = 8


class Known:
    """A container with its usher, which has walked the JOIN part of `prepared`."""

    def __init__(
        self, path: Path, state: states.State, groups: dict[str, str], usher: Usher,
        prepared: Prepared,
    ) -> None:  # fmt: skip
        self.state, self.groups, self.usher = state, groups, usher
        self.used = time.monotonic()
        self._ready: tuple[Prepared, int, Program] | None = None
        with ExitStack() as opened:
            # when one of them is written anew, that is another file, and these have no name any more
            state_file, config_file = (
                _opened(f"{path}/{one}", opened) for one in (states.STATE, "config.json")
            )
            self._files = state_file, config_file
            self._seen = _look(state_file, config_file)
            self.spec: Spec = load_spec(path)
            self._freezer, self._thawed = _freezer(groups)
            opened.pop_all()
        self._joined = prepared.operations("join")
        self._plans = [prepared]
        self._last: tuple[Process | None, object, Prepared] = None, None, prepared
        self.closed = False

    def same(self) -> bool:
        """Whether it is what it was. That it has ended, the usher will find."""
        state, config = self._files
        return _look(state, config) == self._seen

    def thawed(self) -> bool:
        """Whether it is not paused."""
        try:
            return self._freezer < 0 or self._thawed in os.pread(self._freezer, 256, 0)
        except OSError:
            return False

    def fits(self, prepared: Prepared) -> bool:
        """Whether the usher is where the plan wants its process to be."""
        if prepared not in self._plans:
            if not fit(prepared) or prepared.operations("join") != self._joined:
                return False
            self._plans = [*self._plans[1 - _PLANS :], prepared]
        return True

    def remember(self, process: Process, asked: object, prepared: Prepared) -> None:
        """What it was asked for, and by what that is made; it is often the same again."""
        self._last = process, asked, prepared

    def last(self, process: Process, asked: object) -> Prepared | None:
        """What makes it, if it is asked for the very same as the last time."""
        before, was_asked, prepared = self._last
        return prepared if before is process and was_asked == asked else None

    @property
    def idle(self) -> bool:
        """Whether there is an usher that has nothing to do, and nothing ready for its next order."""
        return not (self.closed or self.usher.busy or self._ready)

    def keep(self, prepared: Prepared, uid: int, program: Program) -> None:
        """Have what was prepared for an order until that comes."""
        self._ready = prepared, uid, program

    def take(self, prepared: Prepared, uid: int) -> Program | None:
        """What was prepared for such an order."""
        if self._ready is None:
            return None
        (of, whose, program), self._ready = self._ready, None
        if of is prepared and whose == uid:
            return program
        of.give("child", program)
        return None

    def close(self) -> None:
        """Dismiss the usher."""
        self.closed = True
        self.usher.close()
        if self._ready is not None:
            prepared, _, program = self._ready
            prepared.give("child", program)
            self._ready = None
        for fd in (*self._files, self._freezer):
            if fd >= 0:
                os.close(fd)


def _opened(path: str, opened: ExitStack) -> int:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    opened.callback(os.close, fd)
    return fd


def _look(one: int, other: int) -> tuple[int, ...]:
    """What is another when one of two files was changed, or is not that of its name any more."""
    a, b = os.fstat(one), os.fstat(other)
    return a.st_ctime_ns, a.st_nlink, a.st_size, b.st_ctime_ns, b.st_nlink, b.st_size


def _freezer(groups: Mapping[str, str]) -> tuple[int, bytes]:
    """What tells whether the groups are frozen (-1: nothing does), and what it says if not."""
    found = cgroups.freezer(groups)
    if found is None:
        return -1, b""
    directory, file, _, thawed = found
    if file == "freezer.state":
        return os.open(f"{directory}/{file}", os.O_RDONLY | os.O_CLOEXEC), thawed.encode()
    return os.open(f"{directory}/cgroup.events", os.O_RDONLY | os.O_CLOEXEC), b"frozen 0"


def fit(prepared: Prepared) -> bool:
    """Whether an usher can make the process of a plan."""
    plan = prepared.template
    return prepared.has("join") and not (
        plan.attended or plan.agent or plan.terminal or prepared.has("attach")
    )


class Ushers:
    """The containers of one runtime that have one, by id."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._refused: dict[str, int] = {}

    def of(self, id: str) -> Known | None:
        """The container, if it has an usher, is what it was, and runs."""
        known = self._known.get(id)
        if known is not None and not known.same():
            self.dismiss(id)
        return self.free(id)

    def free(self, id: str) -> Known | None:
        """The container, if it has an usher that is free, and is not paused. Whether it is what it was is
        still to be looked at."""
        known = self._known.get(id)
        if known is None or known.usher.busy or not known.thawed():
            return None
        known.used = time.monotonic()
        return known

    def may(self, state: states.State, prepared: Prepared, executor: Executor) -> bool:
        """Whether there may be an usher for such a plan, where there is none that is free."""
        known = self._known.get(state.id)
        return (
            stands(executor) and fit(prepared)
            and self._refused.get(state.id) != state.pid
            and (known is None or not known.usher.busy)
        )  # fmt: skip

    def post(
        self, path: Path, state: states.State, groups: dict[str, str], prepared: Prepared,
        executor: Executor, opened: dict[str, int],
    ) -> Known:  # fmt: skip
        """An usher for a container that runs, with what is `opened` of its cgroups. MobyshellError or
        OSError if there can be none."""
        assert stands(executor)
        self.dismiss(state.id)
        init = pidfds.open_verified(state.pid, state.pid_start)
        try:
            program = prepared.take("join", {"id": state.id, "init": str(state.pid)})
            usher = post(executor, program, init, state.pid, opened)
        finally:
            os.close(init)
        try:
            known = Known(path, state, groups, usher, prepared)
        except (MobyshellError, OSError):
            usher.close()
            raise
        while len(self._known) >= KEPT:
            self.dismiss(min(self._known.items(), key=lambda one: one[1].used)[0])
        self._known[state.id] = known
        return known

    def failed(self, known: Known, code: int) -> None:
        """An usher has made no process, for this reason (0: it did not get so far). It goes; and there
        is no other, if that could not do it either."""
        self.dismiss(known.state.id)
        if code in (0, errno.EINVAL):
            self._refused[known.state.id] = known.state.pid

    def rest(self, seconds: float) -> bool:
        """Dismiss those without work for so long; whether there are any left."""
        before = time.monotonic() - seconds
        for id in [id for id, known in self._known.items() if known.used <= before]:
            self.dismiss(id)
        return bool(self._known)

    def dismiss(self, id: str) -> None:
        """Let go of a container."""
        known = self._known.pop(id, None)
        if known is not None:
            known.close()

    def forget(self, id: str) -> None:
        """The container is gone."""
        self.dismiss(id)
        self._refused.pop(id, None)

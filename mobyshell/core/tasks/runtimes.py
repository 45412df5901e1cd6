"""What runs a task: our own runtime in this process, or the binary of another one.

Owns the seam (`TaskRuntime`), the choice by a task's record, and how a name becomes a program.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mobyshell.core.errors import Unsupported, UsageError
from mobyshell.core.runtime.delete import NOBODY
from mobyshell.core.runtime.spare import Spare
from mobyshell.core.tasks.records import Record

if TYPE_CHECKING:
    from mobyshell.core.oci import Process, Spec
    from mobyshell.core.runtime import Container, ExecProcess, Runtime, State, Stdio
    from mobyshell.core.runtime.steps import Steps
    from mobyshell.core.runtime.values import RootMount
    from mobyshell.core.tasks.foreign import ForeignRuntime
    from mobyshell.core.tasks.loop import Timer
    from mobyshell.core.tasks.process import House

OWN = "mobyshell"
_A_WHILE = 0.2
_SOON, _AHEAD = 0.05, 2.0
"""Seconds until it is looked what was made ahead, and for which that is kept."""
_ALSO = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin", "/bin")
"""Where runtimes are that a user's $PATH may not name."""


class TaskRuntime(Protocol):
    """The verbs of a runtime, as the shim drives them. Errors are the tree of `core.errors`.

    `meanwhile` (and `begun`) is called, by a runtime that can, when what it makes is under way, and may
    still fail.
    """

    def create(
        self, id: str, bundle: str, *, stdio: Stdio, spec: Spec | None = None, rows: int = 0,
        columns: int = 0, rootfs: RootMount | None = None,
        meanwhile: Callable[[Container], None] | None = None, keep: Sequence[str] = (),
    ) -> Steps[Container]: ...  # fmt: skip

    def start(
        self, id: str, *, meanwhile: Callable[[State], None] | None = None
    ) -> Steps[State]: ...

    def exec(
        self, id: str, process: Process, *, stdio: Stdio, rows: int = 0, columns: int = 0,
        meanwhile: Callable[[], None] | None = None,
        begun: Callable[[ExecProcess], None] | None = None,
    ) -> Steps[ExecProcess]: ...  # fmt: skip

    def kill(self, id: str, number: int, *, all_processes: bool = False) -> Steps[None]: ...

    def pause(self, id: str) -> Steps[None]: ...

    def resume(self, id: str) -> Steps[None]: ...

    def delete(
        self, id: str, *, force: bool = False, keep: Sequence[str] = (),
        known: Mapping[int, int] = NOBODY,
    ) -> Steps[None]: ...  # fmt: skip

    def update(self, id: str, resources: Mapping[str, Any]) -> Steps[None]: ...


_RESTING = 60.0
"""Seconds without an exec after which nothing is kept ready for the next one."""


def find_program(name: str) -> str:
    """The path of the runtime `name`: empty for our own. Unsupported if there is none.

    A name is looked for in $PATH, where the system keeps its programs, and beside our own.
    """
    if name == OWN:
        return ""
    if not name or "\0" in name or name.startswith("-"):
        raise UsageError(f"{name!r:.100} is no runtime", hint="mobyshell, runc, crun, or a path")
    if "/" in name:
        path = os.path.abspath(name)
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
        raise Unsupported(f"there is no runtime at {path}", hint="give the path of its program")
    places = [*os.environ.get("PATH", "").split(":"), *_ALSO, os.path.dirname(sys.executable)]
    found = shutil.which(name, path=":".join(place for place in places if place.startswith("/")))
    if found is None:
        raise Unsupported(
            f"there is no runtime {name!r} in $PATH",
            hint="install it (Debian, Ubuntu: apt install runc crun), or give the path of its program",
        )
    return found


class Runtimes:
    """The runtimes of all namespaces, made when they are asked for. `met`: called before the
    first one that is not our own is used."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._own: dict[str, Runtime] = {}
        self._timer: Timer | None = None
        self._ahead: Timer | None = None
        house.endings.append(self._ended)
        self._spare = Spare(lambda free: house.loop.call_later(_A_WHILE, free))

    def own(self, namespace: str) -> Runtime:
        """Our own runtime for a namespace."""
        found = self._own.get(namespace)
        if found is None:
            from mobyshell.core.runtime import Runtime

            found = self._own[namespace] = Runtime(
                Path(self._house.state) / namespace,
                sink=self._house.journal.sink(namespace),
                clock=self._house.clock,
                ushers=True,
                spare=self._spare,
                sweep=self._house.broom.place,
            )
        return found

    def executed(self) -> None:
        """Our own runtime may hold on to a container now: let go of it in a while."""
        if self._timer is None:
            self._timer = self._house.loop.call_later(_RESTING / 2, self._look)

    def foresee(self, namespace: str) -> None:
        """A container is going to be made, or made room for: what one like the last one wants of the
        kernel is made from now on, beside what we do. It is not kept for long."""
        found = self._own.get(namespace)
        if found is not None and found.foresee() and self._ahead is None:
            self._ahead = self._house.loop.call_later(_SOON, self._look_ahead)

    def _look_ahead(self) -> None:
        self._ahead = None
        left = [runtime.rest_ahead(_AHEAD) for runtime in self._own.values()]
        if any(left):
            self._ahead = self._house.loop.call_later(_AHEAD / 2, self._look_ahead)

    def _look(self) -> None:
        self._timer = None
        if self.rest(_RESTING):
            self.executed()

    def rest(self, seconds: float = 0) -> bool:
        """Have nothing kept ready that was not used for so long; whether there is something else."""
        left = [runtime.rest(seconds) for runtime in self._own.values()]
        return any(left)

    def _ended(self, record: Record) -> None:
        found = self._own.get(record.namespace)
        if found is not None and not record.exec_id:
            found.leave(record.id)

    def foreign(self, record: Record) -> ForeignRuntime:
        """The one of a record that is not our own's."""
        from mobyshell.core.tasks.foreign import ForeignRuntime

        return ForeignRuntime(
            Path(self._house.state) / record.namespace, record.runtime_path,
            sink=self._house.journal.sink(record.namespace), clock=self._house.clock,
        )  # fmt: skip

    def of(self, record: Record) -> TaskRuntime:
        """What runs the task of a record."""
        if record.runtime_path:
            return self.foreign(record)
        return self.own(record.namespace)

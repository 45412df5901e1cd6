"""Hearing of tasks that ran out of the memory they were given: `/tasks/oom`, as containerd tells it.

Owns who is listened to, and how: an eventfd at v1's memory.oom_control (memory.rst, "OOM Control"), or
an inotify watch on v2's memory.events (cgroup-v2.rst). A task that lives only for a moment is not
listened to; if it was killed, its group is asked when it has ended.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import TaskOOM
from mobyshell.core.linux import cgroups
from mobyshell.core.linux.inotify import Modified
from mobyshell.core.runtime import out_of_memory
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.out_of_memory import V1, V2, kills
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import Record
from mobyshell.core.values import variable

_MOMENT = 0.25
"""Seconds after its start, in which many a task is over."""
_KILLED = 128 + 9


@variable
class _Heard:
    """A task that is listened to. `kills`: how often the kernel had killed there when it was last
    asked; `close`: listen no more."""

    process: Process
    group: str
    file: str
    kills: int
    told: bool = False
    close: Callable[[], None] = lambda: None


class OutOfMemory:
    """All tasks of a shim. Tell it of each that was started or adopted, and of each end."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._heard: dict[tuple[str, str], _Heard] = {}
        self._modified: Modified | None = None
        house.endings.append(self._ended)

    def begin(self, process: Process, *, adopted: bool = False) -> None:
        """Listen to a task, if it is still there in a moment; what its group has lost by then is told,
        unless it was `adopted`, and its first shim has told it."""
        self._house.loop.call_later(_MOMENT, lambda: self._listen(process, adopted))

    def _listen(self, process: Process, adopted: bool) -> None:
        key = process.namespace, process.record.id
        if not process.alive or key in self._heard:
            return
        place = self._place(process.record)
        if place is None:
            return
        group, file = place
        heard = _Heard(process, group, file, kills(group, file) if adopted else 0)
        try:
            heard.close = self._by_eventfd(heard) if file == V1 else self._by_inotify(heard)
        except (OSError, MobyshellError):
            pass  # no descriptor or watch is left: it is asked at its end
        self._heard[key] = heard
        if not adopted:
            # killed already, and its end is not heard of yet: on a loaded machine a moment is long
            self._ask(heard)

    def _place(self, record: Record) -> tuple[str, str] | None:
        """The group of a task's memory, and the file that tells; None where there is none."""
        try:
            found = dict(states.read(Path(self._house.state, record.namespace), record.id).cgroups)
        except MobyshellError:
            # another runtime keeps it elsewhere
            try:
                found = dict(cgroups.detect(f"/proc/{record.pid}/cgroup").own)
            except (MobyshellError, OSError):
                return None
        return out_of_memory.place(found)

    def _by_eventfd(self, heard: _Heard) -> Callable[[], None]:
        ring = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        try:
            control = os.open(f"{heard.group}/{V1}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                cgroups.write(heard.group, "cgroup.event_control", f"{ring} {control}")
            finally:
                os.close(control)
        except BaseException:
            os.close(ring)
            raise

        def rung() -> None:
            os.eventfd_read(ring)
            if os.path.exists(
                f"{heard.group}/{V1}"
            ):  # it rings for the last time as the group goes
                self._tell(heard)

        watch = self._house.loop.watch(ring, rung)

        def close() -> None:
            watch.close()
            os.close(ring)

        return close

    def _by_inotify(self, heard: _Heard) -> Callable[[], None]:
        if self._modified is None:
            self._modified = Modified()
            self._house.loop.watch(self._modified.fd, self._look)
        modified = self._modified
        number = modified.add(f"{heard.group}/{V2}")
        return lambda: modified.drop(number)

    def _look(self) -> None:
        """Of whichever groups it is, something in their counters has changed."""
        assert self._modified is not None
        changed = self._modified.read()
        for heard in tuple(self._heard.values()):
            if f"{heard.group}/{V2}" in changed:
                self._ask(heard)

    def _ask(self, heard: _Heard) -> None:
        now = kills(heard.group, heard.file)
        if now > heard.kills:
            heard.kills = now
            self._tell(heard)

    def _tell(self, heard: _Heard) -> None:
        heard.told = True
        heard.process.announce(TaskOOM())

    def _ended(self, record: Record) -> None:
        if record.exec_id:
            return
        heard = self._heard.pop((record.namespace, record.id), None)
        if heard is not None:
            heard.close()
        if record.exit_status != _KILLED or (heard is not None and heard.told):
            return
        where = self._place(record) if heard is None else (heard.group, heard.file)
        before = 0 if heard is None else heard.kills
        if where is not None and kills(*where) > before:
            self._house.journal.emit(record.namespace, record.id, TaskOOM())

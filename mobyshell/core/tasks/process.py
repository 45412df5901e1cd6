"""One process the shim answers for: a task's init or a further process in it.

Owns its streams, its log, its attached clients, and how its end becomes known: drained, written
down, only then announced. Makes no processes and gives no orders; that is the runtime's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from mobyshell.core.clock import Clock
from mobyshell.core.errors import WrongState
from mobyshell.core.events import Payload, TaskExited, TaskRestarting
from mobyshell.core.tasks import exits
from mobyshell.core.tasks.attach import (
    Attached,
    InputAttachment,
    Line,
    LiveAttachment,
    LogAttachment,
)
from mobyshell.core.tasks.broom import Broom
from mobyshell.core.tasks.held import held_name, hold
from mobyshell.core.tasks.holder import Holder
from mobyshell.core.tasks.intake import Intake
from mobyshell.core.tasks.journal import Journal
from mobyshell.core.tasks.logs import LogWriter, segment_path
from mobyshell.core.tasks.loop import Loop, Timer, Watch
from mobyshell.core.tasks.paths import LOGS
from mobyshell.core.tasks.records import PROBE, UNKNOWN_STATUS, Record, write_record
from mobyshell.core.tasks.stock import Stock
from mobyshell.core.tasks.streams import OUTPUTS, Input, Output, Terminal
from mobyshell.core.values import field, value

_ASK_AGAIN = 0.02
_ASK_TIMES = 150
_START_FIRST = 1.0
"""Seconds for which an end is held back until the start it followed was reported (a poststart
hook may take longer)."""


@value
class House:
    """What every part of the shim shares."""

    state: str
    loop: Loop
    clock: Clock
    intake: Intake
    holder: Holder
    journal: Journal
    broom: Broom
    stock: Stock
    endings: list[Callable[[Record], None]] = field(default_factory=list)
    """Who hears of a process's end before anybody is told."""
    starts: list[Callable[[Process], None]] = field(default_factory=list)
    """Who hears of a task that was started, once that is written down."""


class Process:
    """A live (or just ended) process. `ended` is called once, after its end was written down.

    `ours`: the shim's ends: stdin, stdout, stderr, or master. All are closed in `close`. `fresh`:
    its directory was made just now. `kept`: see `Ends`. Unless it is `watched`, its program may never come to
    run: whoever made it says so, or calls `watch`.
    """

    def __init__(
        self, house: House, namespace: str, directory: str, record: Record, pidfd: int,
        ours: dict[str, int], ended: Callable[[Process], None], *, fresh: bool = False,
        kept: tuple[int, ...] = (), watched: bool = True,
    ) -> None:  # fmt: skip
        self.namespace = namespace
        self.directory = directory
        self.record = record
        self.pidfd = pidfd
        self.attached: list[Attached] = []
        self.ever_attached = False
        self._last_words: bytes | None = None
        """What a terminal showed that nobody has ever looked at: whoever made the process is on the
        way, however short its life was."""
        self.waiters: list[Callable[[int], None]] = []
        self._house = house
        self._ended = ended
        self._asked = 0
        self._kept = kept
        self._starting = False
        self._timer: Timer | None = None
        self._log: LogWriter | None = None
        self._logged = 0
        if self.alive or ours:
            self._log = LogWriter(f"{directory}/{LOGS}", fresh=fresh)
        self.terminal: Terminal | None = None
        self.input: Input | None = None
        self._outputs: list[Output] = []
        self._wire_up(ours)
        hold(house.holder, record, directory, pidfd, ours)
        self._watch: Watch | None = None
        if watched:
            self.watch()

    def watch(self) -> None:
        """Hear of its end."""
        if self.pidfd >= 0:
            self._watch = self._house.loop.watch(self.pidfd, self._ask)
        elif self.alive:
            self._house.loop.call_soon(self._ask)

    def _name(self, kind: str) -> str:
        return held_name(self.record, self.namespace, kind)

    def _wire_up(self, ours: dict[str, int]) -> None:
        house, log = self._house, self._log
        if log is None:
            return
        if "master" in ours:
            self.terminal = Terminal(house.loop, house.clock, ours["master"], log, self._live)
            self.input = self.terminal.input
        if "stdin" in ours:
            self.input = Input(house.loop, ours["stdin"], terminal=False)
        for name in OUTPUTS:
            if name in ours:
                self._outputs.append(
                    Output(house.loop, house.intake, ours[name], name, log, self._grown, self._dry)
                )

    @property
    def alive(self) -> bool:
        return self.record.exit_status is None

    def save(self) -> None:
        """Write the record down."""
        write_record(self.directory, self.record)

    # output

    def _live(self, data: bytes) -> None:
        for attached in self.attached:
            attached.data(data)

    def _grown(self) -> None:
        if self._log is not None:
            for attached in tuple(self.attached):
                attached.grown(self._log.end)

    def _dry(self, output: Output) -> None:
        """An output stream has ended."""
        self._outputs.remove(output)
        self._house.holder.drop_later(self._name(output.name))
        self._close_log()

    def said(self, most: int) -> bytes | None:
        """Its whole log, if that is no more than `most` bytes."""
        end = self._log.end if self._log is not None else self._logged
        if end > most:
            return None
        if not end:
            return b""
        with open(segment_path(f"{self.directory}/{LOGS}", 0), "rb") as file:
            return file.read(end)

    def _close_log(self) -> None:
        if self._log is not None and not self.alive and not self._outputs:
            self._logged = self._log.end
            self._log.close()
            self._log = None

    # clients

    def attach(self, line: Line) -> tuple[Attached, dict[str, object], bytes]:
        """A new attached client, what it is told, and what it is shown first.

        WrongState once the process is over and was on a terminal, which is gone then; only the first
        who attaches is shown what was on it.
        """
        if self.record.terminal:
            live = LiveAttachment(line)
            if self.terminal is not None:
                self.ever_attached = True
                self.attached.append(live)
                return live, {"terminal": True}, self.terminal.recent()
            if self._last_words is not None:
                shown, self._last_words = self._last_words, None
                return live, {"terminal": True}, shown
            raise WrongState(
                f"{self.label} has ended, and its terminal with it",
                hint="its output is in the log",
            )
        attachment = LogAttachment(line)
        end = self._log.end if self._log is not None else self._logged
        whole = self.record.exec_id and not self.ever_attached
        start = 0 if whole else max(0, end - Terminal.KEPT)
        self.ever_attached = True
        if self.alive:
            self.attached.append(attachment)
            attachment.grown(end)
        told = {"terminal": False, "position": start, "log": f"{self.directory}/{LOGS}"}
        return attachment, told, b""

    def attach_input(self, line: Line) -> Attached:
        """A client that only sends. WrongState once the process is over."""
        if not self.alive:
            raise WrongState(f"{self.label} has ended")
        self.attached.append(attached := InputAttachment(line))
        return attached

    def detach(self, attached: Attached) -> None:
        """A client has left."""
        if attached in self.attached:
            self.attached.remove(attached)

    def finish_input(self) -> None:
        """Pass the end of input on."""
        if self.input is not None:
            self.input.finish()
            if self.terminal is None:  # the keeper's copy would keep the FIFO from ending
                self._house.holder.drop_now(self._name("stdin"))

    @property
    def label(self) -> str:
        exec_id = self.record.exec_id
        return (
            f"process {exec_id} of task {self.record.id}" if exec_id else f"task {self.record.id}"
        )

    # the end

    def start_begins(self) -> None:
        """Its program is being let go: should it end at once, that is news after the start."""
        self._starting = True

    def start_ended(self) -> None:
        """The start was reported, or has failed."""
        self._starting = False
        if self._timer is not None and self.alive:
            self._timer.cancel()
            self._timer = self._house.loop.call_later(0, self._ask)

    def _ask(self) -> None:
        """The pidfd says it has ended: how?"""
        if self._starting:
            self._starting = False
            self._unwatch()
            self._timer = self._house.loop.call_later(_START_FIRST, self._ask)
            return
        time_ns = 0
        try:
            if self.pidfd < 0:
                raise ChildProcessError
            status = exits.of_child(self.pidfd)
            if status is None:
                return
        except ChildProcessError:
            found = exits.of_stranger(
                self.pidfd, self.directory, self.record.pid, self.record.pid_start
            )
            if found is None:
                self._ask_later()
                return
            status, time_ns = found
        self._finish(status, time_ns)

    def _ask_later(self) -> None:
        """It ended, but who knows how has not said it yet. Without a pidfd there is nobody."""
        self._unwatch()
        self._asked += 1
        if self._asked > _ASK_TIMES or self.pidfd < 0:
            self._finish(UNKNOWN_STATUS, 0)
        else:
            self._timer = self._house.loop.call_later(_ASK_AGAIN, self._ask)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _close_kept(self) -> None:
        kept, self._kept = self._kept, ()
        for fd in kept:
            os.close(fd)

    def _finish(self, status: int, time_ns: int) -> None:
        for output in tuple(self._outputs):
            if output.waiting:
                output.drain()
        if self.terminal is not None:
            self.terminal.drain()
        record = self.record
        record.exit_status = status
        record.exited_ns = time_ns or self._house.clock.now_ns()
        record.paused = False
        if not record.exec_id:
            record.next_run(self._house.clock.now_ns())
        if record.exec_id:
            # nobody but us and who waits knows it by its record; and until that is written, the zombie
            # says to a successor, or to the keeper, what has been said here
            self._tell(status)
        for hear in self._house.endings:
            hear(record)
        try:
            self.save()
        except FileNotFoundError:
            pass  # being deleted: who deletes it is told, and nobody else will ask
        record.fixed = ""
        if self.pidfd >= 0:
            exits.reap(self.pidfd)
        # it is written, and it is gone: whoever waits need not wait for the rest
        self._tell(status)
        self._unwatch()
        self._close_kept()
        self.drain()  # whoever is left behind may have written; if nobody is, this is the end
        if not record.exec_id.startswith(PROBE):
            self.announce(TaskExited(record.pid, status, record.exec_id))
        if record.restart_ns:
            self.announce(TaskRestarting(record.restart, record.restarts + 1, record.pause_ms))
        with self._house.holder.together():
            self._let_go()
        for attached in tuple(self.attached):
            attached.end(status)
        self._close_log()
        self._ended(self)

    def _tell(self, status: int) -> None:
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            waiter(status)
        if waiters:
            os.sched_yield()  # they would be kept waiting for this processor by what follows

    def announce(self, payload: Payload) -> None:
        """Emit an event about the task."""
        self._house.journal.emit(self.namespace, self.record.id, payload)

    def drain(self) -> None:
        """Log what it, or whoever it left behind, has written and nobody has read yet."""
        for output in tuple(self._outputs):
            output.drain()

    def _let_go(self) -> None:
        """Of what only a live process needs."""
        holder = self._house.holder
        if self.pidfd >= 0:
            holder.drop_later(self._name("pidfd"))
            holder.unwatch(self.record.pid)
            os.close(self.pidfd)
            self.pidfd = -1
        if self.input is not None:
            holder.drop(self._name("stdin"))
            self.input.close()
        if self.terminal is not None:
            holder.drop(self._name("master"))
            if not self.ever_attached:
                self._last_words = self.terminal.recent()
            self.terminal.close()
            self.terminal = None

    def _status_now(self) -> int:
        status = None
        if self.pidfd >= 0:
            with suppress(ChildProcessError):
                status = exits.of_child(self.pidfd)
        return UNKNOWN_STATUS if status is None else status

    def came_to_nothing(self) -> None:
        """It is gone, and its pidfd closed, by who has made it."""
        self.pidfd = -1
        self.close()

    def close(self) -> None:
        """Let go of everything. Nobody is told, but who waits for an end that we shall not see."""
        if self._timer is not None:
            self._timer.cancel()
        self._unwatch()
        if self.waiters:
            self._tell(self._status_now())
        if self.pidfd >= 0:
            exits.reap(self.pidfd)
        self._close_kept()
        self._let_go()
        for output in tuple(self._outputs):
            self._house.holder.drop(self._name(output.name))
            output.close()
        self._outputs.clear()
        if self._log is not None:
            self._log.close()
            self._log = None

"""The shim: the parent of every task of a state root.

Owns the tables of live tasks, their adoption from a dead predecessor, and the shim's coming and
going. Single-threaded; what a request means is in `verbs`. `main` is what the keeper executes, with
descriptors as `keeping` says.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from mobyshell.core.clock import SystemClock
from mobyshell.core.errors import MobyshellError
from mobyshell.core.linux.memory import give_back, keep_freed, let_go_of_files
from mobyshell.core.linux.syscalls import call
from mobyshell.core.tasks import adopt, keeper, keeping
from mobyshell.core.tasks.broom import Broom
from mobyshell.core.tasks.debugging import DebugDoor
from mobyshell.core.tasks.healthchecks import HEALTHCHECK, read_check
from mobyshell.core.tasks.holder import Holder
from mobyshell.core.tasks.intake import Intake
from mobyshell.core.tasks.journal import Journal
from mobyshell.core.tasks.loop import Loop, Timer
from mobyshell.core.tasks.oom import OutOfMemory
from mobyshell.core.tasks.paths import DEBUG_SOCKET, DIARY, LOCK, SOCKET, STAGING
from mobyshell.core.tasks.process import House, Process
from mobyshell.core.tasks.records import PROBE
from mobyshell.core.tasks.restarting import Restarter
from mobyshell.core.tasks.runtimes import Runtimes
from mobyshell.core.tasks.server import Connection, Reply, Server
from mobyshell.core.tasks.stock import Stock
from mobyshell.core.tasks.strays import Strays
from mobyshell.core.tasks.tables import Tables
from mobyshell.core.tasks.verbs import Verbs

if TYPE_CHECKING:
    from mobyshell.core.tasks.health import Health

_DIARY_BYTES = 256 << 10
_FREED = 2 << 20
"""Bytes that are kept: the calls of a container are a quarter of a megabyte of text."""
_QUIET = 0.2
"""Seconds without a request after which freed memory is given back: whoever asks more often would have
every page of it cleared anew."""
_GARBAGE = 10_000
"""Objects between two looks for cycles: a verb makes hundreds, and hardly any cycle."""
_STAGING_NAMES = ("/staging/take", "/staging/put")


class Shim:
    """One shim's life."""

    def __init__(
        self, state: str, line: socket.socket, held: dict[str, int], linger: float
    ) -> None:
        self._state = state
        self._linger = linger
        self._timer: Timer | None = None
        self._asked = 0.0
        """When somebody last did; 0 if all was given back since."""
        self._keeper_lost = False
        self._loaded = 0
        """How many modules were when we last tidied up."""
        clock = SystemClock()
        self.loop = Loop(self._report)
        self.holder = Holder(self.loop, line, held, self._lost_keeper)
        intake = self._make_intake(clock)
        journal = Journal(state, self.loop, clock)
        journal.recover()
        broom, stock = Broom(state, self.loop), Stock(state, self.loop, clock)
        self.house = House(state, self.loop, clock, intake, self.holder, journal, broom, stock)
        self.tables = Tables(self.house, self._consider, self._ended)
        self._strays = Strays(self.loop, self._known)
        self._runtimes = Runtimes(self.house)
        self._restarter = Restarter(self.house, self.tables, self._runtimes)
        self._health: Health | None = None
        self._memory = OutOfMemory(self.house)
        self.house.starts.append(self._started)
        self._verbs = Verbs(self.house, self.tables, self._runtimes, self._restarter, self._strays)
        lost = adopt.adopt_all(self.house, self.tables, self._runtimes)
        for process in list(self.tables.processes()):
            self._restarter.due(process)
            self._started(process, adopted=True)
        if any(process.record.runtime_path for process in self.tables.processes()):
            self._strays.begin()
        self.holder.leftovers(lost)
        self._debug = DebugDoor(self.loop, f"{state}/{DEBUG_SOCKET}", self._consider)
        self._server = Server(self.loop, f"{state}/{SOCKET}", self)
        self.loop.rested = self._consider

    def _make_intake(self, clock: SystemClock) -> Intake:
        ends = [self.holder.take(name) for name in _STAGING_NAMES]
        inherited = min(ends) >= 0
        if not inherited:
            ends = list(os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
        for name, fd in zip(_STAGING_NAMES, ends, strict=True):
            self.holder.hold(name, fd)
        intake = Intake(f"{self._state}/{STAGING}", (ends[0], ends[1]), clock)
        intake.recover(inherited=inherited)
        return intake

    def _known(self) -> set[int]:
        """Who is waited for."""
        return {process.record.pid for process in self.tables.processes() if process.alive}

    def _ended(self, process: Process) -> None:
        self._restarter.due(process)

    def _started(self, process: Process, *, adopted: bool = False) -> None:
        """A task runs, or a process was adopted: has it enough memory, and is there anybody to ask
        whether it is well?"""
        record = process.record
        if not record.exec_id and record.started_ns:
            self._memory.begin(process, adopted=adopted)
        left = record.exec_id.startswith(PROBE)
        if not left and (record.exec_id or HEALTHCHECK not in record.annotations):
            return
        if self._health is None:
            from mobyshell.core.tasks.health import Health  # few tasks have a check

            self._health = Health(self.house, self.tables, self._runtimes)
        if left:
            self._health.forget(process)
        elif check := read_check(record.annotations[HEALTHCHECK]):
            self._health.begin(process, check)

    def run(self) -> int:
        """Serve until there is nothing to do; 0."""
        self._consider()
        self.loop.call_later(_QUIET, self._rest)
        self.loop.run()
        return 0

    # the desk

    def ask(
        self, verb: str, namespace: str, args: dict[str, Any], connection: Connection,
        reply: Reply, head: bytes = b"",
    ) -> None:  # fmt: skip
        """A request came in: to its verb, with what goes wrong on the way."""
        self._busy()
        self._verbs.ask(verb, namespace, args, connection, self._answering(reply), head)

    def again(self, head: bytes, name: str, connection: Connection, number: int) -> bool:
        """One came in that may be known."""
        steps = self._verbs.again(head, name, connection)
        if steps is None:
            return False
        self._busy()
        self.loop.drive(steps, self._answering(connection.reply_to(number)))
        return True

    def _busy(self) -> None:
        if not self._asked:
            self.loop.call_later(_QUIET, self._tidy)
        self._asked = time.monotonic()

    def _answering(self, reply: Reply) -> Reply:
        def answered(result: Any, error: BaseException | None) -> None:
            if error is not None:
                self._report_unexpected(error)
            reply(result, error)
            self._consider()

        return answered

    def _rest(self) -> None:
        if not self._asked:
            self._tidy_up()

    def _tidy(self) -> None:
        quiet = time.monotonic() - self._asked
        if quiet < _QUIET or self.loop.driving:
            self.loop.call_later(max(_QUIET - quiet, _QUIET / 2), self._tidy)
        else:
            self._asked = 0.0
            self._tidy_up()

    def _tidy_up(self) -> None:
        """Nobody waits: give back what is not used."""
        if self._loaded != len(sys.modules):  # now or then, and seldom
            self._loaded = len(sys.modules)
            gc.collect()
            give_back()
            let_go_of_files()  # at last, as all that is done reads them
        else:
            give_back()

    def left(self, connection: Connection) -> None:
        """A client has gone."""
        self._server.connections.discard(connection)
        self.house.journal.listeners.pop(connection, None)
        self._consider()

    # coming and going

    def _idle(self) -> bool:
        return (
            not self._server.connections
            and not self._debug.sessions
            and not self.loop.driving
            and not any(one.alive or one.record.restart_ns for one in self.tables.processes())
        )

    def _consider(self) -> None:
        """Something changed: leave in a while if there is nothing to do, unless that changes."""
        if not hasattr(self, "_server"):
            return
        self._strays.soon()
        if self._keeper_lost:
            self.loop.call_soon(self._replace_keeper)
        if not self._idle():
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None:
            self._timer = self.loop.call_later(self._linger, self._leave)

    def _leave(self) -> None:
        self._timer = None
        if self._idle() and self._server.leave():
            self._debug.close()
            self.house.journal.close()
            self.house.broom.sweep()
            self.house.stock.clear()
            self.loop.stop()

    def _lost_keeper(self) -> None:
        self._keeper_lost = True
        self.loop.call_soon(self._replace_keeper)

    def _replace_keeper(self) -> None:
        """The keeper died. This process, whose children the tasks are, becomes the keeper; its
        fork goes on as the shim, with every table and every client."""
        if not self._keeper_lost or self.loop.driving:
            return
        self._keeper_lost = False
        self._runtimes.rest()  # what they make would be ours, not the fork's
        self._debug.hang_up()
        line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            line.close()
            self.loop.renew()
            self.holder.renew(theirs, self._lost_keeper)
            self._strays.renew()
            self._debug.renew()
            return
        try:
            self._become_keeper(pid, line)
        finally:
            os._exit(1)

    def _become_keeper(self, shim: int, line: socket.socket) -> None:
        """Never returns, so that what is closed behind the objects' backs stays untouched."""
        held = {name: keeping.moved_up(fd) for name, fd in self.holder.held.items()}
        mine = keeping.moved_up(line.fileno())
        keep = {*held.values(), mine, 0, 1, 2, keeping.LOCK_FD}
        for fd in [int(name) for name in os.listdir("/proc/self/fd")]:
            if fd not in keep:
                try:
                    os.close(fd)
                except OSError:
                    pass  # the directory we have just listed
        os.dup2(0, keeping.READY_FD)
        lock, watched = f"{self._state}/{LOCK}", dict(self.holder.watched)
        try:
            keeping.become_native(lock, shim, sys.orig_argv, mine, held, watched)
        except Exception:
            pass  # refused, as it was when the first one was to start; or our files are gone
        gc.freeze()
        successor = keeper.Keeper(sys.orig_argv, held, watched)
        successor.adopt(shim, socket.socket(fileno=mine))
        keeper.become_subreaper()
        os._exit(keeper.keep(successor, lock))

    # what goes wrong

    def _report_unexpected(self, error: BaseException) -> None:
        if not isinstance(error, MobyshellError):
            self._report(error)

    def _report(self, error: BaseException) -> None:
        report(f"{self._state}/{DIARY}", error)


def report(path: str, error: BaseException) -> None:
    """Write a traceback into the diary, which stays small."""
    import traceback  # seldom needed

    text = "".join(traceback.format_exception(error))
    try:
        if os.stat(path).st_size > _DIARY_BYTES:
            os.truncate(path, 0)
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass  # no space: then not


def main(arguments: list[str]) -> int:
    """Be the shim of STATE until it is not needed any more, and LINGER seconds longer; the exit status
    for the keeper."""
    state, linger = arguments
    os.environ.pop("LC_ALL", None)  # see `keeping`: no business of the programs we run
    keeper.take_signals()
    keeper.name_process("mobyshell-shim")
    line = socket.socket(fileno=keeping.LINE_FD)
    held, _ = keeping.read_ledger(keeping.LEDGER_FD)
    for fd in (keeping.LOCK_FD, keeping.READY_FD, keeping.LINE_FD, *held.values()):
        os.set_inheritable(fd, False)
    for number in (32, 33):  # glibc's own; its posix_spawn leaves them ignored, and so would exec
        call("rt_sigaction", number, bytes(32), 0, 8)
    gc.collect()
    gc.freeze()  # what is loaded now stays: no collection need look at it
    gc.set_threshold(_GARBAGE, 20, 20)
    keep_freed(_FREED)
    try:
        shim = Shim(state, line, held, float(linger))
    except Exception as error:
        report(f"{state}/{DIARY}", error)  # nobody else would say why none comes up
        return 1
    try:
        os.write(keeping.READY_FD, b"\n")
    except OSError:
        pass  # the client that started the first of us has gone
    os.close(keeping.READY_FD)
    return shim.run()

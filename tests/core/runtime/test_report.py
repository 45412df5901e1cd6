"""What is told of a program that stopped."""

from __future__ import annotations

import errno
from typing import Any, cast

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.events import CallDone, Payload
from mobyshell.core.runtime import report
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.operations.calls import CWD, write_file
from mobyshell.core.runtime.parent import run_here
from mobyshell.core.runtime.plan import Actor, Call, Operation, Phase, Plan, Text
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.program import REPORT, Program


def test_a_refused_write_names_the_process_it_was_for() -> None:
    calls = write_file("/proc/{pid}/no_map", "0 0 1\n", template=True)
    operation = Operation(
        actor=Actor.PARENT, phase=Phase.ATTACH, title="map", why="", calls=tuple(calls)
    )
    plan = Plan(id="c", bundle="/b", rootfs="/b/r", operations=(operation,))
    with pytest.raises(SyscallFailed) as caught:
        run_here(PortableExecutor(), plan, ((0, operation),), lambda *_: None, {"pid": "4242"})
    assert caught.value.path == "/proc/4242/no_map"
    assert "{" not in str(caught.value)


def test_braces_in_a_path_are_its_own() -> None:
    calls = write_file("/proc/{pid.__class__}/{0}/{pid}", "", template=True)
    operation = Operation(
        actor=Actor.PARENT, phase=Phase.ATTACH, title="map", why="", calls=tuple(calls)
    )
    plan = Plan(id="c", bundle="/b", rootfs="/b/r", operations=(operation,))
    with pytest.raises(SyscallFailed) as caught:
        run_here(PortableExecutor(), plan, ((0, operation),), lambda *_: None, {"pid": "7"})
    assert caught.value.path == "/proc/{pid.__class__}/{0}/7"


def test_what_ran_is_told_with_what_it_was_given() -> None:
    told: list[CallDone] = []
    call = Call("faccessat2", (CWD, Text("/proc/{pid:<10}", template=True), 0, 0),
                tolerate=(errno.ENOENT,))  # fmt: skip
    operation = Operation(
        actor=Actor.PARENT, phase=Phase.ATTACH, title="look", why="", calls=(call,)
    )
    plan = Plan(id="c", bundle="/b", rootfs="/b/r", operations=(operation,))
    run_here(PortableExecutor(), plan, ((0, operation),), lambda _, event: told.append(event),
             {"pid": "4242"})  # fmt: skip
    (event,) = told
    assert event.args[1] == '"/proc/4242"'


def test_no_call_is_told_twice_of_a_program_that_runs_on_while_it_is_read() -> None:
    """Of a created container the last calls before it waits for `start` are still being reported."""
    call = Call("faccessat2", (CWD, Text("/proc"), 0, 0))
    operation = Operation(
        actor=Actor.PARENT, phase=Phase.ATTACH, title="look", why="", calls=(call,) * 9
    )
    plan = Plan(id="c", bundle="/b", rootfs="/b/r", operations=(operation,))
    program = assemble(((0, operation),))
    words, at = program.words, program.reports_at

    class RunsOn:
        """A program in which a call is done whenever somebody looks at its reports."""

        done = 0

        def __getattr__(self, name: str) -> Any:
            if name in ("words", "copied_reports", "reports") and self.done < program.length:
                words[at + self.done * REPORT + REPORT - 1] = 1
                self.done += 1
            return getattr(program, name)

    told: list[int] = []

    def sink(_: str, event: Payload) -> None:
        assert isinstance(event, CallDone)
        told.append(event.call)

    running, first = cast(Program, RunsOn()), 0
    try:
        for _ in range(9):
            first = report.emit("c", lambda: plan, running, sink, first)
        assert told == list(range(9))
    finally:
        program.close()

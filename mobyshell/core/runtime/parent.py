"""The parent's own programs: what the runtime does beside the child, by the executor, call by call."""

from __future__ import annotations

import os

from mobyshell.core.events import EventSink
from mobyshell.core.runtime import report
from mobyshell.core.runtime.assembly import assemble
from mobyshell.core.runtime.executor import Executor
from mobyshell.core.runtime.plan import Operation, Plan
from mobyshell.core.runtime.program import Program


def run_here(
    executor: Executor, plan: Plan, operations: tuple[tuple[int, Operation], ...], sink: EventSink,
    values: dict[str, str],
) -> None:  # fmt: skip
    """Run `operations` of the parent; raises the error of the one that fails."""
    if not operations:
        return
    program = assemble(operations)
    try:
        program.fill(values)
        run_program(executor, plan, program, sink)
    finally:
        program.close()


def run_program(executor: Executor, plan: Plan, program: Program, sink: EventSink) -> None:
    """Run a program of the parent; raises the error of the call that fails."""
    failed = executor.run(program)
    report.emit(plan.id, lambda: plan, program, sink)
    if failed is not None:
        close_all(report.still_open(plan, program))
        raise report.failure(plan, program, failed)


def close_all(descriptors: list[int]) -> None:
    """Close what a program left open."""
    for fd in descriptors:
        os.close(fd)

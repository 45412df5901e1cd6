"""What a program's reports say: events for those who look, one precise error when it failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping

from mobyshell.core.errors import MobyshellError, SyscallFailed
from mobyshell.core.events import CallDone, EventSink, discard
from mobyshell.core.linux.syscalls import hint
from mobyshell.core.runtime.diagnosis import not_executed
from mobyshell.core.runtime.lines import Run, shown
from mobyshell.core.runtime.plan import Call, Cell, Data, Operation, Plan, Text
from mobyshell.core.runtime.program import REPORT, Origin, Program


def events(plan: Plan, program: Program, first: int = 0) -> Iterator[CallDone]:
    """One event for each call that ran, from record `first` on, in order."""
    return _events(plan, program.origins, program.reports(), first, dict(program.values))


def _events(
    plan: Plan,
    origins: tuple[Origin, ...],
    reports: list[int],
    first: int,
    values: Mapping[str, str],
) -> Iterator[CallDone]:
    for index in range(first, len(origins)):
        origin = origins[index]
        result, code, spent = reports[index * REPORT : index * REPORT + REPORT]
        if origin.call < 0 or spent == 0:
            continue
        operation = plan.operations[origin.operation]
        call = operation.calls[origin.call]
        yield CallDone(
            actor=str(operation.actor),
            operation=origin.operation,
            call=origin.call,
            title=operation.title,
            name=call.name,
            args=[shown(arg, values) for arg in call.args],
            result=result - (1 << 64) if result >> 63 else result,
            errno=errno.errorcode.get(code, str(code)) if code else "",
            duration_ns=spent,
            man=operation.man,
            spec=operation.spec,
            phase=str(operation.phase),
        )


def emit(
    id: str, plan: Callable[[], Plan], program: Program, sink: EventSink, first: int = 0, *,
    template: Plan | None = None,
) -> int:  # fmt: skip
    """Send `events` to `sink`; to one that can wait, only the numbers and how to read them.

    `template` is the plan as it was made for many, if it was.

    Returns the record to go on with, should the program run on meanwhile.

    A container makes hundreds of events, and most are never looked at: making them is left to
    whoever writes or sends them, after the container runs.
    """
    if sink is discard:
        return stopped_at(program) + 1
    # a copy, which nobody looks at before it is wanted: the program may run again before that, and
    # may be running now, so where to go on is what the copy says
    reports, origins = program.copied_reports(), program.origins
    following = _last(reports) + 1
    values = dict(program.values)  # the program may be another container's when they are made
    later = getattr(sink, "later", None)
    if later is not None:
        later(id, Run(lambda: template or plan(), program, reports, first, values))
        return following
    for event in _events(plan(), origins, reports.tolist(), first, values):
        sink(id, event)
    return following


def stopped_at(program: Program) -> int:
    """The last record that ran; -1 if none did. A program only walks forward."""
    return _last(program.words[program.reports_at : program.cells_at])


def _last(reports: memoryview) -> int:
    for index in range(len(reports) // REPORT - 1, -1, -1):
        if reports[index * REPORT + REPORT - 1]:
            return index
    return -1


def stopped_operation(plan: Plan, program: Program) -> str:
    """What the program was at when it last reported, with the member of the spec behind it."""
    operation = plan.operations[program.origins[max(stopped_at(program), 0)].operation]
    return f"{operation.title} ({operation.source})" if operation.source else operation.title


def still_open(plan: Plan, program: Program) -> list[int]:
    """Descriptors that the calls which ran have opened and not closed.

    A child takes them with it when it ends; a program of the parent's that stops half way leaves
    them to whoever ran it.
    """
    cells: dict[str, int] = {}
    found: set[int] = set()
    for index, origin in enumerate(program.origins):
        result, code, spent = program.report(index)
        if origin.call < 0 or code or not spent:
            continue
        call = plan.operations[origin.operation].calls[origin.call]
        if call.name == "close" and isinstance(call.args[0], Cell):
            found.discard(cells.get(call.args[0].name, -1))
        elif call.result is not None:
            cells[call.result.name] = result
            if call.name in _OPENING:
                found.add(result)
    return sorted(found)


_OPENING = ("openat", "openat2", "open_tree", "socket", "fsopen", "fsmount", "pidfd_open", "bpf")


def has_failed(plan: Plan, program: Program) -> bool:
    """Whether the last record that ran was refused, or did not return what it must."""
    last = stopped_at(program)
    if last < 0:
        return True
    origin = program.origins[last]
    call = plan.operations[origin.operation].calls[max(origin.call, 0)]
    result, code, _ = program.report(last)
    if code:
        return code not in call.tolerate
    return call.expect is not None and result != call.expect


def failure(plan: Plan, program: Program, index: int | None = None) -> MobyshellError:
    """The error of a program that stopped at record `index` (default: the last that ran)."""
    at = stopped_at(program) if index is None else index
    if at < 0:
        return MobyshellError("the child ended before its first call")
    origin = program.origins[at]
    operation = plan.operations[origin.operation]
    call = operation.calls[max(origin.call, 0)]
    result, code, _ = program.report(at)
    what = f"{operation.title} ({operation.source})" if operation.source else operation.title
    looking = call.name == "faccessat2" or (call.name == "close" and call.expect == -1)
    if call.name == "execve" or looking:
        return not_executed(plan, operation, program, at, errno.EISDIR if code == 0 else code)
    if code == 0:
        if call.expect is not None and result != call.expect:
            said = call.otherwise or f"{call.name} returned {result}, not {call.expect}"
            return MobyshellError(f"{what}: {said}")
        return MobyshellError(f"the child was killed after: {what}")
    if call.name == "futex":
        # it compares: what is there is not what it must be
        return MobyshellError(f"{what}: {call.otherwise}")
    if call.name == "openat2" and call.otherwise and code in (errno.ELOOP, errno.ENOTDIR):
        return MobyshellError(f"{what}: {call.otherwise}")
    help = call.otherwise or dict(operation.hints).get(code) or hint(call.name, code)
    if call.name == "bpf":
        help = _verifier(call) or help
    path = program.filled(_about(operation, call))
    return SyscallFailed(call.name, code, path=path, what=what, hint=help)


def _verifier(call: Call) -> str:
    """What the kernel's verifier has to say of a program that it did not load: tried once more,
    because a log makes loading slower and is of use to nobody when all is well."""
    from mobyshell.core.linux import device_filter

    pointers = next((arg.pointers for arg in call.args if isinstance(arg, Data)), ())
    code = next((one.value for _, one in pointers if isinstance(one, Data)), None)
    if code is None:
        return ""
    try:
        os.close(device_filter.load(code))
    except SyscallFailed as error:
        return error.hint if error.hint.startswith("the verifier") else ""
    return ""


def _about(operation: Operation, call: Call) -> str:
    """The path that `call` was about: its own, or the one its descriptor was opened by."""
    path = _path(call)
    if not path and call.args and isinstance(call.args[0], Cell):
        opened = [one for one in operation.calls if one.result == call.args[0]]
        path = _path(opened[-1]) if opened else ""
    return path


def _path(call: Call) -> str:
    texts = [arg.value for arg in call.args if isinstance(arg, Text)]
    # a filesystem's option has a name and a value; of paths the last is what it was about
    return "=".join(texts) if call.name == "fsconfig" else texts[-1] if texts else ""

"""A program's reports as the JSON of its events, for those who only write them down.

Owns the shortcut: of an event only the numbers are new in each run, everything else stands in the
plan. It is encoded once for each program, with a place for the container's id, because a
container makes a hundred events and a shim starts hundreds of containers.
"""

from __future__ import annotations

import errno
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring_ascii

from mobyshell.core.runtime.plan import Arg, Operation, Plan, Text, show_arg
from mobyshell.core.runtime.program import ID, REPORT, Program, put_in

_PLACE = "\0"  # no JSON has it as it is


def lines(
    template: Plan, program: Program, reports: Sequence[int], first: int, values: Mapping[str, str]
) -> list[str]:
    """The JSON of one `CallDone` for each call that ran, from record `first` on, in order.

    `reports` and `values` are what the program had when it ran; `template` is its plan, in which the
    id may be a placeholder.
    """
    known, id, found = program.lines, values.get("id", ""), []
    results, codes, times = (reports[first * REPORT + one :: REPORT] for one in range(REPORT))
    origins = program.origins[first:]
    for index, (origin, result, code, spent) in enumerate(
        zip(origins, results, codes, times, strict=True), first
    ):
        if spent == 0 or origin.call < 0:
            continue
        line = known.get(index)
        if line is None:
            operation = template.operations[origin.operation]
            args = operation.calls[origin.call].args
            line = _line(operation, origin.operation, origin.call, values)
            if not any(isinstance(arg, Text) and arg.template for arg in args):
                known[index] = line
        begin, end = line
        if _PLACE in begin:
            begin = begin.replace(_PLACE, id)
        if code:
            name = errno.errorcode.get(code, str(code))
            found.append(f'{begin}-1,"errno":"{name}","duration_ns":{spent}{end}')
            continue
        if result >> 63:
            result -= 1 << 64
        found.append(f'{begin}{result},"errno":"","duration_ns":{spent}{end}')
    return found


def _line(
    operation: Operation, number: int, call: int, values: Mapping[str, str]
) -> tuple[str, str]:
    """What stands before the result, and behind the time."""
    done = operation.calls[call]
    args = ",".join(_encoded(shown(arg, values)) for arg in done.args)
    begin = (
        f'{{"actor":"{operation.actor}","operation":{number},"call":{call},'
        f'"title":{_encoded(operation.title)},"name":{_encoded(done.name)},"args":[{args}],"result":'
    )
    end = (
        f',"man":{_encoded(operation.man)},"spec":{_encoded(operation.spec)},"skipped":false,'
        f'"phase":"{operation.phase}"}}'
    )
    return begin, end


def shown(arg: Arg, values: Mapping[str, str]) -> str:
    """An argument as it was when it ran."""
    if isinstance(arg, Text) and arg.template:
        return show_arg(Text(put_in(arg.value, values).rstrip(" ")))
    return show_arg(arg)


def _encoded(text: str) -> str:
    """A JSON string, with a place where the id is."""
    parts = [encode_basestring_ascii(part)[1:-1] for part in text.split(ID)]
    return f'"{_PLACE.join(parts)}"'

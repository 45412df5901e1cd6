"""A program's reports as the JSON of its events, for those who only write them down.

Owns the shortcut: of an event only the numbers are new in each run, everything else stands in the
plan. It is encoded once for each program, with a place for the container's id, because a
container makes hundreds of events and a shim starts hundreds of containers. Who keeps them need not
keep that again for each container either: a `Run` can be told as numbers, to be read with its form.
"""

from __future__ import annotations

import errno
import json
from binascii import a2b_base64
from binascii import b2a_base64 as base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from json.encoder import encode_basestring_ascii
from typing import Any

from mobyshell.core.runtime.plan import Arg, Plan, Text, show_arg
from mobyshell.core.runtime.program import ID, REPORT, Origin, Program, put_in

try:
    from _blake2 import blake2s  # `hashlib` brings all of libcrypto: three megabytes of the shim's
except ImportError:  # a Python whose hashes are libcrypto's
    from hashlib import blake2s

_PLACE = "\0"  # no JSON has it as it is


Pair = tuple[str, str]
"""What stands before a call's result, and behind its time."""


class Run:
    """One run of `program`, from record `first` on, by its `reports` and `values` of then; `template`
    is its plan, in which the id may be a placeholder."""

    def __init__(
        self, template: Callable[[], Plan], program: Program, reports: memoryview, first: int,
        values: Mapping[str, str],
    ) -> None:  # fmt: skip
        self._template, self._program, self._reports = template, program, reports
        self._first, self._values = first, values

    def lines(self) -> list[str]:
        """The JSON of one `CallDone` for each call that ran, in order."""
        program, template = self._program, self._template()
        known, pairs = program.lines, []
        for index, origin in enumerate(program.origins[self._first :], self._first):
            pair = known.get(index)
            if pair is None and origin.call >= 0:
                pair = _pair(template, origin, self._values)
                if not _differs(template, origin):
                    known[index] = pair
            pairs.append(pair)
        numbers = self._reports[self._first * REPORT :]
        return list(_told(pairs, numbers.tolist(), self._values.get("id", "")))

    def form(self) -> str:
        """The name of what `data` is to be read with; "" if one of the calls differs from run to run by
        more than numbers."""
        program = self._program
        if program.form is None:
            template = self._template()
            differ = any(_differs(template, one) for one in program.origins)
            program.form = "" if differ else blake2s(self.text(), digest_size=16).hexdigest()
        return program.form

    def text(self) -> bytes:
        """The form: an array of pairs as JSON, null for a record that is no call."""
        template, origins = self._template(), self._program.origins
        pairs = [_pair(template, one, self._values) if one.call >= 0 else None for one in origins]
        return json.dumps(pairs, separators=(",", ":")).encode()

    def data(self) -> str:
        """The numbers, with the name of the form, as JSON: what `read` takes."""
        numbers = base64(self._reports[self._first * REPORT :], newline=False).decode()
        return f'{{"form":"{self.form()}","first":{self._first},"numbers":"{numbers}"}}'


def read(form: bytes, data: Mapping[str, Any], id: str) -> Iterator[str]:
    """The JSON of one `CallDone` for each call of a run that was kept as `data`. ValueError, KeyError or
    TypeError if it cannot be understood."""
    pairs = json.loads(form)[data["first"] :]
    numbers = memoryview(a2b_base64(data["numbers"])).cast("Q").tolist()
    return _told(pairs, numbers, id)


def _told(pairs: Sequence[Pair | None], numbers: Sequence[int], id: str) -> Iterator[str]:
    """`numbers`: three for each of the pairs."""
    results, codes, times = (numbers[one::REPORT] for one in range(REPORT))
    for pair, result, code, spent in zip(pairs, results, codes, times, strict=True):
        if spent == 0 or pair is None:
            continue
        begin, end = pair
        if _PLACE in begin:
            begin = begin.replace(_PLACE, id)
        if code:
            name = errno.errorcode.get(code, str(code))
            yield f'{begin}-1,"errno":"{name}","duration_ns":{spent}{end}'
            continue
        if result >> 63:
            result -= 1 << 64
        yield f'{begin}{result},"errno":"","duration_ns":{spent}{end}'


def _differs(template: Plan, origin: Origin) -> bool:
    """Whether a call's arguments are others in every run."""
    if origin.call < 0:
        return False
    args = template.operations[origin.operation].calls[origin.call].args
    return any(isinstance(arg, Text) and arg.template for arg in args)


def _pair(template: Plan, origin: Origin, values: Mapping[str, str]) -> Pair:
    operation = template.operations[origin.operation]
    done = operation.calls[origin.call]
    args = ",".join(_encoded(shown(arg, values)) for arg in done.args)
    begin = (
        f'{{"actor":"{operation.actor}","operation":{origin.operation},"call":{origin.call},'
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

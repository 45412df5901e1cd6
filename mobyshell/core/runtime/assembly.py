"""From a plan's calls to the records of a program: what `program` describes is made here.

Owns the way a call becomes numbers: arguments, the stores before it, what is skipped after it.
Runs nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.linux.memory import Memory
from mobyshell.core.linux.syscalls import number
from mobyshell.core.runtime.layout import Layout
from mobyshell.core.runtime.placeholders import (
    ID,
    LONGEST_HOME,
    LONGEST_ID,
    LONGEST_SNAPSHOT,
    Slots,
    encoded,
)
from mobyshell.core.runtime.plan import (
    HOME,
    INIT,
    INNER,
    PID,
    SNAPSHOT,
    Arg,
    Call,
    Cell,
    Data,
    Flags,
    Operation,
    Scratch,
    Text,
    Vector,
)
from mobyshell.core.runtime.program import (
    HAS_EXPECTED,
    HAS_RESULT,
    HEADER_BYTES,
    MASK,
    REPORT,
    STORE,
    WORDS,
    Origin,
    Program,
)

_MOST_SKIPPED = 0xFFFF


class _Arena:
    """Collects bytes with relocations; offsets are fixed once the words' size is known."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.pointers: list[tuple[int, int]] = []
        self.slots: list[tuple[int, str]] = []
        self._texts: dict[str, int] = {}
        self.shared: dict[str, tuple[int, int]] = {}

    def _place(self, value: bytes) -> int:
        self.data.extend(b"\0" * (-len(self.data) % 8))
        at = len(self.data)
        self.data.extend(value)
        return at

    def text(self, value: str, template: bool = False) -> int:
        at = self._texts.get(value)
        if at is None:
            data = encoded(value)
            short = template + sum(value.count(one) for one in (ID, PID, INIT, INNER))
            room = LONGEST_ID * short + LONGEST_HOME * value.count(HOME)
            room += LONGEST_SNAPSHOT * value.count(SNAPSHOT)
            slot = room > 0
            at = self._place(data + b"\0" * room)
            self._texts[value] = at
            if slot:
                self.slots.append((at, value))
        return at

    def texts(self) -> Mapping[int, str]:
        """What texts there are, by their places."""
        return {at: value for value, at in self._texts.items()}

    def scratch(self, scratch: Scratch) -> int:
        found = self.shared.get(scratch.name)
        if found is None:
            found = self._place(b"\0" * scratch.size), scratch.size
            self.shared[scratch.name] = found
        return found[0] + scratch.offset

    def vector(self, values: Iterable[str]) -> int:
        places = [self.text(value) for value in values]
        at = self._place(b"\0" * 8 * (len(places) + 1))
        self.pointers.extend((at + 8 * index, place) for index, place in enumerate(places))
        return at

    def struct(self, data: Data) -> tuple[int, list[tuple[int, int, Cell]]]:
        """Where `data` lies, and the stores (place, width, cell) it needs before each call."""
        at = self._place(data.value)
        stores = [(at + offset, width, cell) for offset, width, cell in data.cells]
        for offset, target in data.pointers:
            if isinstance(target, Text):
                place = self.text(target.value)
            else:
                place, more = self.struct(target)
                stores += more
            self.pointers.append((at + offset, place))
        return at, stores


def _stores(data: Data) -> int:
    """How many store records `data` needs, those of what it points to included."""
    inner = sum(_stores(target) for _, target in data.pointers if isinstance(target, Data))
    return len(data.cells) + inner


class _Assembler:
    def __init__(self) -> None:
        self.arena = _Arena()
        self.cells: dict[str, int] = {}
        self.records: list[list[int]] = []
        self.origins: list[Origin] = []
        self.relocations: list[tuple[int, int, int]] = []  # record, word, arena offset

    def cell(self, cell: Cell) -> int:
        return self.cells.setdefault(cell.name, len(self.cells))

    def operation(self, index: int, operation: Operation) -> None:
        # skips count calls; a call may be preceded by stores, so count in records
        sizes = [
            0
            if call.name.startswith("@")
            else 1 + sum(_stores(arg) for arg in call.args if isinstance(arg, Data))
            for call in operation.calls
        ]
        for position, call in enumerate(operation.calls):
            if not sizes[position]:
                continue  # a pseudo call: the runtime makes it itself
            error_skip = sum(sizes[position + 1 : position + 1 + call.skip_on_error])
            success_skip = sum(sizes[position + 1 : position + 1 + call.skip_on_success])
            self.call(Origin(index, position), call, error_skip, success_skip)

    def call(self, origin: Origin, call: Call, error_skip: int, success_skip: int) -> None:
        if max(error_skip, success_skip) > _MOST_SKIPPED:
            raise InvalidSpec(
                f"a path of the spec has too many components: {call.name} would skip "
                f"{max(error_skip, success_skip)} calls",
                hint="the kernel takes paths of up to 4096 bytes",
            )
        control = error_skip << 8 | success_skip << 24
        record = [number(call.name) & MASK, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        places: list[tuple[int, int]] = []
        for position, arg in enumerate(call.args):
            if isinstance(arg, Cell):
                control |= 1 << position
                record[1 + position] = self.cell(arg)
                continue
            value, place = self.argument(origin, arg)
            record[1 + position] = value
            if place is not None:
                places.append((1 + position, place))
        if call.result is not None:
            control |= HAS_RESULT | self.cell(call.result) << 40
        if call.expect is not None:
            control |= HAS_EXPECTED
            record[9] = call.expect & MASK
        record[7] = control
        for shift, errno in enumerate(call.tolerate):
            record[8] |= errno << (8 * shift)
        self.relocations.extend((len(self.records), word, place) for word, place in places)
        self.records.append(record)
        self.origins.append(origin)

    def argument(self, origin: Origin, arg: Arg) -> tuple[int, int | None]:
        """(number, None), or (0, where in the arena the pointer leads)."""
        match arg:
            case int():
                return arg & MASK, None
            case Flags(value):
                return value & MASK, None
            case Text(value, template):
                return 0, self.arena.text(value, template)
            case Vector(values):
                return 0, self.arena.vector(values)
            case Data():
                place, stores = self.arena.struct(arg)
                for where, width, cell in stores:
                    self.store(origin, where, width, cell)
                return 0, place
            case Scratch():
                return 0, self.arena.scratch(arg)
            case Cell():
                raise AssertionError("cells are handled by the caller")

    def store(self, origin: Origin, place: int, width: int, cell: Cell) -> None:
        self.relocations.append((len(self.records), 1, place))
        self.records.append([STORE, 0, width, self.cell(cell), 0, 0, 0, 1 << 2, 0, 0])
        self.origins.append(Origin(origin.operation, -1))


def assemble(operations: Iterable[tuple[int, Operation]], wanted: int = 0) -> Program:
    """Flatten `operations` (with their plan indices). Its placeholders are filled by `fill`.

    The program lies at the address `wanted`, if that is free.

    Raises Unsupported for a call that this architecture does not have, InvalidSpec for a path of
    the spec so deep that no call could skip what makes it.
    """
    assembler = _Assembler()
    for index, operation in operations:
        assembler.operation(index, operation)
    length = len(assembler.records)
    arena_at = 8 * (length * (WORDS + REPORT) + len(assembler.cells))
    memory = Memory("mobyshell", HEADER_BYTES + arena_at + len(assembler.arena.data), wanted)
    base = memory.address + HEADER_BYTES + arena_at
    for index, word, place in assembler.relocations:
        assembler.records[index][word] = base + place
    for at, place in assembler.arena.pointers:
        struct.pack_into("=Q", assembler.arena.data, at, base + place)
    flat = [word for record in assembler.records for word in record]
    program = Program(memory, length, tuple(assembler.origins), assembler.cells)
    program.mapping[: 8 * len(flat)] = struct.pack(f"={len(flat)}Q", *flat)
    program.mapping[arena_at : arena_at + len(assembler.arena.data)] = assembler.arena.data
    arena = assembler.arena
    program.slots = [(arena_at + at, text) for at, text in arena.slots]
    program.places = Slots(program.slots)
    program.layout = Layout(assembler.relocations, arena.pointers, arena.texts(), arena_at)
    program.scratch = {name: (arena_at + at, size) for name, (at, size) in arena.shared.items()}
    return program

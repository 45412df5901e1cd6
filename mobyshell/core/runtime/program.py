"""The flat form of a plan's calls: numbers in one shared mapping, ready before the fork.

Owns the layout. A program is an array of records of ten 64-bit words,

    number  a0 a1 a2 a3 a4 a5  control  tolerated  expected

followed by one report of three words per record (result, errno, nanoseconds), the result cells,
and the arena with the strings and structs that the arguments point to. The mapping is shared, so
every address is known before the child exists and the parent reads the reports while and after
the child runs; it is a memfd, so that a process of another program can map it at the same place.
Whatever can walk this array can execute a plan: `executor` does it in portable Python, `native`
in machine code. Before the records is a header (`Header`), for whoever maps a program.

control: bits 0-5 argument n is a cell index, 6 has a result cell, 7 has an expected result,
8-23 records to skip on error, 24-39 on success, 40-55 the result cell.
tolerated: up to eight errnos, one a byte. Number -1 stores: a0 address, a1 width in bytes, a2 value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.linux.memory import Memory
from mobyshell.core.linux.syscalls import number
from mobyshell.core.runtime.layout import WORDS as WORDS
from mobyshell.core.runtime.layout import Header as Header
from mobyshell.core.runtime.layout import Layout
from mobyshell.core.runtime.placeholders import ID as ID
from mobyshell.core.runtime.placeholders import LONGEST_HOME as LONGEST_HOME
from mobyshell.core.runtime.placeholders import LONGEST_ID, LONGEST_SNAPSHOT, Slots, encoded
from mobyshell.core.runtime.placeholders import put_in as put_in
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
from mobyshell.core.values import value

REPORT = 3
STORE = 0xFFFFFFFFFFFFFFFF
MASK = 0xFFFFFFFFFFFFFFFF
HAS_RESULT = 1 << 6
HAS_EXPECTED = 1 << 7
MOST_SKIPPED = 0xFFFF

HEADER_BYTES = 256
CLONE_ARGS = struct.Struct("=11Q")
"""struct clone_args (clone3(2))."""
COOKIE = int.from_bytes(b"moby", "little")


LENGTH = Cell("length")
"""The bytes of the text that has a pid in it: the one text whose length the kernel is told."""

NOT_RUN = 0
"""A report's nanoseconds before its record ran (a skipped call keeps it)."""


@value
class Origin:
    """Which call of which operation a record came from. `call` is -1 for a store."""

    operation: int
    call: int


_ID = ID.encode()


class Program:
    """A program in its mapping. Close it when no process runs it any more."""

    def __init__(
        self, memory: Memory, length: int, origins: tuple[Origin, ...], cells: dict[str, int]
    ) -> None:
        self.memory = memory
        self.length = length
        self.origins = origins
        self.cells = cells
        self.slots: list[tuple[int, str]] = []
        """Texts with placeholders: where they lie in the mapping, and what they say."""
        self.values: Mapping[str, str] = {}
        """What was last put in their places."""
        self._filled: Mapping[str, str] | None = None
        self._measured = False
        self.places = Slots(())
        self._packed: tuple[Mapping[str, int] | None, bytes] = (None, b"")
        self.scratch: dict[str, tuple[int, int]] = {}
        """Where memory lies that calls share, by its name, and its size: zero before each run."""
        self.layout: Layout | None = None
        self.lines: dict[int, tuple[str, str]] = {}
        """What is always the same of its records' events (`lines`), kept for the next run."""
        self.form: str | None = None
        """The name of the same of all of them, once somebody has kept it."""
        self.records: object = None
        """The executor's own form of the records, kept for the next run."""
        self.header = memory.view[:HEADER_BYTES].cast("Q")
        self.mapping = memory.view[HEADER_BYTES:]
        self.words = self.mapping.cast("Q")
        self.reports_at = length * WORDS
        self.cells_at = self.reports_at + length * REPORT
        self.header[Header.COOKIE] = COOKIE
        self.header[Header.BASE] = memory.address
        self.header[Header.BYTES] = memory.size
        self.header[Header.LENGTH] = length

    @property
    def address(self) -> int:
        """Of the first record."""
        return self.memory.address + HEADER_BYTES

    def set(self, name: str, value: int) -> None:
        """Fill the cell `name` before the program runs. A name no call uses is fine."""
        index = self.cells.get(name)
        if index is not None:
            self.words[self.cells_at + index] = value & MASK

    def put_cells(self, values: Mapping[str, int]) -> None:
        """Fill all cells before the program runs, those that are not in `values` with zeros. It is
        remembered what that is for the same `values`, which nobody changes."""
        known, packed = self._packed
        if known is not values:
            cells = [0] * len(self.cells)
            for name, value in values.items():
                if name in self.cells:
                    cells[self.cells[name]] = value & MASK
            packed = struct.pack(f"={len(cells)}Q", *cells)
            self._packed = values, packed
        at = 8 * self.cells_at
        self.mapping[at : at + len(packed)] = packed

    def get(self, name: str) -> int:
        """The cell `name` as a signed number."""
        value: int = self.words[self.cells_at + self.cells[name]]
        return value - (1 << 64) if value >> 63 else value

    def fill(self, values: Mapping[str, str], only: str = "") -> None:
        """Put `values` in the places of the texts' placeholders: `id`, `home`, `pid`, `init`,
        `snapshot`; of texts that have `only` (not the id's), if that is given: the others were
        filled before."""
        self.values = values
        if values == self._filled and not self._measured:
            return  # they still stand there
        self._filled = dict(values)
        mapping = self.mapping
        if not only:
            id = values.get("id", "").encode()
            for at, template in self.places.named:
                data = template.replace(_ID, id)
                mapping[at : at + len(data)] = data
        for at, text in self.places.others:
            if only not in text:
                continue
            data = encoded(self.filled(text))
            mapping[at : at + len(data)] = data
            if PID in text:
                self._measured = True
                self.set(LENGTH.name, len(data) - 1)

    def filled(self, text: str) -> str:
        """A text with what was last put in the places of its placeholders."""
        return put_in(text, self.values)

    def wants(self, placeholder: str) -> bool:
        """Whether a text has `placeholder`, which is not the id's, in it."""
        return self.places.want(placeholder)

    def pointers(self) -> Iterator[tuple[int, str]]:
        """Every pointer to a text: where it lies in the mapping, and what the text is."""
        return iter(()) if self.layout is None else self.layout.pointers()

    def put(self, name: str, data: bytes) -> None:
        """Write into the memory `name` that calls share; zeros come after it."""
        at, size = self.scratch[name]
        self.mapping[at : at + size] = data[: size - 1].ljust(size, b"\0")

    def reset(self) -> None:
        """Forget what the last run reported, to run again."""
        size = 8 * (self.length * REPORT + len(self.cells))
        at = 8 * self.reports_at
        self.mapping[at : at + size] = b"\0" * size
        for at, size in self.scratch.values():
            self.mapping[at : at + size] = b"\0" * size

    def reports(self) -> list[int]:
        """All reports at once, three words a record, as they are now."""
        words: list[int] = self.words[self.reports_at : self.cells_at].tolist()
        return words

    def copied_reports(self) -> memoryview:
        """The same as they are now, in memory of their own, for later."""
        copy = bytes(self.mapping[8 * self.reports_at : 8 * self.cells_at])
        return memoryview(copy).cast("Q")

    def report(self, index: int) -> tuple[int, int, int]:
        """(result, errno, nanoseconds) of record `index`; nanoseconds 0 if it did not run."""
        at = self.reports_at + index * REPORT
        result, errno, spent = self.words[at], self.words[at + 1], self.words[at + 2]
        return (result - (1 << 64) if result >> 63 else result), errno, spent

    def close(self) -> None:
        self.words.release()
        self.mapping.release()
        self.header.release()
        self.memory.close()


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
        if max(error_skip, success_skip) > MOST_SKIPPED:
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
    program.slots = [(arena_at + at, text) for at, text in assembler.arena.slots]
    program.places = Slots(program.slots)
    arena = assembler.arena
    program.layout = Layout(assembler.relocations, arena.pointers, arena.texts(), arena_at)
    program.scratch = {
        name: (arena_at + at, size) for name, (at, size) in assembler.arena.shared.items()
    }
    return program

"""The flat form of a plan's calls: numbers in one shared mapping, ready before the fork.

Owns the layout; `assembly` makes it of operations. A program is an array of records of ten 64-bit words,

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
from collections.abc import Iterator, Mapping

from mobyshell.core.linux.memory import Memory
from mobyshell.core.runtime.layout import WORDS as WORDS
from mobyshell.core.runtime.layout import Header as Header
from mobyshell.core.runtime.layout import Layout
from mobyshell.core.runtime.placeholders import ID as ID
from mobyshell.core.runtime.placeholders import LONGEST_HOME as LONGEST_HOME
from mobyshell.core.runtime.placeholders import Slots, encoded
from mobyshell.core.runtime.placeholders import put_in as put_in
from mobyshell.core.runtime.plan import PID, Cell
from mobyshell.core.values import value

REPORT = 3
STORE = 0xFFFFFFFFFFFFFFFF
MASK = 0xFFFFFFFFFFFFFFFF
HAS_RESULT = 1 << 6
HAS_EXPECTED = 1 << 7

HEADER_BYTES = 256
CLONE_ARGS = struct.Struct("=11Q")
"""struct clone_args (clone3(2))."""
COOKIE = int.from_bytes(b"moby", "little")


LENGTH = Cell("length")
"""The bytes of the text that has a pid in it: the one text whose length the kernel is told."""


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

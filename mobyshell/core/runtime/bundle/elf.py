"""What an ELF program needs to run: its loader and its libraries, read and never executed (elf(5))."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

LARGEST_TABLE = 1 << 20
LARGEST_NAMES = 64 << 20
"""Bytes of a string table: a compiler's is larger than any other table."""


class ElfError(ValueError):
    """Not an ELF file, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Elf:
    """`interpreter` is the loader (None: static), `needed` the names of libraries, `paths` where
    the file itself says they are (RPATH, RUNPATH, with $ORIGIN resolved). `bits` is 32 or 64."""

    bits: int
    machine: int
    interpreter: str | None
    needed: tuple[str, ...]
    paths: tuple[str, ...]


_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_STRSZ, _DT_RPATH, _DT_RUNPATH = 1, 5, 10, 15, 29


def read_elf(path: str) -> Elf:
    """Read the dynamic section of `path`. ElfError if it is not ELF, OSError if not readable."""
    with open(path, "rb") as file:
        source = _Source(path, file)
        segments = source.segments()
        interpreter = None
        dynamic: list[tuple[int, int]] = []
        for kind, offset, _, length in segments:
            if kind == _PT_INTERP:
                interpreter = os.fsdecode(source.at(offset, length).rstrip(b"\0"))
            elif kind == _PT_DYNAMIC:
                dynamic = source.pairs(offset, length)
        names = _strings(dynamic, segments, source.at)
        origin = os.path.dirname(os.path.realpath(path))
        needed = tuple(names(value) for tag, value in dynamic if tag == _DT_NEEDED)
        paths = tuple(
            one.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
            for tag, value in dynamic
            if tag in (_DT_RPATH, _DT_RUNPATH)
            for one in names(value).split(":")
        )
        return Elf(source.bits, source.machine, interpreter, needed, paths)


class _Source:
    """An ELF file, read by its own word size and byte order, never further than its end."""

    def __init__(self, path: str, file: BinaryIO) -> None:
        self._path, self._file = path, file
        head = file.read(64)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            raise ElfError(f"{path} is not an ELF file")
        bits = {1: 32, 2: 64}.get(head[4])
        order = {1: "<", 2: ">"}.get(head[5])
        if bits is None or order is None:
            raise ElfError(f"{path}: unknown ELF class")
        self.bits, self._order, self._head = bits, order, head
        (self.machine,) = struct.unpack_from(order + "H", head, 18)

    def at(self, offset: int, length: int, most: int = LARGEST_TABLE) -> bytes:
        """`length` bytes from `offset` on. ElfError if they are too many, or not all there."""
        if length > most:
            raise ElfError(f"{self._path}: a table of {length} bytes")
        try:
            self._file.seek(offset)
            data = self._file.read(length)
        except (OSError, ValueError):  # an offset no file can have
            data = b""
        if len(data) < length:
            raise ElfError(f"{self._path} is cut short")
        return data

    def segments(self) -> list[tuple[int, int, int, int]]:
        """The program headers: kind, offset in the file, address, length in the file."""
        order, wide = self._order, self.bits == 64
        (table,) = struct.unpack_from(
            order + ("Q" if wide else "I"), self._head, 32 if wide else 28
        )
        size, count = struct.unpack_from(order + "HH", self._head, 54 if wide else 42)
        if size < (56 if wide else 32) or size * count > LARGEST_TABLE:
            raise ElfError(f"{self._path}: bad program headers")
        headers = self.at(table, size * count)
        found = []
        for start in range(0, size * count, size):
            if wide:
                kind, _, offset, address, _, length = struct.unpack_from(
                    order + "IIQQQQ", headers, start
                )
            else:
                kind, offset, address, _, length = struct.unpack_from(
                    order + "IIIII", headers, start
                )
            found.append((kind, offset, address, length))
        return found

    def pairs(self, offset: int, length: int) -> list[tuple[int, int]]:
        """The entries of a dynamic section: tag and value; what is left at the end is none."""
        data = self.at(offset, length)
        pair = struct.Struct(self._order + ("QQ" if self.bits == 64 else "II"))
        usable = len(data) - len(data) % pair.size
        return [(one[0], one[1]) for one in pair.iter_unpack(data[:usable])]


def _strings(
    dynamic: list[tuple[int, int]],
    segments: list[tuple[int, int, int, int]],
    at: Callable[[int, int, int], bytes],
) -> Callable[[int], str]:
    """A function from an offset into the string table to the string there."""
    tags = dict(dynamic)
    address, size = tags.get(_DT_STRTAB), tags.get(_DT_STRSZ)
    table = b""
    if address is not None and size:
        for kind, offset, start, length in segments:
            if kind == _PT_LOAD and start <= address < start + length:
                table = at(offset + address - start, size, LARGEST_NAMES)

    def name(value: int) -> str:
        end = table.find(b"\0", value)
        if value >= len(table) or end < 0:
            raise ElfError("a name outside of the string table")
        return os.fsdecode(table[value:end])

    return name

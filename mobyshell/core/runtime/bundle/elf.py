"""What an ELF program needs to run: its loader and its libraries, read and never executed (elf(5))."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

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
        head = file.read(64)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            raise ElfError(f"{path} is not an ELF file")
        bits = {1: 32, 2: 64}.get(head[4])
        order = {1: "<", 2: ">"}.get(head[5])
        if bits is None or order is None:
            raise ElfError(f"{path}: unknown ELF class")
        (machine,) = struct.unpack_from(order + "H", head, 18)
        if bits == 64:
            (table,) = struct.unpack_from(order + "Q", head, 32)
            size, count = struct.unpack_from(order + "HH", head, 54)
        else:
            (table,) = struct.unpack_from(order + "I", head, 28)
            size, count = struct.unpack_from(order + "HH", head, 42)
        if size < (56 if bits == 64 else 32) or size * count > LARGEST_TABLE:
            raise ElfError(f"{path}: bad program headers")

        def at(offset: int, length: int, most: int = LARGEST_TABLE) -> bytes:
            if length > most:
                raise ElfError(f"{path}: a table of {length} bytes")
            try:
                file.seek(offset)
                data = file.read(length)
            except (OSError, ValueError):  # an offset no file can have
                data = b""
            if len(data) < length:
                raise ElfError(f"{path} is cut short")
            return data

        segments = []
        headers = at(table, size * count)
        for index in range(count):
            start = index * size
            if bits == 64:
                kind, _, offset, address, _, length = struct.unpack_from(
                    order + "IIQQQQ", headers, start
                )
            else:
                kind, offset, address, _, length = struct.unpack_from(
                    order + "IIIII", headers, start
                )
            segments.append((kind, offset, address, length))
        interpreter = None
        dynamic: list[tuple[int, int]] = []
        for kind, offset, _, length in segments:
            if kind == _PT_INTERP:
                interpreter = os.fsdecode(at(offset, length).rstrip(b"\0"))
            elif kind == _PT_DYNAMIC:
                data = at(offset, length)
                pair = struct.Struct(order + ("QQ" if bits == 64 else "II"))
                usable = len(data) - len(data) % pair.size
                dynamic = [(one[0], one[1]) for one in pair.iter_unpack(data[:usable])]
        names = _strings(dynamic, segments, at)
        origin = os.path.dirname(os.path.realpath(path))
        needed = tuple(names(value) for tag, value in dynamic if tag == _DT_NEEDED)
        paths = tuple(
            one.replace("$ORIGIN", origin).replace("${ORIGIN}", origin)
            for tag, value in dynamic
            if tag in (_DT_RPATH, _DT_RUNPATH)
            for one in names(value).split(":")
        )
        return Elf(bits, machine, interpreter, needed, paths)


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

"""Protocol buffers, as far as criu's messages need them: bytes from and to dictionaries. Pure.

Owns the encoding (varints, and fields with a length); what fields there are is in `messages`.
What is unknown is skipped, as the protocol wants; what is malformed is a ValueError.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Kind(StrEnum):
    """What a field holds."""

    INT = "int"
    """int32, uint32 or an enumeration; negative ones take ten bytes."""
    BOOL = "bool"
    TEXT = "text"
    MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a message: its number, what it holds (`of`: a message's fields), and whether it
    may be there `many` times."""

    number: int
    kind: Kind
    of: Mapping[str, Field] | None = None
    many: bool = False


Schema: TypeAlias = Mapping[str, Field]


def encode(schema: Schema, values: Mapping[str, Any]) -> bytes:
    """The message. KeyError for a name that is not in the schema; what is None is left out."""
    out = bytearray()
    for name, value in values.items():
        field = schema[name]
        for one in value if field.many else (value,):
            if one is not None:
                _put(out, field, one)
    return bytes(out)


def _put(out: bytearray, field: Field, value: Any) -> None:
    if field.kind in (Kind.INT, Kind.BOOL):
        _put_varint(out, field.number << 3 | _VARINT)
        _put_varint(out, int(value))
        return
    data = encode(field.of or {}, value) if field.kind is Kind.MESSAGE else _text(value)
    _put_varint(out, field.number << 3 | _BYTES)
    _put_varint(out, len(data))
    out += data


def _text(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _put_varint(out: bytearray, value: int) -> None:
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def decode(schema: Schema, data: bytes) -> dict[str, Any]:
    """The fields that are there; those that may be there many times are lists."""
    names = {field.number: name for name, field in schema.items()}
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value, at = _value(data, at, key & 7)
        name = names.get(key >> 3)
        if name is None:
            continue
        field = schema[name]
        if (key & 7 == _BYTES) is (field.kind in (Kind.INT, Kind.BOOL)):
            raise ValueError(f"field {name} is of another kind")
        read = _read(field, value)
        if field.many:
            found.setdefault(name, []).append(read)
        else:
            found[name] = read
    return found


def _value(data: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == _VARINT:
        return _varint(data, at)
    if kind == _BYTES:
        length, at = _varint(data, at)
    elif kind in (_FIXED32, _FIXED64):
        length = 4 if kind == _FIXED32 else 8
    else:
        raise ValueError(f"wire type {kind}")
    if at + length > len(data):
        raise ValueError("a field is cut short")
    return data[at : at + length], at + length


def _read(field: Field, value: int | bytes) -> Any:
    if isinstance(value, int):
        if field.kind is Kind.BOOL:
            return bool(value)
        return value - (1 << 64) if value >> 63 else value
    if field.kind is Kind.MESSAGE:
        return decode(field.of or {}, value)
    return value.decode("utf-8", "surrogateescape")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            raise ValueError("a number is cut short")
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & (1 << 64) - 1, at + place + 1
    raise ValueError("a number without an end")

"""Protocol buffers: the bytes that any other implementation would write, and hostile ones."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.checkpoint.criu.messages import ANSWER, OPTIONS, REQUEST, Ask
from mobyshell.core.checkpoint.criu.wire import Kind, Schema, decode, encode

# (schema, values, bytes as protoc --encode writes them for criu's rpc.proto)
KNOWN: list[tuple[Schema, dict[str, Any], str]] = [
    (REQUEST, {"type": Ask.VERSION}, "080a"),
    (REQUEST, {"type": Ask.NOTIFY, "notify_success": True}, "08061801"),
    (REQUEST, {"type": Ask.FEATURE_CHECK, "features": {"mem_track": True}}, "08092a020801"),
    (REQUEST, {"type": Ask.DUMP, "opts": {"images_dir_fd": 300, "pid": 1}}, "0801120508ac021001"),
    (OPTIONS, {"images_dir_fd": -1}, "08ffffffffffffffffff01"),
    (OPTIONS, {"external": ["a", "bc"]}, "aa020161aa02026263"),
    (OPTIONS, {"ext_mnt": [{"key": "/m", "val": "s"}]}, "ba01070a022f6d120173"),
    (OPTIONS, {"empty_ns": 0x40000000}, "b0028080808004"),
    (ANSWER, {"type": 10, "success": True, "version": {"major_number": 3, "minor_number": 17}},
     "080a100152040803" "1011"),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "values", "data"), KNOWN)
def test_known_messages(schema: Schema, values: dict[str, Any], data: str) -> None:
    assert encode(schema, values).hex() == data
    assert decode(schema, bytes.fromhex(data)) == values


def test_what_is_none_is_left_out_and_what_is_unknown_is_skipped() -> None:
    assert encode(REQUEST, {"type": 1, "opts": None}) == b"\x08\x01"
    # field 99 as a number, as bytes, and of fixed width
    unknown = bytes.fromhex("98060a9a0602abcd9d06ffffffff9906ffffffffffffffff")
    assert decode(REQUEST, b"\x08\x01" + unknown) == {"type": 1}


@pytest.mark.parametrize(
    "data", ["08", "08ff", "12", "1205", "120508", "08ffffffffffffffffffff01", "0b", "0a00", "1001"]
)
def test_malformed_messages(data: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(REQUEST, bytes.fromhex(data))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    try:
        decode(ANSWER, data)
    except ValueError:
        pass


def _values(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    of: dict[str, st.SearchStrategy[Any]] = {}
    for name, field in schema.items():
        one: st.SearchStrategy[Any]
        if field.kind is Kind.INT:
            one = st.integers(-(2**31), 2**32 - 1)
        elif field.kind is Kind.BOOL:
            one = st.booleans()
        elif field.kind is Kind.TEXT:
            one = st.text(max_size=9)
        else:
            one = _values(field.of or {})
        of[name] = st.lists(one, min_size=1, max_size=2) if field.many else one
    return st.fixed_dictionaries({}, optional=of)


@settings(deadline=None)
@given(_values(REQUEST))
def test_what_is_written_is_read(values: dict[str, Any]) -> None:
    assert decode(REQUEST, encode(REQUEST, values)) == values

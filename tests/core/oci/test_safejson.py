"""JSON from strangers: whatever comes, a value or one line that says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mobyshell.core.errors import InvalidSpec
from mobyshell.core.oci.safejson import DEEPEST, LARGEST, LONGEST_NUMBER, read_json, show
from tests.core.oci.documents import ANY_JSON

MODEST = settings(max_examples=100, deadline=None)

REFUSED: list[tuple[str, str | bytes, str]] = [
    ("large text", '{"a": "' + "x" * LARGEST + '"}', r"too large: 4194\d+ bytes"),
    ("large bytes", b" " * (LARGEST + 1), "too large"),
    ("deep arrays", "[" * 100 + "]" * 100, "deeper than 64"),
    ("deep objects", '{"a":' * 100 + "1" + "}" * 100, "deeper than 64"),
    ("endless array", "[" * 1_000_000, "deeper than 64"),
    ("one too deep", "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "deeper than 64"),
    ("depth after a string of quotes", '["\\\\\\"",' + "[" * 100, "deeper than 64"),
    ("same key twice", '{"a": 1, "b": {"c": 1, "c": 2}}', 'the key "c" stands twice'),
    ("same key by an escape", '{"a": 1, "\\u0061": 2}', 'the key "a" stands twice'),
    ("hostile key twice", '{"\\u001b[2J": 1, "\\u001b[2J": 2}', r'the key "\\u001b\[2J" stands'),
    ("NaN", '{"a": NaN}', "NaN is not a JSON number"),
    ("Infinity", '{"a": Infinity}', "Infinity is not"),
    ("-Infinity", "[-Infinity]", "-Infinity is not"),
    ("float that overflows", '{"a": 1e999}', "1e999 is out of range"),
    ("long number", "9" * (LONGEST_NUMBER + 1), "a number of 401 digits"),
    ("very long number", "9" * 1_000_000, "a number of 1000000 digits"),
    ("long fraction", "0." + "9" * 100_000, "out of range"),
    ("UTF-16", '{"a": 1}'.encode("utf-16"), "not UTF-8: byte 0"),
    ("broken UTF-8", b'{"a": "\xc3("}', "not UTF-8: byte 7"),
    ("surrogate in UTF-8", b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
    ("half a pair", '{"a": ["\\ud800"]}', r"\\ud800, half of a surrogate pair"),
    ("half a pair as a key", '{"\\udfff": 1}', r"\\udfff, half of a surrogate pair"),
    ("half a pair, raw", '{"a": "\udc80"}', r"\\udc80, half"),
    ("empty", "", "not JSON: Expecting value in line 1, column 1"),
    ("spaces", " \n ", "not JSON"),
    ("open object", "{", "not JSON"),
    ("open string", '{"a": "b', "not JSON: Unterminated string"),
    ("two values", "{} {}", "not JSON: Extra data"),
    ("comment", '{ // x\n"a": 1}', "in line 1, column 3"),
    ("trailing comma", '{"a": 1,}', "not JSON"),
    ("raw control character", '{"a": "\x1b"}', "control character"),
    ("NUL", "\0", "not JSON"),
    ("single quotes", "{'a': 1}", "not JSON"),
    ("two marks of byte order", b"\xef\xbb\xbf\xef\xbb\xbf{}", "not JSON"),
]


@pytest.mark.parametrize(
    ("text", "words"), [one[1:] for one in REFUSED], ids=[one[0] for one in REFUSED]
)
def test_what_is_refused(text: str | bytes, words: str) -> None:
    with pytest.raises(InvalidSpec, match=words) as caught:
        read_json(text, "some.json")
    assert caught.value.message.startswith("some.json")
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[" * DEEPEST + "]" * DEEPEST, None),
        (json.dumps({"a": "[{" * 500}), {"a": "[{" * 500}),
        ('{"a": "\\"[[["}', {"a": '"[[['}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        ("\ufeff[]", []),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\u0000"', "\0"),
        ("9" * 30, int("9" * 30)),
        ("[1.5, -0.0, 1e3]", [1.5, -0.0, 1000.0]),
        ('{"": {"": 1}}', {"": {"": 1}}),
        ("null", None),
    ],
    ids=lambda one: repr(one)[:30],
)
def test_what_is_read(text: str | bytes, value: Any) -> None:
    found = read_json(text)
    if value is not None:
        assert found == value


@MODEST
@given(ANY_JSON)
def test_all_of_json_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value)) == value
    assert read_json(json.dumps(value, ensure_ascii=False).encode()) == value


@MODEST
@given(st.text(max_size=200) | st.binary(max_size=200))
def test_anything_else_is_refused_in_one_line(text: str | bytes) -> None:
    try:
        read_json(text)
    except InvalidSpec as error:
        assert error.message.isprintable()


@MODEST
@given(st.text('[]{}"\\,:1a ', max_size=400))
def test_what_looks_like_json_never_escapes(text: str) -> None:
    try:
        value = read_json(text)
    except InvalidSpec:
        return
    assert value == json.loads(text)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("[" + "[]," * 1_000_000 + "[]]", 1_000_001),
        ("[" + "0," * 2_000_000 + "0]", 2_000_001),
        ('{"a":"' + "\\u0041" * 600_000 + '"}', 1),
        ('["' + '\\"' * 2_000_000 + '"]', 1),
        ("{" + ",".join(f'"{number}":0' for number in range(300_000)) + "}", 300_000),
    ],
    ids=["arrays", "numbers", "escapes", "quotes", "keys"],
)
def test_the_largest_documents_are_linear(text: str, length: int) -> None:
    """A second of work; quadratic, it would be hours."""
    assert len(read_json(text)) == length


def test_what_is_shown_is_short_and_harmless() -> None:
    assert show("a\n\x1b[31m") == r'"a\n\u001b[31m"'
    assert show("\u202etxt") == r'"\u202etxt"'
    assert show("\U000e0001") == r'"\udb40\udc01"'
    assert show("é") == '"é"'
    assert len(show("x" * 10_000_000)) == len(show("\0" * 1000)) == 60
    assert show({"a": 1}) == "an object of 1 member"
    assert show([]) == "an array of 0 elements"
    assert show(None) == "null"
    assert show(True) == "true"
    assert len(show(10**399)) == 60


@MODEST
@given(ANY_JSON, st.integers(10, 80))
def test_anything_is_shown_in_one_line(value: Any, longest: int) -> None:
    assert show(value, longest).isprintable()
    assert len(show(value, longest)) <= max(longest, 32)

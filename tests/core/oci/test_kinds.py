"""The machinery: what each kind takes, and how a record is read, judged and written."""

from __future__ import annotations

from typing import Any

import pytest

from mobyshell.core.oci import kinds
from mobyshell.core.oci.kinds import Decode, Problem, Problems, decode_object, encode
from mobyshell.core.values import named_value


def found(decode: Decode, value: Any) -> Any:
    """What it makes of a value: the typed one, or what would be allowed."""
    problems: Problems = []
    result = decode(value, "a", "config.md", problems)
    assert (result is None) == bool(problems)
    return [one.allowed for one in problems] if problems else result


@pytest.mark.parametrize(
    ("decode", "value", "result"),
    [
        (kinds.text(), "", ""),
        (kinds.text(), "é\n", "é\n"),
        (kinds.text(), 1, ["a string"]),
        (kinds.text(), None, ["a string"]),
        (kinds.text(), "a\0", ["a string without NUL"]),
        (kinds.text(), "\ud800", ["Unicode text"]),
        (kinds.text(empty=False), "", ["a string, not empty"]),
        (kinds.text(absolute=True), "/", "/"),
        (kinds.text(absolute=True), "etc", ["an absolute path"]),
        (kinds.text(absolute=True), "", ["an absolute path"]),
        (kinds.one_of("a", "b"), "a", "a"),
        (kinds.one_of("a", "b", ""), "c", ["a, b"]),
        (kinds.one_of("a", "b"), ["a"], ["a, b"]),
        (kinds.one_of("a", "b"), {}, ["a, b"]),
        (kinds.integer(0, 9), 9, 9),
        (kinds.integer(0, 9), 9.0, 9),
        (kinds.integer(0, 9), 10, ["a whole number from 0 to 9"]),
        (kinds.integer(0, 9), -1, ["a whole number from 0 to 9"]),
        (kinds.integer(0, 9), 0.5, ["a whole number from 0 to 9"]),
        (kinds.integer(0, 9), 1e300, ["a whole number from 0 to 9"]),
        (kinds.integer(0, 9), True, ["a whole number from 0 to 9"]),
        (kinds.integer(0, 9), "1", ["a whole number from 0 to 9"]),
        (kinds.U64, 2**64 - 1, 2**64 - 1),
        (kinds.U64, 2**64, [f"a whole number from 0 to {2**64 - 1}"]),
        (kinds.U64, 2.0**60, [f"a whole number from 0 to {2**64 - 1}"]),
        (kinds.boolean, False, False),
        (kinds.boolean, 0, ["true or false"]),
        (kinds.boolean, "true", ["true or false"]),
        (kinds.array(kinds.U16), [], ()),
        (kinds.array(kinds.U16), [1, 2], (1, 2)),
        (kinds.array(kinds.U16), {}, ["an array"]),
        (kinds.array(kinds.U16), "12", ["an array"]),
        (kinds.mapping(kinds.U16), {"x": 1}, {"x": 1}),
        (kinds.mapping(kinds.U16), [["x", 1]], ["an object"]),
        (kinds.formatted(str.isdigit, "digits"), "12", "12"),
        (kinds.formatted(str.isdigit, "digits"), "1x", ["digits"]),
        (kinds.formatted(str.isdigit, "digits"), 12, ["a string"]),
    ],
    ids=lambda one: "" if callable(one) else ascii(one)[:30],
)
def test_a_kind(decode: Decode, value: Any, result: Any) -> None:
    assert found(decode, value) == result
    assert type(found(decode, value)) is type(result)


def test_elements_are_told_one_by_one() -> None:
    problems: Problems = []
    kinds.array(kinds.mapping(kinds.U16))([{"a": 1}, {"b": -1, "": 1}, 3], "m", "s", problems)
    assert [(one.path, one.found) for one in problems] == [
        ('m[1]["b"]', "-1"), ('m[1][""]', '""'), ("m[2]", "3"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "near"),
    [
        ("FRUIT_CHERRIES", "FRUIT_CHERRY"),
        ("fruit_da", "FRUIT_DATE"),
        ("zzz", "FRUIT_APPLE"),
        (7, "FRUIT_APPLE"),
    ],
)
def test_of_many_names_the_nearest_is_offered(given: Any, near: str) -> None:
    names = ["FRUIT_APPLE", "FRUIT_CHERRY", "FRUIT_DATE", *(f"N{number}" for number in range(20))]
    assert found(kinds.one_of(*names), given) == [f"one of 23 names, such as {near}"]


@named_value
class Inner:
    name: str = kinds.member("theName", kinds.text(), "config.md#inner", required=True)
    size: int | None = kinds.member("size", kinds.U16)
    extra: dict[str, Any] = kinds.extras()


@named_value
class Outer:
    inner: Inner | None = kinds.member("inner", kinds.record(Inner), "config.md#outer")
    many: tuple[Inner, ...] | None = kinds.member("many", kinds.array(kinds.record(Inner)))
    extra: dict[str, Any] = kinds.extras()


def read(document: Any) -> tuple[Outer | None, list[tuple[str, str, str]]]:
    problems: Problems = []
    outer = decode_object(Outer, document, "", "config.md", problems)
    return outer, [(one.path, one.found, one.section) for one in problems]


def test_a_record_is_read() -> None:
    outer, problems = read({"inner": {"theName": "x", "size": 3}, "many": []})
    assert not problems
    assert outer == Outer(inner=Inner(name="x", size=3), many=())


def test_unknown_members_are_kept_and_written_last() -> None:
    document = {"x": [1, {"y": None}], "inner": {"z": 1, "theName": "n"}}
    outer, problems = read(document)
    assert not problems
    assert outer is not None
    assert outer.extra == {"x": [1, {"y": None}]}
    assert list(encode(outer)) == ["inner", "x"]
    assert list(encode(outer)["inner"]) == ["theName", "z"]
    assert encode(outer) == document


def test_what_is_written_is_the_callers_own() -> None:
    outer = Outer(extra={"x": [1, {"y": 2}]})
    encode(outer)["x"][1]["y"] = 3
    assert outer.extra == {"x": [1, {"y": 2}]}


def test_null_is_absent_unless_it_is_required() -> None:
    assert read({"inner": None}) == (Outer(), [])
    assert read({"inner": {"theName": None}})[1] == [("inner.theName", "null", "config.md#inner")]


def test_what_is_missing_is_told_with_its_own_section() -> None:
    outer, problems = read({"inner": {}, "many": [{"theName": "a"}, {}]})
    assert problems == [
        ("inner.theName", "nothing", "config.md#inner"),
        ("many[1].theName", "nothing", "config.md#inner"),
    ]
    assert outer == Outer(inner=None, many=(Inner(name="a"), None))  # type: ignore[arg-type]


@pytest.mark.parametrize("document", [None, [], "x", 1, 1.5, True])
def test_only_an_object_is_a_record(document: Any) -> None:
    outer, problems = read(document)
    assert outer is None
    assert [path for path, _, _ in problems] == [""]


def test_values_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Inner(name="x").name = "y"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        Inner(name="x").other = "y"  # type: ignore[attr-defined]


def test_a_problem_is_one_line() -> None:
    one = Problem("a.b", '"x"', "a number", "config.md")
    assert str(one) == 'a.b: found "x", allowed: a number'
    assert str(Problem("", "null", "an object", "s")).startswith("config.json: ")


def test_problems_end_somewhere() -> None:
    problems: Problems = []
    with pytest.raises(kinds.EnoughError):
        kinds.array(kinds.text())([0] * 100_000, "a", "s", problems)
    assert len(problems) == kinds.MOST

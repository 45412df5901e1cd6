"""The parts of widgets that need no screen."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from mobyshell.core.events import CallDone, Event, Failed
from mobyshell.core.oci import default_spec, dump_spec, spec_to_json
from mobyshell.core.tasks.service import LogLine
from mobyshell.widgets.keys import encode
from mobyshell.widgets.lines import folded
from mobyshell.widgets.log_view import render
from mobyshell.widgets.plan_view import related, timings
from mobyshell.widgets.positions import MOST, Places, spans
from mobyshell.widgets.resource import (
    Column,
    ResourceSpec,
    fitted,
    matches,
    ordered,
    visible_columns,
)
from mobyshell.widgets.resource_table import kept_place
from mobyshell.widgets.spec_check import examine
from mobyshell.widgets.terminal_screen import style_of


@pytest.mark.parametrize(
    ("key", "character", "sent"),
    [
        ("a", "a", b"a"), ("A", "A", b"A"), ("ü", "ü", "ü".encode()), ("enter", "\r", b"\r"),
        ("escape", "\x1b", b"\x1b"), ("backspace", "\x7f", b"\x7f"), ("tab", "\t", b"\t"),
        ("space", " ", b" "), ("ctrl+c", "\x03", b"\x03"), ("ctrl+z", None, b"\x1a"),
        ("up", None, b"\x1b[A"), ("shift+left", None, b"\x1b[1;2D"), ("ctrl+right", None, b"\x1b[1;5C"),
        ("f1", None, b"\x1bOP"), ("f12", None, b"\x1b[24~"), ("pageup", None, b"\x1b[5~"),
        ("alt+b", "b", b"\x1bb"), ("shift+tab", None, b"\x1b[Z"), ("colon", ":", b":"),
        ("delete", None, b"\x1b[3~"), ("ctrl+alt+shift+nothing", None, b""),
    ],
)  # fmt: skip
def test_keys(key: str, character: str | None, sent: bytes) -> None:
    assert encode(key, character) == sent


def test_application_cursor_keys() -> None:
    assert encode("up", None, application=True) == b"\x1bOA"
    assert encode("shift+up", None, application=True) == b"\x1b[1;2A"


ROW = {"id": "web", "status": "running", "pid": 12, "exit": None, "command": "sleep 1"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True), ("web", True), ("WEB", True), ("db", False), ("!db", True), ("!web", False),
        ("status=run", True), ("status=stop", False), ("exit=", True), ("pid=12", True),
        ("re:^we.$", True), ("re:^e", False), ("re:[", True), ("web sleep", True), ("web db", False),
        ("nofield=x", False), ("!", True), ("status==running", True), ("status==run", False),
        ("STATUS==running", False), ("status!=stopped", True), ("status!=Running", False),
        ("exit==", True), ("!status==running", False), ("nofield==x", False),
    ],
)  # fmt: skip
def test_filters(query: str, found: bool) -> None:
    assert matches(ROW, query) is found


def test_order_puts_what_has_no_value_last() -> None:
    rows: list[dict[str, int | None]] = [{"n": 2}, {"n": None}, {"n": 1}]
    assert [row["n"] for row in ordered(rows, "n", reverse=False)] == [1, 2, None]
    assert [row["n"] for row in ordered(rows, "n", reverse=True)] == [2, 1, None]
    assert len(ordered([{"n": 1}, {"n": "a"}], "n", reverse=False)) == 2
    ids = [{"id": f"task{number}"} for number in (10, 9, 1)]
    assert [row["id"] for row in ordered(ids, "id", reverse=False)] == ["task1", "task9", "task10"]


def test_columns_come_and_go_with_the_width() -> None:
    spec = ResourceSpec(
        "x", "a", (Column("a", "A", 5), Column("b", "B", 0), Column("c", "C", 9, "text", 100)),
        lambda row: "good", "",
    )  # fmt: skip
    assert [one.key for one in visible_columns(spec, 80)] == ["a", "b"]
    assert [one.key for one in visible_columns(spec, 120)] == ["a", "b", "c"]
    assert sum(one.width + 2 for one in visible_columns(spec, 80)) <= 80


def value_at(document: Any, path: str) -> Any:
    at = document
    for part in path.replace("[", ".[").split(".") if path else ():
        at = at[int(part[1:-1])] if part.startswith("[") else at[part]
    return at


def test_every_value_of_a_config_has_its_place() -> None:
    text = dump_spec(default_spec())
    document = spec_to_json(default_spec())
    found = spans(text)
    assert len(found) > 100
    for path, span in found.items():
        assert json.loads(text[span.start : span.end]) == value_at(document, path)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 3000))
def test_unfinished_text_still_has_places(cut: int) -> None:
    text = dump_spec(default_spec())[:cut]
    for span in spans(text).values():
        assert 0 <= span.key <= span.start <= span.end <= len(text)
    Places(text).path_at(*Places(text).line_column(cut // 2))


def test_places_and_paths_are_inverse() -> None:
    places = Places(dump_spec(default_spec()))
    place = places.place_of("linux.namespaces[2].type")
    assert place is not None
    assert places.path_at(*place) == "linux.namespaces[2].type"
    assert places.offset_of(*places.line_column(123)) == 123
    missing = places.place_of("linux.namespaces[99].type")
    assert missing == places.place_of("linux.namespaces")
    assert Places("a\nbc").line_column(3) == (1, 1)
    assert Places("").place_of("x") is None


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "[0," * 2 * MOST, '"' * 9])
def test_hostile_text_has_a_bounded_number_of_places(text: str) -> None:
    assert len(spans(text)) <= MOST


def test_log_lines_cannot_command_the_terminal() -> None:
    line = LogLine(0, "stderr", False, b"\x1b[2Jred\x07\ttab\xff")
    assert render(line, times=False).isprintable()
    assert render(line, times=False).startswith("! ")
    assert render(line, times=True).startswith("00:00:00.000 ")


@pytest.mark.parametrize(
    ("line", "width", "pieces"),
    [("abc", 2, ["ab", "c"]), ("abc", 3, ["abc"]), ("", 3, [""]), ("日本語", 4, ["日本", "語"]),
     ("abc", 0, ["abc"])],
)  # fmt: skip
def test_folding(line: str, width: int, pieces: list[str]) -> None:
    assert folded(line, width) == pieces


def call(operation: int, errno: str = "", ns: int = 10) -> Event:
    done = CallDone("child", operation, 0, "t", "mount", [], 0, errno, ns, "", "")
    return Event(0, "n", "x", done)


def test_timings_sum_by_operation_and_mark_the_one_that_failed() -> None:
    found = timings([call(0), call(0, "ENOENT"), call(1, "EPERM")])
    assert (found[0].ns, found[0].calls, found[0].refused, found[0].failed) == (
        20,
        2,
        ("ENOENT",),
        False,
    )
    assert not found[1].failed
    events = [call(0), call(1, "EPERM"), Event(0, "n", "x", Failed("create", {}))]
    assert timings(events)[1].failed


@pytest.mark.parametrize(
    ("source", "path", "yes"),
    [
        ("mounts[1]", "mounts[1]", True), ("mounts[1]", "mounts[1].type", True),
        ("mounts[1]", "mounts", True), ("mounts[1]", "mounts[10]", False), ("", "mounts", False),
        ("linux.namespaces", "linux.namespaces[0].type", True), ("root.path", "root", True),
    ],
)  # fmt: skip
def test_related(source: str, path: str, yes: bool) -> None:
    assert related(source, path) is yes


def test_examine() -> None:
    good = examine(dump_spec(default_spec()))
    assert good.spec is not None
    assert good.problems == ()
    assert good.verdict(brief=False)[0] == "valid"
    broken = examine("{")
    assert broken.spec is None
    assert "not JSON" in broken.problems[0].found
    assert broken.verdict(brief=False) == ["1 problem"]
    assert broken.next_place((3, 0)) == (0, 0)
    text = dump_spec(default_spec()).replace('"destination": "/proc"', '"destination": "proc"')
    warned = examine(text)
    assert any(line.startswith("! mounts[0].destination") for line in warned.lines)
    assert "valid" not in warned.verdict(brief=True)
    assert warned.next_place((0, 0)) is not None


def test_colours() -> None:
    assert str(style_of("red", "default", True, False, False, False)) == "bold red"
    assert (
        str(style_of("brightbrown", "ff8700", False, False, False, False))
        == "bright_yellow on #ff8700"
    )


@pytest.mark.parametrize(
    ("text", "width", "middle", "shown"),
    [
        ("short", 5, True, "short"),
        ("too long", 5, False, "too…"),
        ("registry.example.com/team/app1:v1", 16, True, "regist…m/app1:v1"),
        ("sha256:d801bec392b7…", 13, True, "d801bec392b7…"),
        ("sha256:d801bec392b7…", 8, True, "d801bec…"),
        ("漢字漢字漢字", 7, False, "漢字漢…"),
        ("漢字漢字漢字", 6, False, "漢字…"),
        ("漢字漢字漢字", 8, True, "漢…漢字"),
    ],
)
def test_what_does_not_fit_is_cut_by_cells(text: str, width: int, middle: bool, shown: str) -> None:
    assert fitted(text, width, middle=middle) == shown
    assert cell_len(shown) <= width


def test_a_cursor_whose_row_is_gone_goes_to_what_came_into_its_place() -> None:
    before = ["a", "b", "c", "d"]
    assert kept_place(before, 1, before) == 1
    assert kept_place(before, 1, ["z", "a", "b"]) == 2
    assert kept_place(before, 1, ["a", "c", "d"]) == 1
    assert kept_place(before, 2, ["a", "b"]) == 1
    assert kept_place(before, 2, ["z"]) == 0
    assert kept_place([], 0, before) == 0
    assert kept_place(before, 1, []) == 0

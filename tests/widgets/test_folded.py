"""Folding: nothing is lost, nothing is too wide, and what goes on stands under what it belongs to."""

from __future__ import annotations

import pytest

from mobyshell.widgets.folded import fold

DIGEST = "sha256:" + "0123456789abcdef" * 4


def test_what_fits_is_left_alone() -> None:
    assert fold("  as it is", 10) == ["  as it is"]


def test_words_go_on_below() -> None:
    assert fold("  one two three four", 12) == ["  one two", "    three", "    four"]


def test_a_paragraph_stays_one() -> None:
    assert fold("one two three", 8) == ["one two", "three"]


def test_columns_are_kept() -> None:
    assert fold("kind  one two three", 14) == ["kind  one two", "      three"]


def test_half_a_digest_stands_under_the_other() -> None:
    assert fold(f"  {DIGEST}", 60) == [
        "  sha256:" + "0123456789abcdef" * 2, "         " + "0123456789abcdef" * 2,
    ]  # fmt: skip


def test_options_and_paths_are_broken_where_they_end() -> None:
    assert fold("-o lowerdir=/a/first:/a/second", 20) == [
        "-o",
        "lowerdir=/a/first:",
        "/a/second",
    ]


@pytest.mark.parametrize("width", range(1, 90))
def test_nothing_is_lost_or_too_wide(width: int) -> None:
    for line in (
        f"  label  {DIGEST} and more, of it",
        "x" * 200,
        "a b  c" * 9,
        "",
        " " * 30 + "y z",
    ):
        lines = fold(line, width)
        assert "".join("".join(lines).split()) == "".join(line.split())
        assert all(len(one) <= width for one in lines)

"""Graphs of text: heights, gaps, and where the newest is."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from mobyshell.widgets.bars import BLOCKS, ceiling, graph, spark

NAN = math.nan


def test_a_sparkline_has_the_newest_at_the_right() -> None:
    assert spark([0, 1, 2, 3, 4, 5, 6, 7, 8], 9) == BLOCKS
    assert spark([8, 4], 4) == "  █▄"
    assert spark([1, 2, 3], 2, top=4) == "▄▆"


def test_nothing_is_a_gap_and_a_little_is_seen() -> None:
    assert spark([4, NAN, 4], 3) == "█ █"
    assert spark([1, 1000], 2) == "▁█"
    assert spark([0, 0], 2) == "  "
    assert spark([], 3) == "   "


def test_a_graph_of_several_lines() -> None:
    assert graph([2, 8, 16], 3, 2) == ["  █", "▂██"]
    assert graph([100], 1, 3, top=100) == ["█"] * 3
    assert graph([200], 1, 2, top=100) == ["█"] * 2  # more than the most is the most


def test_the_ceiling_is_never_nothing() -> None:
    assert (ceiling([]), ceiling([NAN]), ceiling([0, 0]), ceiling([3, NAN])) == (1, 1, 1, 3)
    assert ceiling([], 5) == 5


@given(
    st.lists(st.one_of(st.floats(0, 1e15), st.just(NAN)), max_size=40),
    st.integers(1, 30), st.integers(1, 6),
)  # fmt: skip
def test_a_graph_is_as_large_as_asked(values: list[float], width: int, height: int) -> None:
    lines = graph(values, width, height)
    assert [len(line) for line in lines] == [width] * height
    assert set("".join(lines)) <= set(BLOCKS)
    for column in zip(*lines, strict=True):  # no block stands upon a gap
        assert list(column) == sorted(column, key=BLOCKS.index)

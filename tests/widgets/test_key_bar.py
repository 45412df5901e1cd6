"""Which keys are shown where there is no room for all."""

from __future__ import annotations

from mobyshell.widgets.key_bar import Hint, fitting

HINTS = [Hint("a", "Attach", "attach", "a"), Hint("b", "Back", "back", "b"),
         Hint("?", "Help", "help", "question_mark"), Hint("q", "Quit", "quit", "q")]  # fmt: skip


def test_the_way_to_the_others_is_always_there() -> None:
    assert [one.key for one in fitting(HINTS, 80)] == ["a", "b", "q", "?"]
    assert [one.key for one in fitting(HINTS, 20)] == ["a", "?"]
    assert [one.key for one in fitting(HINTS, 0)] == ["?"]


def test_a_key_that_does_not_fit_ends_the_line() -> None:
    """Keys do not change places with the width."""
    long = [Hint("l", "Long " * 20, "long", "l"), Hint("s", "S", "s", "s")]
    assert fitting(long, 40) == []

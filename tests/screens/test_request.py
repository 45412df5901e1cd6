"""How sure a person must be."""

from __future__ import annotations

import pytest

from mobyshell.screens.request import question, request, word_to_type


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (["task delete a"], ""), (["task delete --force a"], "a"), (["task delete a b"], "a"),
        (["task kill a TERM"], ""), (["task kill a KILL"], "a"), (["task kill a 9"], "a"),
        (["task kill a HUP", "task kill b HUP"], "a"), (["task stop a"], "a"),
        (["bundle rm /srv/web/"], "web"), (["task ls"], ""),
    ],
)  # fmt: skip
def test_the_word_to_type(lines: list[str], word: str) -> None:
    assert word_to_type([request(line.split()) for line in lines]) == word


def test_the_question_names_what_it_is_about() -> None:
    many = [request(["task", "kill", f"t{i}", "HUP"]) for i in range(7)]
    assert question(many) == "task kill -1 t0, t1, t2, t3, t4 and 2 more?"
    assert question([request(["task", "delete", "a", "b"])]) == "task delete a, b?"
    forced = request(["task", "delete", "--force", "a"])
    assert question([forced]) == "task delete --force a?"


@pytest.mark.parametrize("line", ["task run x", "container run x", "container start x"])
def test_what_wants_the_terminal_gets_it_unless_it_is_detached(line: str) -> None:
    assert request(line.split()).in_foreground
    assert not request([*line.split()[:2], "-d", "x"]).in_foreground

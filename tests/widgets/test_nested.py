"""Rows as a tree."""

from __future__ import annotations

from typing import Any

from mobyshell.widgets.resource import nested


def rows(**parents: str) -> list[dict[str, Any]]:
    return [{"key": key, "parent": parent} for key, parent in parents.items()]


def drawn(found: list[dict[str, Any]]) -> list[str]:
    return [stem + row["key"] for row, stem in nested(found, "key", "parent")]


def test_branches_are_moved_in_and_chains_are_not() -> None:
    assert drawn(rows(a="", b="a", c="b", d="c", e="c", f="d", g="")) == [
        "a", "↳ b", "↳ c", "├─ d", "│  ↳ f", "└─ e", "g",
    ]  # fmt: skip


def test_who_has_lost_its_parent_stands_alone() -> None:
    assert drawn(rows(b="gone", c="b")) == ["b", "↳ c"]


def test_siblings_stay_in_their_order() -> None:
    assert drawn(rows(z="", b="z", a="z")) == ["z", "├─ b", "└─ a"]


def test_a_chain_may_be_as_long_as_it_likes() -> None:
    long = rows(**{f"k{n}": f"k{n - 1}" if n else "" for n in range(3000)})
    assert len(drawn(long)) == 3000

"""Vim movement in a tree."""

from __future__ import annotations

from typing import Any

from textual.binding import Binding
from textual.containers import Vertical
from textual.widgets import Tree


def tree_bindings(name: str) -> list[Binding]:
    """The keys, called `NAME.down` and so on."""
    return [
        Binding("j", "cursor(1)", "Down", show=False, id=f"{name}.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id=f"{name}.up"),
        Binding("G", "last", "Last", show=False, id=f"{name}.last"),
    ]


class TreeKeys(Vertical):
    """Contains one tree, and answers `tree_bindings` for it."""

    @property
    def tree_view(self) -> Tree[Any]:
        """The tree itself."""
        return self.query_one(Tree)

    def action_cursor(self, step: int) -> None:
        """Vim movement."""
        if step > 0:
            self.tree_view.action_cursor_down()
        else:
            self.tree_view.action_cursor_up()

    def action_last(self) -> None:
        """To the last."""
        self.tree_view.move_cursor_to_line(max(self.tree_view.last_line, 0))

"""Help for where the person is: the keys that work now, and the verbs behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rich.table import Table
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widgets import Label, Static

from mobyshell.commands.registry import Verb, all_verbs
from mobyshell.widgets.dialog import Dialog

HERE, EVERYWHERE, MOVING = "here", "everywhere", "moving"

_MOVES = re.compile(r"^(app\.focus|cursor|scroll|page|select_cursor|toggle_node|screen\.copy)")
_PARTS = {"ResourceTable": "list", "LayerTree": "tree", "RecordView": "text", "Lines": "text"}


def live_keys(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """(where, keys, what) of each binding that works on `screen` now: the screen's own first, then
    those of what has the keyboard and of what is around it, those that work everywhere, and last how
    to move, as Textual has it for all lists and texts."""
    found: dict[tuple[str, str], list[str]] = {}
    for node, binding, _enabled, _tip in screen.active_bindings.values():
        words = binding.description or binding.action.replace("_", " ")
        if binding.system or type(node).__name__ in ("Screen", "Input"):
            continue
        key = screen.app.get_key_display(binding)
        place = MOVING if not binding.id and _MOVES.match(binding.action) else _place(node)
        found.setdefault((place, "" if place == MOVING else words), []).append(key)
    rows = [(where, " ".join(keys), words) for (where, words), keys in found.items()]
    # many keys of few words: where the words stand, else all keys would stand far from theirs
    rows = [(where, "", keys) if where == MOVING else (where, keys, words)
            for where, keys, words in rows]  # fmt: skip
    ranks = {HERE: 0, EVERYWHERE: 2, MOVING: 3}
    return sorted(rows, key=lambda row: ranks.get(row[0], 1))


def _place(node: DOMNode) -> str:
    """What a person calls it."""
    if isinstance(node, Screen):
        return HERE
    if isinstance(node, App):
        return EVERYWHERE
    name = type(node).__name__
    return _PARTS.get(name) or re.sub(r"(?<!^)([A-Z])", r" \1", name).lower()


class HelpScreen(Dialog[None]):
    """Keys, and verbs: those of `noun` first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "dismiss", "Back", id="help.leave")
    ]

    def __init__(self, keys: Sequence[tuple[str, str, str]], noun: str = "") -> None:
        super().__init__()
        self.keys, self.noun = keys, noun

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="page"):
            yield Label("Keys here", classes="title")
            yield Static(self._keys())
            yield Label("Verbs: type : and one of these", classes="title")
            yield Static(self._verbs())

    def _keys(self) -> Table:
        table = Table.grid(padding=(0, 2))
        last = ""
        for where, keys, words in self.keys:
            table.add_row(where if where != last else "", keys, words)
            last = where
        return table

    def _verbs(self) -> Table:
        def others(one: Verb) -> bool:
            return one.noun != self.noun

        table = Table.grid(padding=(0, 2))
        for one in sorted(all_verbs(), key=others):
            table.add_row(one.name, one.key, one.effect, one.summary)
        return table

"""Help for where the person is: the keys that work now, and the verbs behind them."""

from __future__ import annotations

from typing import ClassVar

from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen, Screen
from textual.widgets import Label, Static

from mobyshell.commands.registry import all_verbs


def live_keys(screen: Screen[object]) -> list[tuple[str, str, str]]:
    """(where, keys, what) of each binding that works on `screen` now, nearest first."""
    found: dict[tuple[str, str], list[str]] = {}
    for node, binding, _enabled, _tip in screen.active_bindings.values():
        words = binding.description or binding.action.replace("_", " ")
        where = type(node).__name__
        if binding.system or where in ("Screen", "Input"):
            continue
        key = screen.app.get_key_display(binding)
        found.setdefault((where, words), []).append(key)
    return [(where, " ".join(keys), words) for (where, words), keys in found.items()]


class HelpScreen(ModalScreen[None]):
    """Keys and verbs."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark", "app.pop_screen", "Back", id="help.leave")
    ]

    def __init__(self, keys: list[tuple[str, str, str]]) -> None:
        super().__init__()
        self.keys = keys

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

    @staticmethod
    def _verbs() -> Table:
        table = Table.grid(padding=(0, 2))
        for one in all_verbs():
            table.add_row(one.name, one.key, one.effect, one.summary)
        return table

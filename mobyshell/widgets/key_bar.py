"""The line of keys at the bottom: those that work now, as many as fit, and always the way to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.style import Style
from rich.text import Text
from textual import events
from textual.app import App
from textual.screen import Screen
from textual.theme import Theme
from textual.widgets import Static

from mobyshell.styles.syntax import rich_colour

LAST = "help"
"""The action that is always there: it shows what did not fit."""


@dataclass(frozen=True, slots=True)
class Hint:
    """A key, what it does, the action behind it, and the key that a click stands for."""

    key: str
    label: str
    action: str
    press: str

    @property
    def width(self) -> int:
        """Cells, with the gap after it."""
        return len(self.key) + len(self.label) + 3


def fitting(hints: Sequence[Hint], width: int) -> list[Hint]:
    """As many as fit into `width`, in their order; the way to the others is never left out."""
    last = [one for one in hints if one.action == LAST]
    room = width - sum(one.width for one in last)
    chosen = []
    for one in hints:
        if one in last:
            continue
        room -= one.width
        if room < 0:
            break
        chosen.append(one)
    return [*chosen, *last]


def hints_of(screen: Screen[object]) -> list[Hint]:
    """The keys that are to be shown on `screen` now, nearest first."""
    found: dict[str, Hint] = {}
    focused = screen.focused
    alone = getattr(focused, "takes_every_key", False)
    for node, binding, enabled, _tip in screen.active_bindings.values():
        if alone and node not in (focused, focused and focused.parent):
            continue  # what of them is typed is no key
        idle = binding.action in getattr(node, "idle_actions", ())
        if binding.show and enabled and not idle and binding.action not in found:
            key = screen.app.get_key_display(binding)
            found[binding.action] = Hint(key, binding.description, binding.action, binding.key)
    return list(found.values())


class KeyBar(Static):
    """Shows the keys; a click presses one."""

    def on_mount(self) -> None:
        self._shown: list[Hint] = []
        self.screen.bindings_updated_signal.subscribe(self, self._changed)
        self.app.theme_changed_signal.subscribe(self, self._recoloured)
        self.call_after_refresh(self._show)

    def _recoloured(self, theme: Theme) -> None:
        self._shown = []
        self._show()

    def _changed(self, screen: Screen[object]) -> None:
        if self.screen.is_active:
            self.call_after_refresh(self._show)

    def on_resize(self, event: events.Resize) -> None:
        """More fit, or fewer."""
        self._show()

    def _show(self) -> None:
        hints = fitting(hints_of(self.screen), self.content_region.width)
        if hints == self._shown:
            return
        self._shown = hints
        text = Text(no_wrap=True, overflow="crop")
        style = key_style(self.app)
        for one in hints:
            click = Style(meta={"@click": f"app.simulate_key('{one.press}')"})
            text.append(one.key, style + click)
            text.append(f" {one.label}", click)
            text.append("  ")
        self.update(text)


def key_style(app: App[object]) -> Style:
    """How a key is told from what it does: by colour, and where there is none, by weight."""
    return Style(color=rich_colour(app.theme_variables.get("footer-key-foreground", "")), bold=True)

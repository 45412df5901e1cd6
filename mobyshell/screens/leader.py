"""The key after `g`."""

from __future__ import annotations

from collections.abc import Mapping

from textual import events
from textual.app import ComposeResult
from textual.widgets import Static

from mobyshell.widgets.dialog import Dialog


class Leader(Dialog[str | None]):
    """Shows where `g` can go, and takes one key."""

    def __init__(self, places: Mapping[str, str]) -> None:
        super().__init__()
        self.places = places

    def compose(self) -> ComposeResult:
        words = [*(f"{key} {name}" for key, name in self.places.items()), "g top", "esc stay"]
        # a line more where they do not fit, broken between two of them
        text = "  ".join(word.replace(" ", "\u00a0") for word in words)
        yield Static(f"g …  {text}", id="leader", markup=False)

    def on_key(self, event: events.Key) -> None:
        """This one."""
        event.stop()
        self.dismiss(event.key)

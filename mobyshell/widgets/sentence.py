"""A sentence in the place of what is not there; hidden while there is none."""

from __future__ import annotations

from typing import Any

from textual.widget import Widget
from textual.widgets import Static


class Sentence(Static):
    """Says why. Saying the same again costs nothing: lists are read again every second."""

    def __init__(self, **more: Any) -> None:
        super().__init__("", markup=False, **more)
        self.text = ""
        self.add_class("sentence", "hidden")

    def say(self, text: str) -> None:
        """Show `text`; "" hides the sentence."""
        if text != self.text:
            self.text = text
            self.update(text)
            self.set_class(not text, "hidden")


class StandIn(Sentence, can_focus=True):
    """A sentence in the very place of a widget: while it is said, it has the keyboard that the
    widget would have, so that keys do not go astray."""

    def instead_of(self, widget: Widget, text: str) -> None:
        """Show `text` and not the widget; "": the widget, and no sentence."""
        focused = self.has_focus or widget.has_focus
        self.say(text)
        widget.set_class(bool(text), "hidden")
        if focused:
            (self if text else widget).focus()

"""A sentence in the place of what is not there; hidden while there is none."""

from __future__ import annotations

from typing import Any

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

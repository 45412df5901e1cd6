"""Boxes to tick, and one of several to choose, whose state is seen without colours.

Textual's say it by colour alone, and let the cursor of several begin on the first, whichever it is.
"""

from __future__ import annotations

from textual.widgets import Checkbox, RadioButton, RadioSet


class Tick(Checkbox):
    """A checkbox that is empty where it is off."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Show the mark, or nothing."""
        self.BUTTON_INNER = "✕" if self.value else " "
        super().watch_value()


class Choice(RadioButton):
    """One of a RadioSet, empty where it is not the one."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Show the mark, or nothing."""
        self.BUTTON_INNER = "●" if self.value else " "
        super().watch_value()


class Choices(RadioSet):
    """Several of which one is chosen, on which the cursor is at first."""

    def on_mount(self) -> None:
        self.call_later(self._to_the_chosen)  # RadioSet's own comes after this one

    def _to_the_chosen(self) -> None:
        if self.pressed_index >= 0:
            self._selected = self.pressed_index

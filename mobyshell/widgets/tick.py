"""Boxes to tick, and one of several to choose, whose state is seen without colours.

Textual's say it by colour alone.
"""

from __future__ import annotations

from textual.widgets import Checkbox, RadioButton


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

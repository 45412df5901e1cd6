"""A box to tick whose state is seen without colours."""

from __future__ import annotations

from textual.widgets import Checkbox


class Tick(Checkbox):
    """A checkbox that is empty where it is off: Textual's says it by colour alone."""

    BUTTON_INNER = " "

    def watch_value(self) -> None:
        """Show the mark, or nothing."""
        self.BUTTON_INNER = "✕" if self.value else " "
        super().watch_value()

"""A screen above another, which is answered once.

Owns that: keys that were pressed faster than it could go away find it answered already. Without, the
second one would take away the screen below, and where there is none, the workbench.
"""

from __future__ import annotations

from typing import TypeVar

from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen

Answer = TypeVar("Answer")


class Dialog(ModalScreen[Answer]):
    """What asks, or tells, until it is dismissed."""

    answered = False
    """It is on its way out."""

    def on_mount(self) -> None:
        """What was told of what was before shall not lie upon it."""
        self.app.clear_notifications()

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Answer, and go away; the first answer counts."""
        if self.answered:
            return AwaitComplete()
        self.answered = True
        return super().dismiss(result)

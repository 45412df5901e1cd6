"""Dialogs that show what a verb would do while its words are still being typed.

Owns when it is planned, and that only the plan of what is there now is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Button, Checkbox, Input

from mobyshell.commands.results import Rows
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.dialog import Dialog

PAUSE = 0.2
"""Seconds of no typing until it is planned anew."""

PLANNING = "planning it"

Plan = Callable[[Sequence[str]], Rows]
"""What a line would do, or the error that it would end with; blocks."""


class PlannedDialog(Dialog[list[str] | None]):
    """Answers the line to run; None if the person leaves. Has buttons `#do` and `#leave`."""

    @dataclass
    class Planned(Message):
        """What a line would do."""

        line: list[str]
        rows: list[Any]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._timer: Timer | None = None
        self._going: list[str] = []

    # the subclass's

    @property
    def line(self) -> list[str]:
        """What is to be run; empty while something is missing."""
        raise NotImplementedError

    def show_plan(self, rows: list[Any]) -> None:
        """Show the steps."""
        raise NotImplementedError

    def say_plan(self, text: str) -> None:
        """No steps, and why; "" if nothing is to be said."""
        raise NotImplementedError

    missing = ""
    """What to say to who has not said enough."""

    # planning

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def changed(self) -> None:
        """Another plan, in a moment."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self.plan_now)

    def plan_now(self) -> None:
        """Plan what is there."""
        if self.line:
            self._make_plan(self.line)
        else:
            self.say_plan("")

    @background(PLANNING)
    def _make_plan(self, line: list[str]) -> Message:
        return self.Planned(line, self._plan(line).rows)

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it, unless it is something else by now; and do it, if that is what it was made for."""
        if event.line == self.line:
            self.show_plan(event.rows)
            if event.line == self._going:
                self.dismiss(event.line)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What speaks against it is said before it is tried, and can be mended."""
        event.stop()
        self._going = []
        self.say_plan(f"✗ {said(self.app, event)}")

    # the end

    @on(Input.Submitted)
    @on(Button.Pressed, "#do")
    def go(self) -> None:
        """Enter, or the button."""
        if self.line:
            self._going = self.line
            self.plan_now()
        else:
            self.notify(self.missing, severity="warning", markup=False)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing is done."""
        self.dismiss(None)

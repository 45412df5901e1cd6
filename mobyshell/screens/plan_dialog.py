"""A dialog that asks for the words a verb wants, and shows what it would do while they are typed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, Input, Label, Static

from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.folded import Folded

PAUSE = 0.15
"""Seconds after the last key until what was typed is planned."""

PLANNING = "planning it"

Words = Sequence[str]


class PlanDialog(ModalScreen[list[str] | None]):
    """Answers the line to run; None if the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="plan.leave")]

    @dataclass
    class Planned(Message):
        """What would be done."""

        typed: str
        text: str

    def __init__(
        self, title: str, asked: str, line: Callable[[list[str]], list[str]],
        plan: Callable[[Words], str], *, placeholder: str = "", value: str = "",
    ) -> None:  # fmt: skip
        """`line` makes the whole line of the words that were typed, of which there must be one;
        `plan` says what a line would do (in a thread), or raises what speaks against it."""
        super().__init__()
        self.heading, self.asked, self.placeholder, self.value = title, asked, placeholder, value
        self._line, self._plan = line, plan
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Label(self.heading, classes="title", markup=False)
            yield Label(self.asked, markup=False)
            yield Input(self.value, id="words", placeholder=self.placeholder)
            with VerticalScroll(classes="steps", id="plan-steps"):
                yield Static(id="plan-text", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Do it", variant="primary", id="do")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._plan_now()

    @property
    def words(self) -> list[str]:
        """What was typed, as a shell would read it; none while a quote is open."""
        try:
            return shlex.split(self.query_one(Input).value)
        except ValueError:
            return []

    @on(Input.Changed)
    def typed(self) -> None:
        """Planned once the fingers rest."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._plan_now)

    def _plan_now(self) -> None:
        if self.words:
            self._plan_this(self.query_one(Input).value, self._line(self.words))
        else:
            self._show("")

    @background(PLANNING)
    def _plan_this(self, typed: str, line: list[str]) -> Message:
        return self.Planned(typed, self._plan(line))

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it, unless something else was typed meanwhile."""
        if event.typed == self.query_one(Input).value:
            self._show(event.text)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What speaks against it."""
        event.stop()
        self._show(f"✗ {said(self.app, event)}")

    def _show(self, text: str) -> None:
        self.query_one("#plan-text", Static).update(Folded(text))
        self.query_one("#plan-steps").set_class(not text, "hidden")

    @on(Input.Submitted)
    @on(Button.Pressed, "#do")
    def go(self) -> None:
        """Enter, or the button."""
        if self.words:
            self.dismiss(self._line(self.words))
        else:
            self.notify(self.asked, severity="warning", markup=False)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing is done."""
        self.dismiss(None)

"""A dialog that asks for the words a verb wants beside its subject."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input, Label, Static

from mobyshell.screens.planned import Plan, PlannedDialog
from mobyshell.screens.request import plan_text
from mobyshell.widgets.folded import Folded


class PlanDialog(PlannedDialog):
    """One field, and the steps below it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="plan.leave")]

    def __init__(
        self, title: str, asked: str, line: Callable[[list[str]], list[str]], plan: Plan, *,
        value: str = "",
    ) -> None:  # fmt: skip
        """`line` makes the whole line of the words that were typed, of which there must be one."""
        super().__init__(plan)
        self.heading, self.missing, self.value = title, asked, value
        self._of_words = line

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog wide"):
            yield Label(self.heading, classes="title", markup=False)
            yield Label(self.missing, markup=False)
            yield Input(self.value, id="words")
            with VerticalScroll(classes="steps", id="plan-steps"):
                yield Static(id="plan-text", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Do it", variant="primary", id="do")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self.plan_now()

    @property
    def line(self) -> list[str]:
        try:
            words = shlex.split(self.query_one(Input).value)
        except ValueError:
            return []  # a quote is still open
        return self._of_words(words) if words else []

    def show_plan(self, rows: list[Any]) -> None:
        self.say_plan(plan_text(rows))

    def say_plan(self, text: str) -> None:
        self.query_one("#plan-text", Static).update(Folded(text))
        self.query_one("#plan-steps").set_class(not text, "hidden")

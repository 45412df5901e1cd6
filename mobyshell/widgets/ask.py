"""A question that is answered by a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label

from mobyshell.widgets.dialog import Dialog


class Ask(Dialog[str | None]):
    """Answers the line; None if the person leaves, or says nothing. What is `secret` is not shown, and
    may be nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="ask.leave")]

    def __init__(
        self, question: str, answer: str = "", *, verb: str = "Save", secret: bool = False
    ) -> None:  # fmt: skip
        super().__init__()
        self.question, self.answer, self.verb, self.secret = question, answer, verb, secret

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(self.question, classes="title", markup=False)
            yield Input(self.answer, id="answer", password=self.secret)
            with Horizontal(classes="buttons"):
                yield Button(self.verb, variant="primary", id="say")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#say")
    def say(self) -> None:
        """Enter, or the button."""
        line = self.query_one(Input).value
        self.dismiss(line if self.secret else line.strip() or None)

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing is said."""
        self.dismiss(None)

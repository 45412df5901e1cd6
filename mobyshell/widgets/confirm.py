"""Questions before something is destroyed, and the choice of one thing of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from mobyshell.widgets.dialog import Dialog
from mobyshell.widgets.folded import Folded


class Confirm(Dialog[bool]):
    """Asks before something happens, whose steps `plan` says. With `typed`, only typing that word
    says yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,n", "no", "No", id="confirm.no"),
        Binding("y", "yes", "Yes", id="confirm.yes"),
    ]

    def __init__(
        self, question: str, detail: str = "", *, plan: str = "", typed: str = ""
    ) -> None:  # fmt: skip
        super().__init__()
        self.question, self.detail, self.plan, self.typed = question, detail, plan, typed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog danger wide" if self.plan else "dialog danger"):
            yield Static(Folded(self.question), classes="title", markup=False)
            if self.detail and not self.plan:  # the steps say more
                yield Static(Folded(self.detail), classes="detail", markup=False)
            if self.plan:
                with VerticalScroll(classes="steps"):
                    yield Static(Folded(self.plan), markup=False)
            if self.typed:
                yield Static(
                    Folded(f"Type {self.typed} to confirm:"), classes="asked", markup=False
                )
                yield Input(id="word")
            with Horizontal(classes="buttons"):
                yield Button("Yes", variant="error", id="yes", disabled=bool(self.typed))
                yield Button("No", id="no")

    def on_mount(self) -> None:
        self.query_one("#word" if self.typed else "#no").focus()

    @on(Input.Changed)
    def check(self, event: Input.Changed) -> None:
        """Only the right word opens the way."""
        self.query_one("#yes", Button).disabled = event.value != self.typed

    @on(Input.Submitted)
    def submit(self, event: Input.Submitted) -> None:
        """Enter after the right word."""
        if event.value == self.typed:
            self.dismiss(True)

    @on(Button.Pressed)
    def press(self, event: Button.Pressed) -> None:
        """A button."""
        self.dismiss(event.button.id == "yes")

    def action_yes(self) -> None:
        """The key y; no short cut where a word is asked for."""
        if not self.typed:
            self.dismiss(True)

    def action_no(self) -> None:
        """Leave everything as it is."""
        self.dismiss(False)


class Choose(Dialog[str | None]):
    """A list to choose one of; None if the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="choose.leave"),
    ]

    def __init__(self, title: str, options: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self.heading, self.options = title, options

    def compose(self) -> ComposeResult:
        options = (Option(Folded(text), id=key) for key, text in self.options)
        with Vertical(classes="dialog wide"):
            yield Static(Folded(self.heading), classes="title", markup=False)
            yield OptionList(*options, markup=False)

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        """This one."""
        self.dismiss(event.option_id)

    def action_leave(self) -> None:
        """None of them."""
        self.dismiss(None)

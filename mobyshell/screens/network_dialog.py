"""The dialog that makes a network: what it shall be, and beside it what that would do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, Checkbox, Input, Label

from mobyshell.commands.results import Rows
from mobyshell.screens.network_rows import STEPS
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.step_list import StepList
from mobyshell.widgets.tick import Tick

PAUSE = 0.3
"""Seconds of no typing until the plan is made anew."""

PLANNING = "planning the network"

CHOICES = (("ipv6", "IPv6 too"), ("internal", "internal"), ("routed", "routed"),
           ("open", "open to others"))  # fmt: skip

Plan = Callable[[Sequence[str]], Rows]
"""What words would do; blocks."""


class NetworkDialog(ModalScreen[list[str] | None]):
    """Answers the words of `network create`; None if the person leaves."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="new-network.leave")
    ]

    @dataclass
    class Planned(Message):
        """What these words would do."""

        words: list[str]
        rows: list[Any]

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._timer: Timer | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("New network", classes="title")
            with Horizontal(id="network-words"):
                yield Input(id="name", placeholder="its name")
                yield Input(id="subnet", placeholder="10.5.0.0/24; empty: a free one")
            with Horizontal(id="network-choices"):
                for name, label in CHOICES:
                    yield Tick(label, id=name, compact=True)
            yield StepList(STEPS, id="network-plan")
            with Horizontal(classes="buttons"):
                yield Button("Make", variant="primary", id="make")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one("#name").focus()
        self.query_one(StepList).say("Give it a name: what would be done stands here then.")

    @property
    def words(self) -> list[str]:
        """The line that makes it; without a name none."""
        name = self.query_one("#name", Input).value.strip()
        subnets = self.query_one("#subnet", Input).value.replace(",", " ").split()
        chosen = [f"--{one}" for one, _ in CHOICES if self.query_one(f"#{one}", Checkbox).value]
        more = [word for subnet in subnets for word in ("--subnet", subnet)]
        return ["network", "create", *more, *chosen, name] if name else []

    @on(Input.Changed)
    @on(Checkbox.Changed)
    def changed(self) -> None:
        """Another plan, in a moment."""
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._again)

    def _again(self) -> None:
        if self.words:
            self._make_plan(self.words)

    @background(PLANNING)
    def _make_plan(self, words: list[str]) -> Message:
        return self.Planned(words, self._plan(words).rows)

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it, unless it is something else by now."""
        if event.words == self.words:
            rows = [{key: row[key] for key in ("n", "where", "verb", "why")} for row in event.rows]
            texts = [f"{row['why']}\n\n{row['shell']}" for row in event.rows]
            self.query_one(StepList).show(rows, texts)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be made is said before it is tried."""
        event.stop()
        self.query_one(StepList).say(f"✗ {said(self.app, event)}")

    @on(Input.Submitted)
    @on(Button.Pressed, "#make")
    def make(self) -> None:
        """Enter, or the button."""
        if self.words:
            self.dismiss(self.words)
        else:
            self.notify("give it a name", severity="warning")

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing is made."""
        self.dismiss(None)

"""The dialog that makes a network: what it shall be, and beside it what that would do."""

from __future__ import annotations

from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Checkbox, Input, Label

from mobyshell.screens.network_rows import STEPS
from mobyshell.screens.planned import PlannedDialog
from mobyshell.widgets.step_list import StepList
from mobyshell.widgets.tick import Tick

CHOICES = (("ipv6", "IPv6 too"), ("internal", "internal"), ("routed", "routed"),
           ("open", "open to others"))  # fmt: skip


class NetworkDialog(PlannedDialog):
    """Answers the words of `network create`."""

    missing = "give it a name"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="new-network.leave")
    ]

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
                yield Button("Make", variant="primary", id="do")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one("#name").focus()
        self.say_plan("")

    @property
    def line(self) -> list[str]:
        name = self.query_one("#name", Input).value.strip()
        subnets = self.query_one("#subnet", Input).value.replace(",", " ").split()
        chosen = [f"--{one}" for one, _ in CHOICES if self.query_one(f"#{one}", Checkbox).value]
        more = [word for subnet in subnets for word in ("--subnet", subnet)]
        return ["network", "create", *more, *chosen, name] if name else []

    def show_plan(self, rows: list[Any]) -> None:
        shown = [{key: row[key] for key in ("n", "where", "verb", "why")} for row in rows]
        texts = [f"{row['why']}\n\n{row['shell']}" for row in rows]
        self.query_one(StepList).show(shown, texts)

    def say_plan(self, text: str) -> None:
        nothing = "Give it a name: what would be done stands here then."
        self.query_one(StepList).say(text or nothing)

"""The dialog that pulls an image: a name is asked for, and each blob has a bar until all are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.message import Message
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static

from mobyshell.core.registry.progress import Progress
from mobyshell.core.registry.stop import Stop
from mobyshell.screens.session import said
from mobyshell.screens.transfers import Transfers
from mobyshell.widgets.background import Failed, background

Pull = Callable[[str, Progress, Stop], str]
"""Fetches an image and returns its full name; blocks, and ends when the `Stop` says so."""

PULLING = "pulling the image"


class PullDialog(ModalScreen[str | None]):
    """Answers the full name of what was pulled; None if the person leaves, which stops it."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="pull.leave")]

    @dataclass
    class Pulled(Message):
        """All is there."""

        name: str

    def __init__(self, pull: Pull) -> None:
        super().__init__()
        self._pull = pull
        self._transfers = Transfers()
        self._stop: Stop | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("Pull an image", classes="title")
            yield Input(id="name", placeholder="busybox, or registry.example.com/team/app:1.0")
            with VerticalScroll(id="transfers", can_focus=False):
                yield Static(id="bars", markup=False)
            yield Static(id="pull-said", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Pull", variant="primary", id="pull")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.ticker = self.set_interval(0.1, self._draw, pause=True)
        self.query_one(Input).focus()

    def on_unmount(self) -> None:
        if self._stop is not None:
            self._stop.stop()

    @on(Input.Submitted)
    @on(Button.Pressed, "#pull")
    def begin(self) -> None:
        """Enter, or the button; once more after a failure."""
        name = self.query_one(Input).value.strip()
        if not name:
            self.notify("which one?", severity="warning")
        elif self._stop is None:
            self._transfers, self._stop = Transfers(), Stop()
            self.query_one("#pull", Button).disabled = True
            self.ticker.resume()
            self._draw()
            self._fetch(name, self._transfers, self._stop)

    @background(PULLING)
    def _fetch(self, name: str, transfers: Transfers, stop: Stop) -> Message:
        return self.Pulled(self._pull(name, transfers, stop))

    def _draw(self) -> None:
        self.query_one("#bars", Static).update("\n".join(self._transfers.lines()))
        self.query_one("#pull-said", Static).update(self._transfers.note)

    @on(Pulled)
    def pulled(self, event: Pulled) -> None:
        """To it."""
        self._stop = None
        self.dismiss(event.name)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Said where its bars are; the name can be mended."""
        event.stop()
        self._stop = None
        self.ticker.pause()
        self._draw()
        self.query_one("#pull-said", Static).update(f"✗ {said(self.app, event)}")
        self.query_one("#pull", Button).disabled = False
        self.query_one(Input).focus()

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """It is stopped; what has come is there for the next time."""
        self.dismiss(None)

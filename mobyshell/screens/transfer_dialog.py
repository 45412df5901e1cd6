"""The dialog that pulls or pushes an image: a name is asked for, and each blob has a bar until all
are there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Protocol

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.message import Message
from textual.widgets import Button, Input, Static

from mobyshell.core.registry.progress import Progress
from mobyshell.core.registry.stop import Stop
from mobyshell.screens.session import said
from mobyshell.screens.transfers import Transfers
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.dialog import Dialog
from mobyshell.widgets.folded import Folded

Transfer = Callable[[str, Progress, Stop], str]
"""Brings an image here or there and returns its full name; blocks, and ends when the `Stop` says so."""


class Transferring(Protocol):
    """Who can bring images: the session."""

    def pull(self, name: str, progress: Progress, stop: Stop) -> str: ...
    def push(self, image: str, target: str, progress: Progress, stop: Stop) -> str: ...


UNDER_WAY = "the transfer of the image"

AROUND = 17
"""Lines of the screen that are not for bars."""


class TransferDialog(Dialog[str | None]):
    """Answers the full name of what was brought; None if the person leaves, which stops it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="transfer.leave")
    ]

    @dataclass
    class Brought(Message):
        """All is there."""

        name: str

    def __init__(
        self, title: str, verb: str, transfer: Transfer, *, name: str = "", at_once: bool = False
    ) -> None:
        """`verb`: what the button says; `name`: what stands in the field at first; `at_once`: and
        is gone for without a further key."""
        super().__init__()
        self.at_once = at_once
        self.heading, self.verb, self.default = title, verb, name
        self._transfer = transfer
        self._transfers = Transfers()
        self._stop: Stop | None = None

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(Folded(self.heading), classes="title", markup=False)
            yield Input(self.default, id="name",
                        placeholder="busybox, or registry.example.com/team/app:1.0")  # fmt: skip
            yield Static(id="transfer-said", markup=False)
            yield Static(id="bars", markup=False)
            with Horizontal(classes="buttons"):
                yield Button(self.verb, variant="primary", id="go")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.ticker = self.set_interval(0.1, self._draw, pause=True)
        self.query_one(Input).focus()
        if self.at_once:
            self.begin()

    def on_unmount(self) -> None:
        if self._stop is not None:
            self._stop.stop()

    @on(Input.Submitted)
    @on(Button.Pressed, "#go")
    def begin(self) -> None:
        """Enter, or the button; once more after a failure."""
        name = self.query_one(Input).value.strip()
        if not name:
            self.notify("which one?", severity="warning")
        elif self._stop is None:
            self._transfers, self._stop = Transfers(), Stop()
            self.query_one("#go", Button).disabled = True
            self.ticker.resume()
            self._draw()
            self._bring(name, self._transfers, self._stop)

    @background(UNDER_WAY)
    def _bring(self, name: str, transfers: Transfers, stop: Stop) -> Message:
        return self.Brought(self._transfer(name, transfers, stop))

    def _draw(self) -> None:
        self._draw_bars()
        said = (self._transfers.summary, self._transfers.note)
        self.query_one("#transfer-said", Static).update("\n".join(one for one in said if one))

    def _draw_bars(self) -> None:
        bars = self.query_one("#bars", Static)
        room = max(3, self.app.size.height - AROUND)
        bars.update("\n".join(self._transfers.lines(bars.content_size.width, room)))

    @on(Brought)
    def brought(self, event: Brought) -> None:
        """To it."""
        self._stop = None
        self.dismiss(event.name)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Said where its bars are; the name can be mended."""
        event.stop()
        self._stop = None
        self.ticker.pause()
        self._draw_bars()
        self.query_one("#transfer-said", Static).update(f"✗ {said(self.app, event)}")
        self.query_one("#go", Button).disabled = False
        self.query_one(Input).focus()

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """It is stopped; what has come is there for the next time."""
        if self._stop is not None:
            said = self._transfers.summary.partition(",")[0] or "nothing"
            self.notify(f"{said} is there, and need not come again",
                        title=f"{self.verb} stopped", markup=False)  # fmt: skip
        self.dismiss(None)


def watched(words: Sequence[str], by: Transferring) -> TransferDialog | None:
    """The dialog of a line that does no more than it can do: the name of an image, or of one and of
    where to."""
    match words:
        case ["image", "pull", name] if not name.startswith("-"):
            return TransferDialog("Pull an image", "Pull", by.pull, name=name, at_once=True)
        case ["image", "push", image, target] if not (image + target).startswith("-"):
            push = partial(by.push, image)
            return TransferDialog(f"Push {image} to", "Push", push, name=target, at_once=True)
    return None

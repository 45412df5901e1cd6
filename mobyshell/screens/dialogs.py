"""Dialogs that ask for more than yes or no."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Button, Input, Label, RadioSet

from mobyshell.core.errors import UsageError
from mobyshell.widgets.dialog import Dialog
from mobyshell.widgets.tick import Choice, Choices

SHELLS = frozenset(("sh", "bash", "ash", "dash", "ksh", "zsh", "fish"))


@dataclass(frozen=True, slots=True)
class NewBundle:
    """What a new bundle shall be."""

    name: str
    source: str


def free_name(directory: str) -> str:
    """A name for a new bundle that nothing in `directory` has."""
    names = ("first", "second", "third", *(f"bundle{number}" for number in range(4, 10_000)))
    return next((one for one in names if not os.path.lexists(os.path.join(directory, one))), "")


class NewBundleDialog(Dialog[NewBundle | None]):
    """Name, and what the root filesystem is made of."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="new-bundle.leave")
    ]

    def __init__(self, offered: str) -> None:
        """`offered`: a name for who does not care, which is typed over."""
        super().__init__()
        self.offered = offered

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label("New bundle", classes="title")
            yield Label("Name (a directory here)")
            yield Input(self.offered, id="name", placeholder="a name")
            yield Label("Root filesystem from")
            with Choices(id="kind"):
                yield Choice("a static busybox of this machine", value=True, id="busybox")
                yield Choice("programs of this machine: bash,ls,…", id="host")
                yield Choice("a tarball", id="tar")
            yield Input(id="words", placeholder="programs or file", classes="hidden")
            with Horizontal(classes="buttons"):
                yield Button("Make", variant="primary", id="make")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one("#name").focus()

    @on(RadioSet.Changed)
    def changed(self, event: RadioSet.Changed) -> None:
        """Programs and tarballs need a word more."""
        self.query_one("#words").set_class(event.pressed.id == "busybox", "hidden")

    @on(Input.Submitted)
    @on(Button.Pressed, "#make")
    def make(self) -> None:
        """Enter, or the button."""
        name = self.query_one("#name", Input).value.strip()
        pressed = self.query_one(RadioSet).pressed_button
        kind = str(pressed.id) if pressed is not None else "busybox"
        words = self.query_one("#words", Input).value.strip()
        if not name:
            self.notify("give it a name", severity="warning")
        elif kind != "busybox" and not words:
            self.notify("say which", severity="warning")
        else:
            self.dismiss(NewBundle(name, "busybox" if kind == "busybox" else f"{kind}:{words}"))

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing is made."""
        self.dismiss(None)


@dataclass(frozen=True, slots=True)
class RunBundle:
    """How a bundle or an image shall be run. An empty id is chosen, empty args are the config's."""

    id: str
    args: str
    terminal: bool


def is_a_shell(args: Sequence[str]) -> bool:
    """Whether a command by itself ends at once where it has no terminal to read from."""
    return len(args) == 1 and os.path.basename(args[0]) in SHELLS


def run_line(subject: str, wanted: RunBundle, noun: str = "task") -> list[str]:
    """The words that run a bundle (as a task) or an image (as a container) so. UsageError for a
    command with an open quote."""
    line = [noun, "run", "-d", *(["-t", "-i"] if wanted.terminal else [])]
    line += [*(["--name", wanted.id] if wanted.id else []), subject]
    try:
        args = shlex.split(wanted.args)
    except ValueError as error:
        raise UsageError(f"unfinished command: {error}") from None
    return [*line, "--", *args] if args else line


class RunDialog(Dialog[RunBundle | None]):
    """Id, command, terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "Leave", id="run.leave")]

    def __init__(self, subject: str, args: str, terminal: bool) -> None:
        super().__init__()
        self.subject, self.args, self.with_terminal = subject, args, terminal

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Label(f"Run {self.subject}", classes="title", markup=False)
            yield Label("Id (empty: after its name)")
            yield Input(id="id")
            yield Label("Command (empty: as it says itself)")
            yield Input(id="args", placeholder=self.args)
            with Choices(id="terminal"):
                yield Choice("with a terminal", value=self.with_terminal, id="with")
                yield Choice("without one", value=not self.with_terminal, id="without")
            with Horizontal(classes="buttons"):
                yield Button("Run", variant="primary", id="go")
                yield Button("Leave", id="leave")

    def on_mount(self) -> None:
        self.query_one("#id").focus()

    @on(Input.Submitted)
    @on(Button.Pressed, "#go")
    def go(self) -> None:
        """Enter, or the button."""
        terminal = self.query_one(RadioSet).pressed_button
        self.dismiss(
            RunBundle(
                self.query_one("#id", Input).value.strip(),
                self.query_one("#args", Input).value.strip(),
                terminal is not None and terminal.id == "with",
            )
        )

    @on(Button.Pressed, "#leave")
    def action_leave(self) -> None:
        """Nothing runs."""
        self.dismiss(None)

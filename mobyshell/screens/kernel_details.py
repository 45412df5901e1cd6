"""All about one namespace of the kernel, in tabs; what is inside is read when it is looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.core.linux.local_terminal import LocalTerminal
from mobyshell.core.linux.namespaces.details import Fact
from mobyshell.core.linux.namespaces.entry import enter_namespaces, program
from mobyshell.moby.kernel import Kernel
from mobyshell.screens.kernel_rows import (
    MEMBERS,
    Seen,
    explain_text,
    inside_text,
    member_rows,
    names_of,
)
from mobyshell.screens.session import said
from mobyshell.screens.terminal_pane import TerminalPane
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.tabs import Tabbed, tab_bindings

NOTHING = "No terminal is open: s opens a shell in the namespace, e one here."

INSIDE = "looking into the namespace"


class KernelTerminal(TerminalPane):
    """A program in namespaces, in a terminal of this machine."""

    def open_shell(self, one: Seen, inodes: list[int]) -> None:
        """A shell in these. The look is the one that the person saw; what has changed is noticed."""
        rows, columns = self.place

        def connect() -> LocalTerminal:
            command = program(enter_namespaces(one.look.survey, inodes), ["sh"])
            return LocalTerminal(command, rows=rows, columns=columns)

        self.open(f"a shell in {names_of(one.look, inodes)}", connect)

    def parting(self, detached: bool) -> str:
        return (
            "the terminal is closed, and the shell with it" if detached else "the shell has ended"
        )


class KernelDetails(Tabbed):
    """Inside, members, explain, terminal."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("kernel-details")]

    @dataclass
    class Read(Message):
        """What is inside was read."""

        one: Seen
        facts: list[Fact]

    def __init__(self, kernel: Kernel, **more: Any) -> None:
        super().__init__(**more)
        self._kernel = kernel
        self._one: Seen | None = None

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="inside"):
            with TabPane("Inside", id="inside"):
                yield RecordView()
            with TabPane("Members", id="members"):
                yield Listing(MEMBERS, id="processes")
            with TabPane("Explain", id="explain"):
                yield RecordView()
            with TabPane("Terminal", id="terminal"):
                yield KernelTerminal(NOTHING)

    @property
    def terminal(self) -> KernelTerminal:
        """The terminal tab."""
        return self.query_one(KernelTerminal)

    @property
    def members(self) -> Listing:
        """The members tab."""
        return self.query_one(Listing)

    def show(self, info: Seen | None) -> None:
        """Another one, or news of the same."""
        before, self._one = self._one, info
        if info is None:
            for pane in (*self.query(RecordView), self.members):
                pane.say("No namespace is chosen.")
            return
        if before is None or before.namespace.inode != info.namespace.inode:
            self.members.table.query_text = ""
            self.from_the_top()
        if before is None or before.namespace != info.namespace:
            self._inside.say("…")
            self._refresh_soon()
        self.members.set_rows(member_rows(info))
        self.query_one("#explain RecordView", RecordView).say(explain_text(info))

    def _refresh_soon(self) -> None:
        self.soon(self._refresh)

    @on(TabbedContent.TabActivated)
    def _refresh(self) -> None:
        if self._one is not None and self.tab == "inside":
            self._read(self._one)

    @background(INSIDE)
    def _read(self, one: Seen) -> Message:
        return self.Read(one, list(self._kernel.details(one.look, one.namespace)))

    @on(Read)
    def read(self, event: Read) -> None:
        """Show it, unless another one is looked at by now."""
        event.stop()
        if self._one is not None and event.one.namespace.inode == self._one.namespace.inode:
            self._inside.say(inside_text(self._one, event.facts))

    @property
    def _inside(self) -> RecordView:
        return self.query_one("#inside RecordView", RecordView)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said in its place."""
        if event.what == INSIDE:
            event.stop()
            self._inside.say(said(self.app, event))

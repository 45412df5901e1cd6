"""The kernel's namespaces: a tree of them, and all about the one under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from mobyshell.core.errors import NotFound
from mobyshell.core.linux.namespaces.tree import OWNER
from mobyshell.screens.base import number_of
from mobyshell.screens.kernel_details import KernelDetails
from mobyshell.screens.kernel_list import KernelList
from mobyshell.screens.kernel_rows import Seen, commands, names_of
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.session import suspended, tell
from mobyshell.screens.terminal_pane import TerminalPane
from mobyshell.screens.views import OTHER, ViewBar
from mobyshell.widgets.confirm import Choose


class KernelScreen(ListScreen[Seen]):
    """Namespaces of the kernel."""

    NAME = "kernel"
    NOUN = "ns"
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings(
            "ns",
            Binding("v", "other", "Tenants", id="ns.other"),
            Binding("m", "tab('members')", "Members", id="ns.members"),
            Binding("y", "tab('explain')", "Explain", id="ns.explain"),
            Binding("b", "turn", "By owner/kind", id="ns.turn"),
            Binding("t", "task", "To its task", id="ns.task"),
            Binding("e", "enter_tab", "Shell in a tab", show=False, id="ns.enter-tab"),
            Binding("C", "copy_command", "Copy a command", show=False, id="ns.copy-command"),
            shown=("enter",),
        )
    ]

    def body(self) -> ComposeResult:
        yield ViewBar(self.NAME)
        yield from super().body()

    def make_list(self) -> LiveList[Seen]:
        return KernelList(self.session, id="list")

    def make_details(self) -> Widget:
        return KernelDetails(self.session.kernel, id="details")

    def count(self, infos: Sequence[Seen]) -> str:
        order = "by owner" if self.kernel_list.order == OWNER else "by kind"
        hidden = len(infos[0].look.survey.unreadable) if infos else 0
        count = f"{number_of(len(infos), 'namespace')} {order}"
        return f"{count}, {hidden} unreadable" if hidden else count

    def called(self, info: Seen) -> str:
        return f"{info.namespace.kind} {info.namespace.inode}"

    @property
    def kernel_list(self) -> KernelList:
        """The list."""
        return self.query_one(KernelList)

    @property
    def details(self) -> KernelDetails:
        """All about one."""
        return self.query_one(KernelDetails)

    # moving about

    def action_other(self) -> None:
        """To the tenants."""
        self.moby.action_go(OTHER[self.NAME])

    def action_tab(self, name: str) -> None:
        """Show a tab of the details."""
        self.details.tab = name
        self.action_details()

    def action_turn(self) -> None:
        """The tree by the other relation."""
        self.kernel_list.turn()
        self.listed(LiveList.Changed(list(self.kernel_list.infos.values())))

    def action_task(self) -> None:
        """To the task of the process under the cursor, or else of the namespace."""
        chosen = self.live_list.chosen
        if chosen is None:
            return
        members = self.details.members.table
        pids = chosen.namespace.members
        if members.has_focus and members.chosen is not None:
            pids = (int(members.chosen),)
        found = [chosen.look.tasks[pid] for pid in pids if pid in chosen.look.tasks]
        if not found:
            tell(self.moby, NotFound("no process in it belongs to a task of ours"))
        elif found[0].namespace != self.session.context.namespace:
            tell(self.moby, NotFound(f"task {found[0].id} is in namespace {found[0].namespace}",
                                     hint=f":namespace use {found[0].namespace}"))  # fmt: skip
        else:
            self.moby.show_task(found[0].id)

    @on(TerminalPane.Left)
    def left_terminal(self) -> None:
        """Back to the list."""
        self.action_back()

    # verbs that want more than their subject

    def verb_enter(self) -> None:
        """A shell in what is marked, full screen; in a tab where the terminal cannot be handed over."""
        chosen = self.live_list.chosen
        if chosen is None:
            return
        if self.moby.can_suspend:
            words = ["ns", "enter", ",".join(self.subjects), "sh"]
            names = names_of(chosen.look, map(int, self.subjects))
            suspended(self.moby, self.session.command_line(words), f"a shell in {names}")
            self.reread()
        else:
            self.action_enter_tab()

    def action_enter_tab(self) -> None:
        """A shell in what is marked, in the terminal tab."""
        chosen = self.live_list.chosen
        if chosen is not None and self.permitted("ns", "enter"):
            inodes = [int(one) for one in self.subjects]
            self.action_tab("terminal")
            self.details.terminal.open_shell(chosen, inodes)

    def action_copy_command(self) -> None:
        """A command of util-linux, to the clipboard."""
        chosen = self.live_list.chosen
        if chosen is None:
            return
        found = commands(chosen)

        def picked(what: str | None) -> None:
            if what is not None:
                self.app.copy_to_clipboard(found[what])
                self.notify(f"copied {found[what]}", markup=False)

        options = [(what, f"{what:6} {command}") for what, command in found.items()]
        self.app.push_screen(Choose(self.called(chosen), options), picked)

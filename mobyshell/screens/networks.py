"""The networks of the namespace: a list, and all about one: who is in it, how, and by which rules."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import BindingType
from textual.widget import Widget

from mobyshell.core.network.look import NetworkInfo
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.network_details import TABS, NetworkDetails
from mobyshell.screens.network_dialog import NetworkDialog
from mobyshell.screens.network_list import NetworkList


class NetworksScreen(ListScreen[NetworkInfo]):
    """Networks."""

    NAME = "networks"
    NOUN = "network"
    MAKES = ("network create",)
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings("network", shown=("create", "inspect", "plan", "rm"))
    ]

    def make_list(self) -> LiveList[NetworkInfo]:
        return NetworkList(self.session, id="list")

    def make_details(self) -> Widget:
        return NetworkDetails(self.session.networks, id="details")

    @property
    def details(self) -> NetworkDetails:
        """All about one."""
        return self.query_one(NetworkDetails)

    @on(NetworkDetails.Picked)
    def picked(self, event: NetworkDetails.Picked) -> None:
        """To the task."""
        self.moby.show_task(event.id)

    def on_verb(self, verb: str) -> bool:
        """A verb that looks has a tab."""
        if verb in TABS and self.subject is not None:
            self.details.tab = TABS[verb]
            self.action_details()
            return True
        return False

    def verb_connect(self) -> None:
        """Which task is asked for by the `:` line, which completes it."""
        self.ask_more("connect")

    def verb_create(self) -> None:
        """Ask what it shall be, with the plan beside it, and make it."""

        def answered(words: list[str] | None) -> None:
            if words is not None:
                self.perform(words)

        self.app.push_screen(NetworkDialog(self.session.plan), answered)

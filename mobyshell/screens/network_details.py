"""All about one network, in tabs; the kernel is asked in a thread, when the cursor rests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.core.network.look import NetworkInfo, NetworkLook
from mobyshell.core.network.values import Operation
from mobyshell.moby.networks import Networks
from mobyshell.screens.network_rows import (
    MEMBERS,
    STEPS,
    config_text,
    member_rows,
    names_text,
    rules_text,
    step_rows,
    step_text,
    topology,
)
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.step_list import StepList
from mobyshell.widgets.tabs import Tabbed, tab_bindings

STALE = 3.0
"""Seconds after which what the kernel had is asked for again, when the list is read again."""

LOOKING = "looking at the network"
PLANNING = "planning what the next task would do"

TABS = {"inspect": "config", "plan": "explain"}
"""The tab of each verb that looks."""


class NetworkDetails(Tabbed):
    """Members, topology, rules, names, explain, config."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("network-details")]

    @dataclass
    class Looked(Message):
        """What the kernel has of a network."""

        look: NetworkLook

    @dataclass
    class Planned(Message):
        """What joining one more would do."""

        name: str
        steps: tuple[Operation, ...]

    @dataclass
    class Picked(Message):
        """Enter on a member."""

        id: str

    def __init__(self, networks: Networks, **more: Any) -> None:
        super().__init__(**more)
        self._networks = networks
        self._info: NetworkInfo | None = None
        self._looked_at = 0.0

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="members"):
            with TabPane("Members", id="members"):
                yield Listing(MEMBERS, id="member-list")
            for title in ("Topology", "Rules", "Names"):
                with TabPane(title, id=title.lower()):
                    yield RecordView()
            with TabPane("Explain", id="explain"):
                yield StepList(STEPS)
            with TabPane("Config", id="config"):
                yield RecordView()

    def _text(self, tab: str) -> RecordView:
        return self.query_one(f"#{tab}").query_one(RecordView)

    @property
    def members(self) -> Listing:
        """Who is in it."""
        return self.query_one("#member-list", Listing)

    @property
    def steps(self) -> StepList:
        """What joining one more would do."""
        return self.query_one(StepList)

    def show(self, info: NetworkInfo | None) -> None:
        """Another network, or news of the same; the kernel is asked once the cursor rests."""
        before, self._info = self._info, info
        if info is None:
            self._say_all("No network is chosen.")
        elif info != before:
            if before is None or before.name != info.name:
                self._say_all("…")
                self.from_the_top()
            self._text("config").say(config_text(info))
            self.soon(self._ask)
        elif self.display and time.monotonic() - self._looked_at > STALE:
            # the list was read again: devices and rules may have changed, too
            self._looked_at = time.monotonic()
            self._look(info.name)

    def _say_all(self, sentence: str) -> None:
        for tab in ("topology", "rules", "names", "config"):
            self._text(tab).say(sentence)
        self.members.say(sentence)
        self.steps.say(sentence)

    def _ask(self) -> None:
        if self._info is not None:
            self._looked_at = time.monotonic()
            self._look(self._info.name)
            self._plan(self._info.name)

    @background(LOOKING)
    def _look(self, name: str) -> Message:
        return self.Looked(self._networks.look(name))

    @background(PLANNING)
    def _plan(self, name: str) -> Message:
        return self.Planned(name, self._networks.plan(name))

    @on(Looked)
    def looked(self, event: Looked) -> None:
        """Show it, unless another network is looked at by now."""
        event.stop()
        look = event.look
        if self._info is not None and look.info.name == self._info.name:
            self.members.set_rows(member_rows(look))
            for tab, text in (("topology", topology(look)), ("rules", rules_text(look)),
                              ("names", names_text(look))):  # fmt: skip
                self._text(tab).say(text)

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it, unless another network is looked at by now."""
        event.stop()
        if self._info is not None and event.name == self._info.name:
            self.steps.show(step_rows(event.steps), [step_text(one) for one in event.steps])

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said where it would be."""
        event.stop()
        text = said(self.app, event)
        if event.what == PLANNING:
            self.steps.say(text)
        else:
            self.members.say(text)
            for tab in ("topology", "rules", "names"):
                self._text(tab).say(text)

    # moving about

    @on(ResourceTable.RowSelected, "#member-list ResourceTable")
    def picked(self, event: ResourceTable.RowSelected) -> None:
        """Enter on a member: to the task."""
        event.stop()
        if self.members.table.chosen is not None:
            self.post_message(self.Picked(self.members.table.chosen))

    @on(ResourceTable.Chosen)
    def chosen(self, event: ResourceTable.Chosen) -> None:
        """Nobody else's business."""
        event.stop()

"""What one tenant holds: kind by kind, object by object, its labels; read in a thread."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.moby.tenants import ObjectInfo, TenantInfo, Tenants
from mobyshell.screens.session import said
from mobyshell.screens.tenant_rows import (
    HOLDINGS,
    OBJECTS,
    explain_text,
    holding_rows,
    labels_text,
    object_rows,
)
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.tabs import Tabbed, tab_bindings

READING = "reading what the namespace holds"


class TenantDetails(Tabbed):
    """Holds, objects, labels, explain."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("tenant-details")]

    @dataclass
    class Read(Message):
        """What a tenant holds was read."""

        name: str
        objects: list[ObjectInfo]

    @dataclass
    class Picked(Message):
        """Enter on an object."""

        kind: str
        name: str

    def __init__(self, tenants: Tenants, now_ns: Callable[[], int], **more: Any) -> None:
        super().__init__(**more)
        self._tenants, self._now_ns = tenants, now_ns
        self._one: TenantInfo | None = None
        self._tasks: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="holds"):
            with TabPane("Holds", id="holds"):
                yield Listing(HOLDINGS)
            with TabPane("Objects", id="objects"):
                yield Listing(OBJECTS)
            with TabPane("Labels", id="labels"):
                yield RecordView()
            with TabPane("Explain", id="explain"):
                yield RecordView()

    def on_mount(self) -> None:
        self.query_one("#explain RecordView", RecordView).say(explain_text())

    @property
    def holds(self) -> Listing:
        """The kinds."""
        return self.query_one("#holds Listing", Listing)

    @property
    def objects(self) -> Listing:
        """The objects, of one kind or of all."""
        return self.query_one("#objects Listing", Listing)

    @property
    def labels(self) -> RecordView:
        """What is known beside them."""
        return self.query_one("#labels RecordView", RecordView)

    def show(self, info: TenantInfo | None) -> None:
        """Another one, or news of the same."""
        before, self._one = self._one, info
        if info is None:
            for pane in (self.holds, self.objects, self.labels):
                pane.say("No namespace is chosen.")
        elif before != info:
            if before is None or before.name != info.name:
                self.objects.table.filter("")
                for pane in (self.holds, self.objects, self.labels):
                    pane.say("…")
            self.soon(self._refresh)

    def _refresh(self) -> None:
        if self._one is not None:
            self._read(self._one.name)

    @background(READING)
    def _read(self, name: str) -> Message:
        return self.Read(name, self._tenants.objects(name))

    @on(Read)
    def read(self, event: Read) -> None:
        """Show it, unless another one is looked at by now."""
        event.stop()
        if self._one is not None and event.name == self._one.name:
            self._tasks = frozenset(one.name for one in event.objects if one.kind == "tasks")
            self.holds.set_rows(holding_rows(event.objects))
            self.objects.set_rows(object_rows(event.objects, self._now_ns()))
            self.labels.say(labels_text(self._one, event.objects))

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said in its place."""
        if event.what == READING:
            event.stop()
            text = said(self.app, event)
            for pane in (self.holds, self.objects, self.labels):
                pane.say(text)

    # moving about

    @on(ResourceTable.RowSelected, "#holds ResourceTable")
    def into(self, event: ResourceTable.RowSelected) -> None:
        """The objects of a kind."""
        event.stop()
        kind = self.holds.table.chosen
        if kind is not None:
            self.objects.table.filter(f"kind={kind}")
            self.tab = "objects"
            self.focus_content()

    @on(ResourceTable.RowSelected, "#objects ResourceTable")
    def pick(self, event: ResourceTable.RowSelected) -> None:
        """To the screen of its kind; of a container, to its task."""
        event.stop()
        row = self.objects.table.row
        if row is not None:
            lives = row["kind"] == "containers" and row["name"] in self._tasks
            self.post_message(self.Picked("tasks" if lives else row["kind"], row["name"]))

    def leave_objects(self) -> bool:
        """Back to the kinds, and say whether that was so."""
        if self.tab != "objects" or not self.has_focus_within:
            return False
        self.objects.table.filter("")
        self.tab = "holds"
        self.focus_content()
        return True

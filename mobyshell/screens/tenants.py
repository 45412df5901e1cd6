"""The tenants of the store: how much each has, and what; into one, out of it, and away with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widget import Widget

from mobyshell.core.errors import NotFound
from mobyshell.moby.tenants import TenantInfo
from mobyshell.screens.base import number_of
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.places import PLACES
from mobyshell.screens.session import tell
from mobyshell.screens.tenant_details import TenantDetails
from mobyshell.screens.tenant_list import TenantList
from mobyshell.screens.views import OTHER, ViewBar


class TenantsScreen(ListScreen[TenantInfo]):
    """Namespaces of the store."""

    NAME = "namespaces"
    NOUN = "namespace"
    ASKED = ("label",)
    MAKES = ("namespace create", "namespace use")
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings(
            "namespace",
            Binding("v", "other", "Kernel's", id="namespace.other"),
            Binding("y", "explain", "Explain", id="namespace.explain"),
            shown=("use", "create", "label", "rm"),
        )
    ]

    def body(self) -> ComposeResult:
        yield ViewBar(self.NAME)
        yield from super().body()

    def make_list(self) -> LiveList[TenantInfo]:
        return TenantList(self.session, id="list")

    def make_details(self) -> Widget:
        now_ns = self.session.context.clock.now_ns
        return TenantDetails(self.session.tenants, now_ns, id="details")

    def count(self, infos: Sequence[TenantInfo]) -> str:
        return number_of(len(infos), "tenant")

    @property
    def details(self) -> TenantDetails:
        """All about one."""
        return self.query_one(TenantDetails)

    # moving about

    def action_other(self) -> None:
        """To the kernel's."""
        self.moby.action_go(OTHER[self.NAME])

    def action_explain(self) -> None:
        """What a tenant is."""
        self.details.tab = "explain"
        self.action_details()

    def action_back(self) -> None:
        """From the objects to the kinds, and from these to the list."""
        if not self.details.leave_objects():
            super().action_back()

    @on(TenantDetails.Picked)
    def to_object(self, event: TenantDetails.Picked) -> None:
        """To the screen of its kind, if there is one, and if the session can see it."""
        chosen = self.live_list.chosen
        if chosen is None or event.kind not in {one.name for one in PLACES}:
            why = "has no task" if event.kind == "containers" else "has no screen of its own"
            tell(self.moby, NotFound(f"{event.name} {why}", hint="its verbs: :help"))
        elif not chosen.used:
            tell(self.moby, NotFound(f"{event.name} is in namespace {chosen.name}",
                                     hint="u, on it in the list, is into it"))  # fmt: skip
        else:
            self.moby.show_in(event.kind, event.name)

    # verbs that want more than their subject

    def verb_create(self) -> None:
        """Its name is for the person to say."""
        self.ask("namespace create ")

    def verb_label(self) -> None:
        """And which label."""
        self.ask_more("label")

    def verb_rm(self) -> None:
        """Every one that is marked; the one in use is left by the person first."""
        self.perform(*(["namespace", "rm", one] for one in self.subjects))

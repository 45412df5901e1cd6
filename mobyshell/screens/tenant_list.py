"""The list of tenants: read when something happened to the store, in whichever of them."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.moby.tenants import TenantInfo
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.tenant_rows import TENANTS, tenant_rows
from mobyshell.widgets.resource import Row


class TenantList(LiveList[TenantInfo]):
    """Which tenants there are, and how much each has."""

    SPEC = TENANTS
    TOPICS = ("/namespaces/", "/images/", "/containers/", "/content/", "/snapshot/", "/tasks/")
    EVERYWHERE = True
    POLL = 10.0  # networks and volumes have no events

    def read(self) -> list[TenantInfo]:
        return self.session.tenants.ls()

    def rows(self, infos: Sequence[TenantInfo], now_ns: int) -> Sequence[Row]:
        return tenant_rows(infos)

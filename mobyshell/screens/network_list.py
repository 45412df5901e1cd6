"""The list of networks: read when tasks come and go, and now and then for files that others write."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.core.network.look import NetworkInfo
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.network_rows import NETWORKS, network_rows
from mobyshell.widgets.resource import Row


class NetworkList(LiveList[NetworkInfo]):
    """Which networks there are."""

    SPEC = NETWORKS
    TOPICS = ("/tasks/create", "/tasks/start", "/tasks/delete", "/networks/connect",
              "/networks/disconnect")  # fmt: skip
    POLL = 4.0  # files, for which there are no events

    def read(self) -> list[NetworkInfo]:
        return self.session.networks.ls()

    def rows(self, infos: Sequence[NetworkInfo], now_ns: int) -> Sequence[Row]:
        return network_rows(infos)

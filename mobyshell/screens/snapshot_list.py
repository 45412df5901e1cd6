"""The list of snapshots, as a tree: read when the store says that something happened to it."""

from __future__ import annotations

from collections.abc import Sequence

from mobyshell.moby.snapshot_survey import SnapshotInfo
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.snapshot_rows import SNAPSHOTS, snapshot_rows
from mobyshell.widgets.resource import Row


class SnapshotList(LiveList[SnapshotInfo]):
    """Which snapshots there are."""

    SPEC = SNAPSHOTS
    TOPICS = (
        "/snapshot/",
        "/images/",
        "/containers/",
        "/content/",
    )  # what there is, and who keeps it
    POLL = 30.0  # leases and labels have no events, nor has what is written into an active one

    def read(self) -> list[SnapshotInfo]:
        return self.session.snapshots.ls()

    def rows(self, infos: Sequence[SnapshotInfo], now_ns: int) -> Sequence[Row]:
        return snapshot_rows(infos, now_ns)

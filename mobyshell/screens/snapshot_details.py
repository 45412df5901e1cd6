"""All about one snapshot, in tabs: its files and what it changed, how it is mounted, who keeps it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import TabbedContent, TabPane

from mobyshell.core.clock import Clock
from mobyshell.moby.snapshot_survey import SnapshotInfo, Snapshots
from mobyshell.moby.survey import TreeRow
from mobyshell.screens.snapshot_rows import kept_text, mounts_text, usage_text
from mobyshell.screens.tree_tabs import Show, TreeTabs
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.tabs import tab_bindings

TABS = {"mounts": "mounts", "inspect": "inspect", "diff": "tree"}
"""The tab of each verb that looks."""


class SnapshotDetails(TreeTabs):
    """Tree, file, mounts, kept, inspect."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("snapshot-details")]

    def __init__(self, snapshots: Snapshots, clock: Callable[[], Clock], **more: Any) -> None:
        super().__init__(**more)
        self._snapshots, self._clock = snapshots, clock
        self._info: SnapshotInfo | None = None

    def compose(self) -> ComposeResult:
        with TabbedContent(initial="tree"):
            yield from self.tree_panes()
            for name, title in (("mounts", "Mounts"), ("kept", "Kept"), ("inspect", "Inspect")):
                with TabPane(title, id=name):
                    yield RecordView()

    @property
    def about(self) -> SnapshotInfo | None:
        return self._info

    def show(self, info: SnapshotInfo | None) -> None:
        """Another snapshot, or the same with news; read once the cursor rests."""
        before, self._info = self._info, info
        if info == before:
            return
        if info is None or before is None or info.id != before.id:
            self.forget()
            self.say("" if info else "No snapshot is chosen.")
            self.another()
        self.soon(self.refresh_tab)

    def read_tree(self, about: SnapshotInfo, path: str) -> list[TreeRow]:
        return self._snapshots.tree(about, path)

    def read_content(self, about: SnapshotInfo, path: str) -> bytes:
        return self._snapshots.content(about, path)

    def read_tab(self, about: SnapshotInfo, tab: str) -> Show:
        if tab == "mounts":
            text = mounts_text(about, self._snapshots.makeup(about))
        elif tab == "kept":
            text = kept_text(about, self._snapshots.why(about))
        else:
            text = usage_text(about, self._snapshots.makeup(about), self._clock().now_ns())
        record = self.query_one(f"#{tab}", TabPane).query_one(RecordView)
        return lambda: record.say(text)

    def same(self, about: SnapshotInfo) -> str:
        return about.id

    def changing(self, about: SnapshotInfo) -> bool:
        return about.kind == "active"

    def layer_of(self, about: SnapshotInfo) -> str:
        return "this snapshot"

"""The snapshots of the namespace: a tree of them, what each holds, and what can be done with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from mobyshell.moby.snapshot_survey import SnapshotInfo
from mobyshell.screens.base import number_of
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.plan_dialog import PlanDialog
from mobyshell.screens.snapshot_details import TABS, SnapshotDetails
from mobyshell.screens.snapshot_list import SnapshotList
from mobyshell.screens.snapshot_rows import short


class SnapshotsScreen(ListScreen[SnapshotInfo]):
    """Snapshots."""

    NAME = "snapshots"
    NOUN = "snapshot"
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings(
            "snapshot",
            Binding("y", "kept", "Why kept", id="snapshot.kept"),
            shown=("prepare", "commit", "mounts", "diff", "rm"),
        )
    ]

    def make_list(self) -> LiveList[SnapshotInfo]:
        return SnapshotList(self.session, id="list")

    def make_details(self) -> Widget:
        clock = self.session.context
        return SnapshotDetails(self.session.snapshots, lambda: clock.clock, id="details")

    def count(self, infos: Sequence[SnapshotInfo]) -> str:
        loose = sum(not one.holders for one in infos)
        return number_of(len(infos), "snapshot") + (f", {loose} garbage" if loose else "")

    def called(self, info: SnapshotInfo) -> str:
        return short(info.key)

    @property
    def details(self) -> SnapshotDetails:
        """All about one."""
        return self.query_one(SnapshotDetails)

    def action_back(self) -> None:
        """From a file to the tree, and from the details to the list."""
        if self.details.tab == "file" and self.details.has_focus_within:
            self.details.tab = "tree"
            self.details.focus_content()
        else:
            super().action_back()

    # verbs that look

    def on_verb(self, verb: str) -> bool:
        """They have tabs."""
        if verb in TABS and self.subject is not None:
            self._tab(TABS[verb])
            return True
        return False

    def action_kept(self) -> None:
        """Why garbage collection keeps it."""
        if self.subject is not None:
            self._tab("kept")

    def _tab(self, name: str) -> None:
        self.details.tab = name
        self.action_details()

    def verb_diff(self) -> None:
        """What it changed of its parent's; of two that are marked, what the later one has changed."""
        marked = [one for key in self.table.subjects if (one := self.live_list.infos.get(key))]
        if len(self.table.marked) < 2:
            self.on_verb("diff")
        elif len(marked) == 2:
            before, after = sorted(marked, key=lambda one: one.created_ns)
            self.perform(["snapshot", "diff", after.key, "--from", before.key])
        else:
            self.notify(f"{len(marked)} are marked: two can be compared", severity="warning")

    # verbs that want more than their subject: asked for, with what they would do

    def verb_prepare(self) -> None:
        """An active one, upon what is under the cursor."""
        self._make("prepare", "active snapshot")

    def verb_view(self) -> None:
        """A view of what is under the cursor."""
        self._make("view", "view")

    def _make(self, verb: str, what: str) -> None:
        """Of what is not committed, upon its parent: a sibling."""
        info = self.live_list.chosen
        parent = "" if info is None else info.key if info.kind == "committed" else info.parent
        upon = f"upon {short(parent)}" if parent else "upon nothing: it is empty"
        self._plan(f"A new {what} {upon}", "its key; --label KEY=VALUE as often as wanted",
                   lambda words: ["snapshot", verb, words[0], *([parent] if parent else []),
                                  *words[1:]], go_to=True)  # fmt: skip

    def verb_commit(self) -> None:
        """Under which name?"""
        if (info := self.live_list.chosen) is not None:
            self._plan(f"Commit {short(info.key)}", "the name it shall have from now on",
                       lambda words: ["snapshot", "commit", words[0], info.key, *words[1:]],
                       go_to=True)  # fmt: skip

    def verb_label(self) -> None:
        """Which labels?"""
        if (info := self.live_list.chosen) is not None:
            self._plan(f"Labels of {short(info.key)}", "KEY=VALUE …; KEY= takes one away",
                       lambda words: ["snapshot", "label", info.key, *words])  # fmt: skip

    def verb_mount(self) -> None:
        """Where?"""
        if (info := self.live_list.chosen) is not None:
            self._plan(f"Mount {short(info.key)}, to look at it", "a directory",
                       lambda words: ["snapshot", "mount", info.key, *words])  # fmt: skip

    def verb_unmount(self) -> None:
        """What is mounted at a directory is a view that is called like it."""
        info = self.live_list.chosen
        place = info.key if info is not None and info.key.startswith("/") else ""
        self._plan("Unmount a snapshot", "the directory", lambda words: ["snapshot", "unmount", *words],
                   value=place)  # fmt: skip

    def _plan(
        self, title: str, asked: str, line: Callable[[list[str]], list[str]], *,
        value: str = "", go_to: bool = False,
    ) -> None:  # fmt: skip
        def answered(words: list[str] | None) -> None:
            if words is None:
                return
            self.perform(words)
            if go_to:
                self.choose(words[2])

        self.app.push_screen(
            PlanDialog(title, asked, line, self.session.plan, value=value), answered
        )

"""The snapshots of the namespace: a tree of them, what each holds, and what can be done with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
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
from mobyshell.screens.snapshot_rows import name, short


class SnapshotsScreen(ListScreen[SnapshotInfo]):
    """Snapshots."""

    NAME = "snapshots"
    NOUN = "snapshot"
    MAKES = ("snapshot prepare", "snapshot view", "snapshot commit")
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
        others = Counter(one.snapshotter for one in infos if not one.preferred)
        parts = [number_of(len(infos), "snapshot"), *(f"{n} of {of}" for of, n in others.items()),
                 *([f"{loose} garbage"] if loose else [])]  # fmt: skip
        return ", ".join(parts)

    def called(self, info: SnapshotInfo) -> str:
        return name(info)

    @property
    def details(self) -> SnapshotDetails:
        """All about one."""
        return self.query_one(SnapshotDetails)

    @property
    def subject(self) -> tuple[str, str] | None:
        """Verbs that know no more than a key are offered only of the snapshotter that they mean."""
        info = self.live_list.chosen
        return None if info is None else ("snapshot" if info.preferred else "", info.key)

    def lines(self, verb: str, subjects: list[str]) -> list[list[str]]:
        """One line a snapshotter."""
        chosen = [one for id in subjects if (one := self.live_list.infos.get(id)) is not None]
        by: dict[str, list[SnapshotInfo]] = {}
        for one in chosen:
            by.setdefault(one.snapshotter, []).append(one)
        return [["snapshot", verb, *(one.key for one in of), *_of(of[0])] for of in by.values()]

    def back(self) -> None:
        """From a file to the tree, and from the details to the list."""
        if self.details.tab == "file" and self.details.has_focus_within:
            self.details.tab = "tree"
            self.details.focus_content()
        else:
            super().back()

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
        elif len({one.snapshotter for one in marked}) > 1:
            self.notify("they are of two snapshotters: one can be compared with its own",
                        severity="warning")  # fmt: skip
        elif len(marked) == 2:
            before, after = sorted(marked, key=lambda one: one.created_ns)
            self.perform(["snapshot", "diff", after.key, "--from", before.key, *_of(after)])
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
                   lambda words: ["snapshot", verb, words[0], *([parent, *_of(info)] if info and parent
                                  else []), *words[1:]],
                   made="is there: m says how it is mounted")  # fmt: skip

    def verb_commit(self) -> None:
        """Under which name?"""
        if (info := self.live_list.chosen) is not None:
            self._plan(f"Commit {short(info.key)}", "the name it shall have from now on",
                       lambda words: ["snapshot", "commit", words[0], info.key, *_of(info),
                                      *words[1:]],
                       made="is committed")  # fmt: skip

    def verb_label(self) -> None:
        """Which labels?"""
        if (info := self.live_list.chosen) is not None:
            self._plan(f"Labels of {short(info.key)}", "KEY=VALUE …; KEY= takes one away",
                       lambda words: ["snapshot", "label", info.key, *words, *_of(info)])  # fmt: skip

    def verb_mount(self) -> None:
        """Where?"""
        info = self.live_list.chosen
        if info is not None and info.kind == "active":
            self.notify("m says how what is active is mounted, to be written to; commit it first, or "
                        "view its parent", title=f"{info.key} is active", severity="warning",
                        markup=False)  # fmt: skip
        elif info is not None:
            self._plan(f"Mount {short(info.key)}, to look at it", "a directory",
                       lambda words: ["snapshot", "mount", info.key, *words, *_of(info)])  # fmt: skip

    def verb_unmount(self) -> None:
        """What is mounted at a directory is a view that is called like it."""
        info = self.live_list.chosen
        place = info.key if info is not None and info.key.startswith("/") else ""
        of = _of(info) if info is not None and place else []
        self._plan("Unmount a snapshot", "the directory",
                   lambda words: ["snapshot", "unmount", *words, *of], value=place)  # fmt: skip

    def _plan(
        self, title: str, asked: str, line: Callable[[list[str]], list[str]], *,
        value: str = "", made: str = "",
    ) -> None:  # fmt: skip
        """`made`: what is said of one that was made."""

        def answered(words: list[str] | None) -> None:
            if words is None:
                return
            if not made:
                self.perform(words)
                return
            told = partial(
                self.notify, f"{words[2]} {made}", title=" ".join(words[:2]), markup=False
            )
            self.session.perform(self.moby, words, then=self.reread, instead=lambda _: told())

        self.app.push_screen(
            PlanDialog(title, asked, line, self.session.plan, value=value), answered
        )


def _of(info: SnapshotInfo) -> list[str]:
    """The words that say whose it is, where a verb would take another's."""
    return [] if info.preferred else ["--snapshotter", info.snapshotter]

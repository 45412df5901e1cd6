"""The bundles below a directory, as a tree."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Tree
from textual.widgets.tree import TreeNode

from mobyshell.commands.bundle import find_bundles
from mobyshell.commands.output import clean
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import load_spec
from mobyshell.screens.session import Session, said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.sentence import Sentence
from mobyshell.widgets.tree_keys import TreeKeys, tree_bindings
from mobyshell.widgets.typed_ahead import TypedAhead

EMPTY = "No bundles here yet: press n to make one."
SCANNING = "looking for bundles"


@dataclass(frozen=True, slots=True)
class Entry:
    """A bundle in the tree: its directory, whether its config is valid, how many tasks it runs."""

    path: str
    valid: bool
    running: int


def entry_label(entry: Entry, name: str) -> Text:
    """How a bundle stands in the tree."""
    label = Text("✓ " if entry.valid else "✗ ", "green" if entry.valid else "red")
    label.append(clean(name), "bold" if entry.running else "")
    if entry.running:
        label.append(f"  {entry.running} running", "dim")
    return label


class BundleList(TreeKeys, TypedAhead):
    """Which bundles there are."""

    BINDINGS: ClassVar[list[BindingType]] = [*tree_bindings("bundle")]

    @dataclass
    class Scanned(Message):
        """The bundles below the directory."""

        entries: list[Entry]
        lacking: Collection[str] | None = None
        """What there was before something was made, where that was before one has looked."""

    def __init__(self, session: Session, directory: str, **more: Any) -> None:
        super().__init__(**more)
        self.session, self.directory = session, directory
        self.filter_text = ""
        self._entries: list[Entry] = []
        self._lacking: Collection[str] | None = None

    def compose(self) -> ComposeResult:
        tree: Tree[str] = Tree(os.path.basename(self.directory) or "/", id="bundles")
        tree.show_root = False
        tree.guide_depth = 2
        yield tree
        yield Sentence(id="no-bundles")

    @property
    def keys_of(self) -> Sequence[Widget]:
        return (self.tree_view, self)

    @property
    def current(self) -> str:
        """The directory of the bundle under the cursor; "" if there is none."""
        node = self.tree_view.cursor_node
        return node.data if node is not None and node.data else ""

    @property
    def known(self) -> frozenset[str]:
        """The directories of those that there are."""
        return frozenset(one.path for one in self._entries)

    def choose_new(self, before: Collection[str]) -> None:
        """Put the cursor on the first that is there now and was not `before`, if one is."""
        self._lacking = before
        self.scan()

    @background(SCANNING)
    def scan(self) -> Message:
        """Look which there are."""
        lacking = self._lacking
        running: dict[str, int] = {}
        try:
            for task in self.session.tasks.ls():
                if task.status == "running":
                    path = os.path.realpath(task.bundle)
                    running[path] = running.get(path, 0) + 1
        except MobyshellError:
            pass  # no tasks to be seen: the bundles are there all the same
        entries = []
        for path in find_bundles(self.directory):
            try:
                load_spec(path)
                valid = True
            except MobyshellError:
                valid = False
            entries.append(Entry(path, valid, running.get(os.path.realpath(path), 0)))
        return self.Scanned(entries, lacking)

    @on(Scanned)
    def scanned(self, event: Scanned) -> None:
        """Show them."""
        self._entries = event.entries
        if event.lacking is not None:
            self._lacking = None
        self._show(event.lacking)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Bundles that cannot be looked for are not bundles that are not there."""
        if event.what == SCANNING:
            event.stop()
            self._sentence(f"The bundles cannot be looked for: {said(self.app, event)}")

    def filter(self, text: str) -> None:
        """Show only those whose name has this text."""
        self.filter_text = text
        self._show()

    def _show(self, lacking: Collection[str] | None = None) -> None:
        made = self.known - set(self.known if lacking is None else lacking)
        before = min(made, default=self.current)
        tree = self.tree_view
        tree.clear()
        chosen = None
        for one in self._entries:
            name = os.path.relpath(one.path, self.directory)
            if self.filter_text.lower() not in name.lower():
                continue
            node = tree.root.add_leaf(entry_label(one, name), data=one.path)
            if chosen is None or one.path == before:
                chosen = node
        if chosen is not None:
            tree.call_after_refresh(self._put, chosen)
        nothing = f"No bundle is called “{self.filter_text}”." if self._entries else EMPTY
        self._sentence("" if chosen is not None else nothing)

    def _put(self, node: TreeNode[str]) -> None:
        self.tree_view.move_cursor(node)
        self.is_filled()

    def _sentence(self, text: str) -> None:
        self.query_one(Sentence).say(text)

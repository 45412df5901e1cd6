"""Tabs about something that has a tree of files: the tree, the file picked in it, and others.

Owns what is read when: a tab when it is looked at, a directory when it is opened, a file when it is
picked, each in a thread; an answer about what is not looked at any more is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.commands.output import clean, size
from mobyshell.core.errors import MobyshellError
from mobyshell.moby.look import LARGEST
from mobyshell.moby.survey import TreeRow
from mobyshell.screens.image_rows import file_lines, rights, tree_label
from mobyshell.screens.session import said
from mobyshell.screens.tree_search import MOST, sought
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.layer_tree import LayerTree, Leaf
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.sentence import Sentence
from mobyshell.widgets.tabs import Filterable, Tabbed

READING = "reading about it"
OPENING = "reading a directory"
SHOWING = "reading a file"

SEEKING = "looking through the files"

TELLING = 0.3
"""Seconds after which what is found until then is shown."""

_CALLED = {"character": "character device", "block": "block device"}

NO_FILE = "No file is chosen: enter on one in the tree shows what is in it."

Show = Callable[[], object]


def whole(row: TreeRow) -> Leaf[TreeRow]:
    """A path as a leaf that stands for itself."""
    label = tree_label(row, row.file.path)
    return Leaf(row.file.path, label, row.file.kind == "directory", row)


def leaf(row: TreeRow) -> Leaf[TreeRow]:
    """A path as a leaf of the tree."""
    return Leaf(row.file.path, tree_label(row), row.file.kind == "directory", row)


class TreeTabs(Tabbed):
    """Contains one TabbedContent, in which are `tree_panes`. What it is about, a subclass says."""

    @dataclass
    class Read(Message):
        """What a tab shows was read; `show` puts it on the screen."""

        about: Hashable
        show: Show

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._tree_of: Hashable = None
        self._same: Hashable = None
        """Whose tree is shown: what is open in it stays open while it is the same thing's."""
        self._stop = threading.Event()
        self.query_text = ""
        """The paths that are shown of the tree; "": all, as they lie in it."""

    def on_unmount(self) -> None:
        """Nobody waits for what is looked for."""
        self._stop.set()

    # the subclass's

    @property
    def about(self) -> Hashable:
        """What is looked at; None if nothing is."""
        return None

    def read_tree(self, about: Any, path: str) -> list[TreeRow]:
        """A directory of it. In a thread."""
        raise NotImplementedError

    def read_content(self, about: Any, path: str) -> bytes:
        """The first bytes of a file of it. In a thread."""
        raise NotImplementedError

    def read_tab(self, about: Any, tab: str) -> Show:
        """What another tab shows. In a thread; what it returns is called outside."""
        raise NotImplementedError

    def layer_of(self, about: Any) -> str:
        """What has done to the files what the tree says, such as `layer 1`."""
        raise NotImplementedError

    def why_no_tree(self, about: Any) -> str:
        """Why it has no tree; "" if it has one."""
        return ""

    def same(self, about: Any) -> Hashable:
        """What stays the same when a tree of it is read anew, as of another of its layers."""
        raise NotImplementedError

    def changing(self, about: Any) -> bool:
        """Whether what was read of its tree may be another by now, without any news of it."""
        return False

    def tree_panes(self) -> ComposeResult:
        """The two tabs of files."""
        with TabPane("Tree", id="tree"):
            yield LayerTree[TreeRow](leaf)
        with TabPane("File", id="file"), Vertical():
            yield Sentence(id="content-title")
            yield Lines(id="content")

    @property
    def files(self) -> LayerTree[TreeRow]:
        """The tree."""
        return self.query_one(LayerTree)

    # reading

    def forget(self) -> None:
        """What the tree shows is old."""
        self._tree_of = None

    def enter(self) -> None:
        """Look, and look again at what may have changed."""
        super().enter()
        if self.tab == "tree" and self.about is not None and self.changing(self.about):
            self.refresh_tab()

    def another(self) -> None:
        """It is about another thing: no file of it is shown yet, all of its tree, and texts from their
        beginning."""
        self._content(NO_FILE, [])
        self.query_text = ""
        self._stop.set()
        self.from_the_top()

    @on(TabbedContent.TabActivated)
    def refresh_tab(self) -> None:
        """Read what is looked at, unless it is there: who comes back to a tree finds it as it was."""
        about = self.about
        if about is None or self.tab == "file":
            return
        if self.tab != "tree":
            self._read(about, self.tab)
        elif self._tree_of != (about, self.query_text) or self.changing(about):
            reason = self.why_no_tree(about)
            if reason:
                self.say(reason)
            elif self.query_text:
                self._seek()
            else:
                same = self._same == self.same(about)
                self._read_all(about, self.files.opened if same else [])

    @background(READING)
    def _read(self, about: Hashable, tab: str) -> Message:
        return self.Read(about, self.read_tab(about, tab))

    @background(READING)
    def _read_all(self, about: Hashable, opened: list[str]) -> Message:
        rows = self.read_tree(about, "/")
        below: dict[str, list[TreeRow]] = {}
        for path in opened:
            try:
                below[path] = self.read_tree(about, path)
            except MobyshellError:  # it is no directory, as of this layer
                continue

        def show() -> None:
            self.files.show(rows, below)
            self._tree_of, self._same = (about, ""), self.same(about)

        return self.Read(about, show)

    # the filter

    @property
    def filterable(self) -> Filterable | None:
        """A tree is narrowed to the paths that match."""
        return self if self.files.has_focus_within else super().filterable

    def filter(self, query: str) -> None:
        """Show only paths that match, wherever they lie."""
        if query != self.query_text:
            self.query_text, self._same = query, None
            self._stop.set()
            self.soon(self.refresh_tab)

    def _seek(self) -> None:
        self._stop.set()
        self._stop = threading.Event()
        if not self.files.opened and self._tree_of is None:
            self.files.say("Looking through the files …")
        self._seek_in(self.about, self.query_text, self._stop)

    @background(SEEKING)
    def _seek_in(self, about: Hashable, query: str, stop: threading.Event) -> Message:
        found: list[TreeRow] = []
        told = time.monotonic()
        for row in sought(lambda path: self.read_tree(about, path), query, stop.is_set):
            if row is not None:
                found.append(row)
            if len(found) > MOST:
                break
            if time.monotonic() - told > TELLING:
                told = time.monotonic()
                self.post_message(self._found(about, query, found, "… looking on"))
        more = f"… and more than these {MOST}" if len(found) > MOST else ""
        return self._found(about, query, found[:MOST], more)

    def _found(self, about: Hashable, query: str, found: list[TreeRow], more: str) -> Message:
        rows = sorted(found, key=lambda row: row.file.path)

        def show() -> None:
            if query != self.query_text:
                return
            if rows or more:
                self.files.show_found(rows, whole, more)
            else:
                self.files.say(f"No path matches “{query}”: esc shows all.")
            self._tree_of = (about, query)

        return self.Read(about, show)

    @on(LayerTree.Wanted)
    def opened(self, event: LayerTree.Wanted) -> None:
        """A directory."""
        event.stop()
        self._open(self.about, event.path)

    @background(OPENING)
    def _open(self, about: Hashable, path: str) -> Message:
        rows = self.read_tree(about, path)
        return self.Read(about, lambda: self.files.fill(path, rows))

    @on(LayerTree.Picked)
    def picked(self, event: LayerTree.Picked) -> None:
        """A file: what is in it?"""
        event.stop()
        file = event.value.file
        self.tab = "file"
        layer = self.layer_of(self.about)
        if file.kind == "file":
            self._content(f"{file.path}, {size(file.size)}, {rights(file)}, as of {layer}", [])
            self._read_file(self.about, file.path)
        elif file.kind == "link":
            self._content(f"{file.path} leads to {file.target}", [])
        else:
            gone = file.kind == "deleted"
            words = (
                f"was deleted by {layer}" if gone else f"is a {_CALLED.get(file.kind, file.kind)}"
            )
            self._content(f"{file.path} {words}", [])
        self.focus_content()

    @background(SHOWING)
    def _read_file(self, about: Hashable, path: str) -> Message:
        lines = file_lines(self.read_content(about, path), LARGEST)
        view = self.query_one("#content", Lines)
        return self.Read(about, lambda: view.set_lines(lines, to_end=False))

    # showing

    def say(self, text: str) -> None:
        """A sentence in the place of what the tab would show."""
        if self.tab == "tree":
            self._tree_of = None
        if self.tab == "file":
            self._content(text, [])
            return
        for one in self.query_one(f"#{self.tab}", TabPane).query("*"):
            say = getattr(one, "say", None)
            if say is not None:
                say(text)
                return

    def _content(self, title: str, lines: list[str]) -> None:
        self.query_one("#content-title", Sentence).say(clean(title))
        self.query_one("#content", Lines).set_lines(lines, to_end=False)

    @on(Read)
    def read(self, event: Read) -> None:
        """Show it, unless something else is looked at by now."""
        event.stop()
        if event.about == self.about:
            event.show()

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said where it would be."""
        event.stop()
        self.say_failed(event.what, said(self.app, event))

    def say_failed(self, what: str, text: str) -> None:
        """Say so."""
        self.say(text)

"""Tabs about something that has a tree of files: the tree, the file picked in it, and others.

Owns what is read when: a tab when it is looked at, a directory when it is opened, a file when it is
picked, each in a thread; an answer about what is not looked at any more is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.commands.output import clean, size
from mobyshell.moby.look import LARGEST
from mobyshell.moby.survey import TreeRow
from mobyshell.screens.image_rows import file_lines, rights, tree_label
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.layer_tree import LayerTree, Leaf
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.sentence import Sentence
from mobyshell.widgets.tabs import Tabbed

READING = "reading about it"
OPENING = "reading a directory"
SHOWING = "reading a file"

NO_FILE = "No file is chosen: enter on one in the tree shows what is in it."

Show = Callable[[], object]


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

    def forget_file(self) -> None:
        """No file is shown: it was another thing's."""
        self._content(NO_FILE, [])

    @on(TabbedContent.TabActivated)
    def refresh_tab(self) -> None:
        """Read what is looked at, unless it is there: who comes back to a tree finds it as it was."""
        about = self.about
        if about is None or self.tab == "file" or (self.tab == "tree" and self._tree_of == about):
            return
        reason = self.why_no_tree(about) if self.tab == "tree" else ""
        if reason:
            self.say(reason)
        else:
            self._read(about, self.tab)

    @background(READING)
    def _read(self, about: Hashable, tab: str) -> Message:
        if tab != "tree":
            return self.Read(about, self.read_tab(about, tab))
        rows = self.read_tree(about, "/")

        def show() -> None:
            self.files.show(rows)
            self._tree_of = about

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
            words = f"was deleted by {layer}" if gone else f"is a {file.kind}"
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

"""All about one image: its layers, and beside them in tabs what the one under the cursor did.

Owns which image, layer and path are looked at; each is read in a thread when it is looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import TabbedContent, TabPane

from mobyshell.commands.output import clean, size
from mobyshell.moby.look import LARGEST, LayerRow
from mobyshell.moby.survey import ImageInfo, Images, TreeRow
from mobyshell.screens.image_rows import (
    LAYERS,
    WASTED,
    file_lines,
    layer_rows,
    parts_text,
    tree_label,
    wasted_rows,
)
from mobyshell.screens.session import said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.layer_tree import LayerTree, Leaf
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence
from mobyshell.widgets.tabs import Tabbed

PAUSE = 0.15
"""Seconds the cursor must rest on an image or a layer before it is read."""

LAYERING = "reading the layers of the image"
READING = "reading about the image"
OPENING = "reading a directory of the image"
SHOWING = "reading a file of the image"


def leaf(row: TreeRow) -> Leaf[TreeRow]:
    """A path as a leaf of the tree."""
    return Leaf(row.file.path, tree_label(row), row.file.kind == "directory", row)


class ImageDetails(Tabbed):
    """Layers; tree, file, wasted, explain."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("tab", "next_tab", "Next tab", show=False, id="image-details.next"),
        Binding("shift+tab", "next_tab(-1)", "Previous tab", show=False,
                id="image-details.previous"),
    ]  # fmt: skip

    @dataclass
    class LayersRead(Message):
        """The steps of an image."""

        name: str
        layers: list[LayerRow]

    @dataclass
    class Read(Message):
        """What a tab shows of an image, or of its layer; `show` puts it on the screen."""

        about: tuple[str, int]
        show: Callable[[], None]

    @dataclass
    class Entered(Message):
        """Into the tabs."""

    def __init__(self, images: Images, **more: Any) -> None:
        super().__init__(**more)
        self._images = images
        self._info: ImageInfo | None = None
        self._steps: list[LayerRow] = []
        self._timer: Timer | None = None
        self._tree_of: tuple[str, int] | None = None

    def compose(self) -> ComposeResult:
        yield Listing(LAYERS, id="layers")
        with TabbedContent(initial="tree"):
            with TabPane("Tree", id="tree"):
                yield LayerTree[TreeRow](leaf)
            with TabPane("File", id="file"), Vertical():
                yield Sentence(id="content-title")
                yield Lines(id="content")
            with TabPane("Wasted", id="wasted"):
                yield Listing(WASTED, id="wasted-files")
            with TabPane("Explain", id="explain"):
                yield RecordView()

    @property
    def steps(self) -> Listing:
        """The steps."""
        return self.query_one("#layers", Listing)

    @property
    def files(self) -> LayerTree[TreeRow]:
        """The tree."""
        return self.query_one(LayerTree)

    @property
    def _about(self) -> tuple[str, int]:
        """The image and the layer under the cursors; -1: a step that made none."""
        row = self.steps.table.row
        number = row["layer"] if row is not None else None
        return (self._info.name if self._info else "", -1 if number is None else number)

    # which one

    def show(self, info: ImageInfo | None) -> None:
        """Another image, or the same with news; read once the cursor rests."""
        before = self._info
        if info == before:
            return
        self._info, self._tree_of = info, None
        if info is None or before is None or info.name != before.name:
            self._steps = []
            self.steps.say("" if info else "No image is chosen.")
            self._say("")
            self._content("", [])
        self._soon(self._read_layers)

    def _soon(self, what: Callable[[], object]) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, what)

    def _read_layers(self) -> None:
        if self._info is not None:
            self._read_layers_of(self._info.name)

    @background(LAYERING)
    def _read_layers_of(self, name: str) -> Message:
        return self.LayersRead(name, self._images.layers(name))

    @on(LayersRead)
    def layers_read(self, event: LayersRead) -> None:
        """Show them, unless another image is looked at by now."""
        event.stop()
        if self._info is not None and event.name == self._info.name:
            self._steps = event.layers
            self.steps.set_rows(layer_rows(event.layers))
            self._refresh()

    @on(ResourceTable.Chosen)
    def layer_chosen(self, event: ResourceTable.Chosen) -> None:
        """Another layer: what did it do?"""
        event.stop()
        if event.table is self.steps.table and self._steps:
            self._soon(self._refresh)

    # what the tab shows

    @on(TabbedContent.TabActivated)
    def activated(self) -> None:
        """Another tab is looked at."""
        self._refresh()

    def _refresh(self) -> None:
        name, layer = self._about
        if not name or not self._steps:
            return
        if self.tab == "tree" and layer < 0:
            self._tree_of = None
            self.files.say("This step made no layer: it set something in the configuration.")
        elif self.tab == "tree" and self._tree_of == (name, layer):
            pass  # who comes back to it finds it as it was left
        elif self.tab in ("tree", "wasted", "explain"):
            self._read_tab(self.tab, name, layer)

    @background(READING)
    def _read_tab(self, tab: str, name: str, layer: int) -> Message:
        if tab == "tree":
            tree = self._images.tree(name, layer, "/")
            return self.Read((name, layer), lambda: self._show_tree((name, layer), tree))
        if tab == "wasted":
            rows = wasted_rows(self._images.wasted(name))
            view = self.query_one("#wasted-files", Listing)
            return self.Read((name, layer), lambda: view.set_rows(rows))
        text = parts_text(name, self._images.parts(name))
        record = self.query_one(RecordView)
        return self.Read((name, layer), lambda: record.say(text))

    def _show_tree(self, about: tuple[str, int], rows: list[TreeRow]) -> None:
        self.files.show(rows)
        self._tree_of = about

    @on(LayerTree.Wanted)
    def opened(self, event: LayerTree.Wanted) -> None:
        """A directory."""
        event.stop()
        self._read_directory(*self._about, event.path)

    @background(OPENING)
    def _read_directory(self, name: str, layer: int, path: str) -> Message:
        rows = self._images.tree(name, layer, path)
        return self.Read((name, layer), lambda: self.files.fill(path, rows))

    @on(LayerTree.Picked)
    def picked(self, event: LayerTree.Picked) -> None:
        """A file: what is in it?"""
        event.stop()
        file = event.value.file
        self.tab = "file"
        name, layer = self._about
        if file.kind == "file":
            self._content(f"{file.path}, {size(file.size)}, as of layer {layer}", [])
            self._read_file(name, layer, file.path)
        elif file.kind == "link":
            self._content(f"{file.path} leads to {file.target}", [])
        else:
            gone = file.kind == "deleted"
            said = f"was deleted by layer {layer}" if gone else f"is a {file.kind}"
            self._content(f"{file.path} {said}", [])
        self.focus_content()

    @background(SHOWING)
    def _read_file(self, name: str, layer: int, path: str) -> Message:
        lines = file_lines(self._images.content(name, layer, path), LARGEST)
        view = self.query_one("#content", Lines)
        return self.Read((name, layer), lambda: view.set_lines(lines, to_end=False))

    def _content(self, title: str, lines: list[str]) -> None:
        self.query_one("#content-title", Sentence).say(clean(title))
        self.query_one("#content", Lines).set_lines(lines, to_end=False)

    @on(Read)
    def read(self, event: Read) -> None:
        """Show it, unless something else is looked at by now."""
        event.stop()
        if event.about == self._about:
            event.show()

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """What cannot be read is said where it would be."""
        event.stop()
        text = said(self.app, event)
        if event.what == LAYERING:
            self._steps = []
            self.steps.say(text)
            self._say(text)
        elif event.what == SHOWING:
            self._content(text, [])
        else:
            self._say(text)

    def _say(self, text: str) -> None:
        tab = self.tab
        if tab == "tree":
            self._tree_of = None
            self.files.say(text)
        elif tab == "wasted":
            self.query_one("#wasted-files", Listing).say(text)
        elif tab == "explain":
            self.query_one(RecordView).say(text)

    # moving about

    @on(ResourceTable.RowSelected)
    def selected(self, event: ResourceTable.RowSelected) -> None:
        """Enter on a layer: into its tree."""
        event.stop()
        if event.control is self.steps.table:
            self.post_message(self.Entered())

    @property
    def at_layers(self) -> bool:
        """Whether the layers have the keyboard."""
        return self.steps.has_focus_within

    def enter(self) -> None:
        """Give the keyboard to the layers."""
        self.steps.table.focus()

    def action_next_tab(self, step: int = 1) -> None:
        """Round the tabs."""
        self.turn(step)
        self.post_message(self.Entered())

"""All about one image: its layers, and beside them in tabs what the one under the cursor did.

Owns which image and layer are looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import TabbedContent, TabPane

from mobyshell.moby.look import LayerRow
from mobyshell.moby.survey import ImageInfo, Images, TreeRow
from mobyshell.screens.image_rows import (
    LAYERS,
    WASTED,
    layer_rows,
    layer_text,
    parts_text,
    wasted_rows,
    wasted_sum,
)
from mobyshell.screens.tree_tabs import Show, TreeTabs
from mobyshell.widgets.background import background
from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence
from mobyshell.widgets.tabs import tab_bindings

LAYERING = "reading the layers of the image"

About = tuple[str, int]
"""An image's name and a layer's number; -1: a step that made none."""


class ImageDetails(TreeTabs):
    """Layers; tree, file, wasted, explain."""

    BINDINGS: ClassVar[list[BindingType]] = [*tab_bindings("image-details")]

    @dataclass
    class LayersRead(Message):
        """The steps of an image."""

        name: str
        layers: list[LayerRow]

    @dataclass
    class Entered(Message):
        """Into the tabs."""

    def __init__(self, images: Images, **more: Any) -> None:
        super().__init__(**more)
        self._images = images
        self._info: ImageInfo | None = None
        self._steps: list[LayerRow] = []

    def compose(self) -> ComposeResult:
        with Vertical(id="layering"):
            yield Listing(LAYERS, id="layers")
            yield RecordView(id="layer")
        with TabbedContent(initial="tree"):
            yield from self.tree_panes()
            with TabPane("Wasted", id="wasted"):
                yield Sentence(id="wasted-sum")
                yield Listing(WASTED, id="wasted-files")
            with TabPane("Explain", id="explain"):
                yield RecordView()

    @property
    def steps(self) -> Listing:
        """The steps."""
        return self.query_one("#layers", Listing)

    # which one

    @property
    def step_name(self) -> str:
        """The step under the cursor, as a person calls it."""
        about = self.about
        return "" if about is None else "no layer" if about[1] < 0 else self.layer_of(about)

    @property
    def about(self) -> About | None:
        row = self.steps.table.row
        if self._info is None or not self._steps:
            return None
        number = row["layer"] if row is not None else None
        return (self._info.name, -1 if number is None else number)

    def show(self, info: ImageInfo | None) -> None:
        """Another image, or the same with news; read once the cursor rests."""
        before = self._info
        if info == before:
            return
        self._info = info
        self.forget()
        if info is None or before is None or info.name != before.name:
            self._steps = []
            self._say_layer()
            self.steps.say("" if info else "No image is chosen.")
            self.say("")
            self.another()
        self.soon(self._read_layers)

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
            self._say_layer()
            self.refresh_tab()

    @on(ResourceTable.Chosen)
    def layer_chosen(self, event: ResourceTable.Chosen) -> None:
        """Another layer: what did it do?"""
        event.stop()
        if event.table is self.steps.table and self._steps:
            self._say_layer()
            self.soon(self.refresh_tab)

    def _say_layer(self) -> None:
        row, view = self.steps.table.row, self.query_one("#layer", RecordView)
        view.say(layer_text(self._steps[int(row["n"])]) if row is not None and self._steps else "")
        view.scroll_home(animate=False)

    # what the tabs show

    def read_tree(self, about: About, path: str) -> list[TreeRow]:
        return self._images.tree(*about, path)

    def read_content(self, about: About, path: str) -> bytes:
        return self._images.content(*about, path)

    def read_tab(self, about: About, tab: str) -> Show:
        name, _ = about
        if tab == "wasted":
            found = self._images.wasted(name)
            view, total = (self.query_one("#wasted-files", Listing),
                           self.query_one("#wasted-sum", Sentence))  # fmt: skip

            def show() -> None:
                total.say(wasted_sum(found))
                view.set_rows(wasted_rows(found))

            return show
        text = parts_text(name, self._images.parts(name))
        record = self.query_one("#explain").query_one(RecordView)
        return lambda: record.say(text)

    def same(self, about: About) -> str:
        return about[0]

    def layer_of(self, about: About) -> str:
        return f"layer {about[1]}"

    def why_no_tree(self, about: About) -> str:
        if about[1] >= 0:
            return ""
        return "This step made no layer: it set something in the configuration."

    def say_failed(self, what: str, text: str) -> None:
        if what == LAYERING:
            self._steps = []
            self._say_layer()
            self.steps.say(text)
        self.say(text)

    # moving about

    @on(ResourceTable.RowSelected)
    def selected(self, event: ResourceTable.RowSelected) -> None:
        """Enter on a layer: into its tree."""
        event.stop()
        if event.control is self.steps.table:
            self.tab = "tree"
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

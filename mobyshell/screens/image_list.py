"""The table of images: read again every other second while somebody looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Static

from mobyshell.moby.survey import ImageInfo
from mobyshell.screens.image_rows import IMAGES, image_rows
from mobyshell.screens.session import Session, said
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.sentence import Sentence

AGAIN = 2.0
"""Seconds between two looks: pulls and builds of other processes are seen, too."""

LISTING = "listing the images"


class ImageList(Vertical):
    """Which images there are."""

    @dataclass
    class Changed(Message):
        """The images were listed anew."""

        images: list[ImageInfo]

    def __init__(self, session: Session, **more: Any) -> None:
        super().__init__(**more)
        self.session = session
        self.infos: dict[str, ImageInfo] = {}
        self._wanted = ""
        self._trouble = ""
        self._listing = False

    def compose(self) -> ComposeResult:
        yield Static(id="trouble", classes="hidden", markup=False)
        table = ResourceTable(IMAGES, id="images")
        table.sort_key = "familiar"
        yield table
        yield Sentence()

    def on_mount(self) -> None:
        self.ticker = self.set_interval(AGAIN, self._tick, pause=True)

    @property
    def table(self) -> ResourceTable:
        """The table itself."""
        return self.query_one(ResourceTable)

    @property
    def chosen(self) -> ImageInfo | None:
        """The image under the cursor."""
        return self.infos.get(self.table.chosen or "")

    def choose(self, name: str) -> None:
        """Put the cursor on an image, as soon as it is there."""
        self._wanted = name
        self.refresh_list()

    def filter(self, text: str) -> None:
        """Show only images that match."""
        self.table.filter(text)
        self._say_empty()

    def look(self, looking: bool) -> None:
        """Whether somebody looks."""
        if looking:
            self.refresh_list()
            self.ticker.resume()
        else:
            self.ticker.pause()

    def _tick(self) -> None:
        if not self._listing:  # a store with very many is not asked faster than it answers
            self.refresh_list()

    def refresh_list(self) -> None:
        """List the images."""
        self._listing = True
        self._list()

    @background(LISTING)
    def _list(self) -> Message:
        return self.Changed(self.session.images.ls())

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Images that cannot be listed are not images that are not there: what was known stays."""
        if event.what != LISTING:
            return
        event.stop()
        self._listing = False
        if repr(event.error) != self._trouble:
            self._trouble = repr(event.error)
            text = f"✗ the images cannot be listed: {said(self.app, event)}"
            self.query_one("#trouble", Static).update(text)
        self.query_one("#trouble").remove_class("hidden")
        self._say_empty()

    @on(Changed)
    def listed(self, event: Changed) -> None:
        """Show the images."""
        self._listing, self._trouble = False, ""
        self.query_one("#trouble").add_class("hidden")
        self.infos = {one.name: one for one in event.images}
        self.table.set_rows(image_rows(event.images, self.session.context.clock.now_ns()))
        self._say_empty()
        if self._wanted in self.infos:
            self.table.choose(self._wanted)
            self._wanted = ""  # from now on the person moves the cursor

    def _say_empty(self) -> None:
        """A table without rows says why."""
        text = "" if self.table.fitting or self._trouble else IMAGES.empty
        if text and self.infos:
            text = f"No image matches “{self.table.query_text}”: / and esc show all."
        self.query_one(Sentence).say(text)
        self.table.set_class(bool(text), "hidden")

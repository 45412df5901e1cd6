"""The images of the namespace: a list, the layers of one, and what each layer did."""

from __future__ import annotations

import shlex
from functools import partial
from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.widget import Widget

from mobyshell.core.errors import MobyshellError
from mobyshell.moby.survey import ImageInfo
from mobyshell.screens.dialogs import RunBundle, RunDialog, is_a_shell, run_line
from mobyshell.screens.image_details import ImageDetails
from mobyshell.screens.image_list import ImageList
from mobyshell.screens.list_screen import ListScreen, list_bindings
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.session import tell
from mobyshell.screens.transfer_dialog import TransferDialog


class ImagesScreen(ListScreen[ImageInfo]):
    """Images."""

    NAME = "images"
    NOUN = "image"
    ASKED = ("verify",)
    MAKES = ("image pull", "image import", "image tag", "image build")
    BINDINGS: ClassVar[list[BindingType]] = [
        *list_bindings(
            "image",
            Binding("r", "run", "Run", id="image.run"),
            Binding("y", "explain", "Explain", id="image.explain"),
            shown=("pull", "diff", "unpack", "tag", "rm"),
        )
    ]

    def make_list(self) -> LiveList[ImageInfo]:
        return ImageList(self.session, id="list")

    def make_details(self) -> Widget:
        return ImageDetails(self.session.images, id="details")

    def called(self, info: ImageInfo) -> str:
        return info.familiar

    def way_in(self, info: ImageInfo) -> list[str]:
        layer = self.has_class("inside") and self.details.tab in ("tree", "file")
        return [self.called(info), *([self.details.step_name] if layer else [])]

    @property
    def details(self) -> ImageDetails:
        """All about one."""
        return self.query_one(ImageDetails)

    # into the layers, and back

    @on(ImageDetails.Entered)
    def action_inside(self) -> None:
        """Into what a layer did."""
        self.add_class("detailed", "inside")
        self.follow()
        self.details.focus_content()

    def back(self) -> None:
        """From a file to the tree, from there to the layers, and from these to the list."""
        if self.details.tab == "file" and not self.details.at_layers and not self.table.has_focus:
            self.details.tab = "tree"
            self.details.focus_content()
        elif self.has_class("inside") and not self.details.at_layers and not self.table.has_focus:
            self.remove_class("inside")
            self.follow()
            self.details.enter()
        else:
            self.remove_class("inside")
            super().back()

    # verbs that want more than their subject

    def _tab(self, name: str) -> None:
        if self.table.chosen is not None:
            self.details.tab = name
            self.action_inside()

    def verb_diff(self) -> None:
        """The tree of the layer, with what it did."""
        self._tab("tree")

    def action_explain(self) -> None:
        """What the image is made of."""
        self._tab("explain")

    def verb_pull(self) -> None:
        """Ask for a name, fetch it, and go to it."""

        def done(name: str | None) -> None:
            if name is not None:
                self.choose(name)

        self.app.push_screen(TransferDialog("Pull an image", "Pull", self.session.pull), done)

    def verb_import(self) -> None:
        """Which file is for the person to say."""
        self.ask("image import ")

    def verb_tag(self) -> None:
        """And which name."""
        self.ask_more("tag")

    def verb_push(self) -> None:
        """Ask where to, and bring it there."""
        info = self.live_list.chosen
        if info is None:
            return

        def done(name: str | None) -> None:
            if name is not None:
                self.notify(name, title="image push", markup=False)

        push = partial(self.session.push, info.name)
        self.app.push_screen(
            TransferDialog(f"Push {info.familiar} to", "Push", push, name=info.familiar), done
        )

    def action_run(self) -> None:
        """Ask how, run it, and go to the task."""
        info = self.live_list.chosen
        if info is None or not self.permitted("container", "run"):
            return

        def answered(wanted: RunBundle | None) -> None:
            if wanted is not None:
                self._run(info.name, wanted)

        dialog = RunDialog(info.familiar, shlex.join(info.args), is_a_shell(info.args))
        self.app.push_screen(dialog, answered)

    def _run(self, name: str, wanted: RunBundle) -> None:
        try:
            line = run_line(name, wanted, "container")
        except MobyshellError as error:
            tell(self.moby, error)
            return
        self.session.perform(self.moby, line, done=lambda made: self.moby.show_task(made.id))

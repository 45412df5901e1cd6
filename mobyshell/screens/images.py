"""The images of the namespace: a list, the layers of one, and what each layer did."""

from __future__ import annotations

import shlex
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container

from mobyshell.commands.registry import verbs_of
from mobyshell.core.errors import MobyshellError
from mobyshell.screens.base import MobyScreen, number_of
from mobyshell.screens.dialogs import RunBundle, RunDialog, run_line
from mobyshell.screens.image_details import ImageDetails
from mobyshell.screens.image_list import ImageList
from mobyshell.screens.pull_dialog import PullDialog
from mobyshell.screens.session import tell
from mobyshell.screens.verb_keys import verb_bindings
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.resource_table import ResourceTable


class ImagesScreen(MobyScreen):
    """Images."""

    NAME = "images"
    NOUN = "image"
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_bindings("image", shown=("pull", "diff", "unpack", "tag", "rm")),
        Binding("r", "run", "Run", id="image.run"),
        Binding("y", "explain", "Explain", id="image.explain"),
        Binding("enter", "details", "Details", show=False, id="image.details"),
        Binding("x", "menu", "Actions", id="image.menu"),
        Binding("c", "copy", "Copy the name", show=False, id="image.copy"),
        Binding("escape", "back", "Back", show=False, id="image.back"),
    ]

    _count = ""

    def body(self) -> ComposeResult:
        with Container(id="images-body"):
            yield ImageList(self.session, id="list")
            yield ImageDetails(self.session.images, id="details")

    def on_mount(self) -> None:
        super().on_mount()
        self.table.focus()

    def on_screen_resume(self) -> None:
        """Seen again: what happened meanwhile?"""
        self.image_list.look(True)

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is read."""
        self.image_list.look(False)

    @property
    def image_list(self) -> ImageList:
        """The list."""
        return self.query_one(ImageList)

    @property
    def table(self) -> ResourceTable:
        """The table in it."""
        return self.image_list.table

    @property
    def details(self) -> ImageDetails:
        """All about one."""
        return self.query_one(ImageDetails)

    @property
    def subjects(self) -> list[str]:
        return self.table.subjects

    @property
    def subject(self) -> tuple[str, str] | None:
        return (self.NOUN, self.table.chosen) if self.table.chosen else None

    def choose(self, name: str) -> None:
        """Put the cursor on an image, as soon as it is there."""
        self.image_list.choose(name)

    def reread(self) -> None:
        self.image_list.refresh_list()

    # what happens

    @on(ImageList.Changed)
    def listed(self, event: ImageList.Changed) -> None:
        """News of the images."""
        self._count = number_of(len(event.images), "image")
        self._follow()

    @on(ResourceTable.Chosen, "#images")
    def _follow(self) -> None:
        """All about the one under the cursor."""
        self.details.show_image(self.image_list.chosen)
        chosen = self.image_list.chosen
        inside = [chosen.familiar] if chosen is not None and self.has_class("detailed") else []
        self.crumb(self._count, *inside)

    @on(ResourceTable.RowSelected, "#images")
    def action_details(self) -> None:
        """Into the layers."""
        self.add_class("detailed")
        self._follow()
        self.details.focus_layers()

    @on(ImageDetails.Entered)
    def action_inside(self) -> None:
        """Into what a layer did."""
        self.add_class("detailed", "inside")
        self._follow()
        self.details.focus_content()

    def action_back(self) -> None:
        """From a file to the tree, from there to the layers, and from these to the list."""
        if self.details.tab == "file" and not self.details.at_layers and not self.table.has_focus:
            self.details.tab = "tree"
            self.details.focus_content()
        elif self.details.has_focus_within and not self.details.at_layers:
            self.remove_class("inside")
            self.details.focus_layers()
        else:
            self.remove_class("detailed", "inside")
            self._follow()
            self.table.focus()

    # the filter

    @property
    def filter_text(self) -> str:
        return self.table.query_text

    def set_filter(self, text: str) -> None:
        self.image_list.filter(text)

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

        self.app.push_screen(PullDialog(self.session.pull), done)

    def verb_import(self) -> None:
        """Which file is for the person to say."""
        self.ask("image import ")

    def verb_tag(self) -> None:
        """And which name."""
        self._ask("tag")

    def verb_push(self) -> None:
        """And where to."""
        self._ask("push")

    def _ask(self, verb: str) -> None:
        if self.image_list.chosen is not None:
            self.ask(f"image {verb} {shlex.quote(self.image_list.chosen.familiar)} ")

    def action_run(self) -> None:
        """Ask how, run it, and go to the task."""
        info = self.image_list.chosen
        if info is None or not self.permitted("container", "run"):
            return

        def answered(wanted: RunBundle | None) -> None:
            if wanted is not None:
                self._run(info.name, wanted)

        self.app.push_screen(RunDialog(info.familiar, shlex.join(info.args), False), answered)

    def _run(self, name: str, wanted: RunBundle) -> None:
        try:
            line = run_line(name, wanted, "container")
        except MobyshellError as error:
            tell(self.moby, error)
            return
        self.session.perform(self.moby, line, done=lambda made: self.moby.show_task(made.id))

    def action_menu(self) -> None:
        """Every verb for an image; those that want more are asked for it."""
        info = self.image_list.chosen
        if info is None:
            return

        def chosen(verb: str | None) -> None:
            if verb is None:
                return
            one = verbs_of(self.NOUN)[verb]
            if one.key or (sum(p.required for p in one.positional) == 1 and verb != "export"):
                self.action_verb(verb)
            else:
                self._ask(verb)

        fitting = [one for one in verbs_of(self.NOUN).values() if one.subject == self.NOUN]
        options = [(one.verb, f"{one.verb:9} {one.key:2} {one.summary}") for one in fitting]
        self.app.push_screen(Choose(info.familiar, options), chosen)

    def action_copy(self) -> None:
        """The name, to the clipboard."""
        if self.table.chosen is not None:
            self.app.copy_to_clipboard(self.table.chosen)
            self.notify(f"copied {self.table.chosen}", markup=False)

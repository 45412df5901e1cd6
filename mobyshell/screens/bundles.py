"""The bundles: a tree of them, an editor for config.json, and the plan beside it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from functools import partial
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.widgets import Tree

from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import load_spec
from mobyshell.screens.base import MobyScreen, number_of
from mobyshell.screens.bundle_list import BundleList
from mobyshell.screens.bundle_plan import BundlePlan
from mobyshell.screens.dialogs import (
    NewBundle,
    NewBundleDialog,
    RunBundle,
    RunDialog,
    free_name,
    run_line,
)
from mobyshell.screens.session import Session, suspended, tell
from mobyshell.screens.verb_keys import verb_bindings
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.spec_editor import SpecEditor
from mobyshell.widgets.typed_ahead import TypedAhead


class BundlesScreen(MobyScreen):
    """Bundles."""

    NAME = "bundles"
    NOUN = "bundle"
    BINDINGS: ClassVar[list[BindingType]] = [
        *verb_bindings("bundle", shown=("new", "run", "plan", "script")),
        Binding("e", "edit", "Edit", id="bundle.edit"),
        Binding("E", "external", "Your editor", show=False, id="bundle.external"),
        Binding("y", "verb('plan')", "Explain", show=False, id="bundle.explain"),
        Binding("c", "copy", "Copy the path", show=False, id="bundle.copy"),
        Binding("escape", "back", "Back", show=False, id="bundle.back"),
    ]

    def __init__(self, session: Session, directory: str = ".") -> None:
        super().__init__(session)
        self.directory = os.path.abspath(directory)
        self._open = ""

    def body(self) -> ComposeResult:
        with Container(id="bundles-body"):
            yield BundleList(self.session, self.directory, id="bundle-list")
            yield SpecEditor(readonly=lambda: self.session.readonly, id="editor")
            yield BundlePlan(self.session, id="plan")

    def on_mount(self) -> None:
        super().on_mount()
        self.bundles.tree_view.focus()

    @property
    def first_pane(self) -> TypedAhead:
        return self.bundles

    def on_screen_resume(self) -> None:
        """Seen again: what is there now?"""
        self.bundles.scan()
        self.editor.look_at_file()

    @property
    def bundles(self) -> BundleList:
        """The list."""
        return self.query_one(BundleList)

    @property
    def editor(self) -> SpecEditor:
        """The text."""
        return self.query_one(SpecEditor)

    @property
    def plan(self) -> BundlePlan:
        """The plan."""
        return self.query_one(BundlePlan)

    @property
    def subject(self) -> tuple[str, str] | None:
        return (self.NOUN, self.bundles.current) if self.bundles.current else None

    def makes(self, verb: str) -> Callable[[], object] | None:
        return (
            partial(self.bundles.choose_new, self.bundles.known) if verb == "bundle new" else None
        )

    def reread(self) -> None:
        self.bundles.scan()

    def readonly_changed(self) -> None:
        super().readonly_changed()
        self.editor.apply_readonly()

    # which one

    @on(BundleList.Scanned)
    def scanned(self, event: BundleList.Scanned) -> None:
        """News of the list."""
        self.crumb(number_of(len(event.entries), "bundle"))
        if self._open and self._open not in {one.path for one in event.entries}:
            self._open = ""
            self.editor.close()
            self.plan.say("")

    @on(SpecEditor.Saved)
    def saved(self, event: SpecEditor.Saved) -> None:
        """Another file: is it valid?"""
        event.stop()
        self.bundles.scan()

    @on(Tree.NodeHighlighted, "#bundles")
    def highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        """Open the bundle under the cursor, unless there is something to save in the open one."""
        path = event.node.data
        if path and path != self._open:
            if self.editor.dirty:
                self.notify("ctrl+s saves it, ctrl+o throws the change away", title="not saved",
                            severity="warning")  # fmt: skip
            else:
                self._load(path)

    def _load(self, path: str) -> None:
        self._open = path
        try:
            self.editor.load(path)
        except MobyshellError as error:
            self.plan.say(f"No plan: {error}\n\n{error.hint}")

    @on(Tree.NodeSelected, "#bundles")
    def action_edit(self) -> None:
        """Into the text."""
        self._pane("editing")
        self.editor.area.focus()

    # the plan

    @on(SpecEditor.Checked)
    def checked(self, event: SpecEditor.Checked) -> None:
        """Plan what is valid; the last plan stays beside what is not yet, and says so."""
        if event.spec is not None:
            self.plan.make(event.spec, self._open)
        elif self.plan.plan is None or not self.editor.dirty:
            self.plan.say("No plan: config.json is not valid. f8 goes to what is wrong.")
        else:
            self.plan.mark_stale("of the last valid text: config.json is not valid now")

    @on(SpecEditor.Moved)
    def moved(self, event: SpecEditor.Moved) -> None:
        """The plan follows the cursor in the text."""
        self.plan.focus_source(event.path)

    @on(PlanView.Jumped)
    def jumped(self, event: PlanView.Jumped) -> None:
        """And the other way round."""
        if event.source:
            self._pane("editing")
            self.editor.go_to(event.source)

    # the panes

    @property
    def filter_text(self) -> str:
        return self.bundles.filter_text

    def set_filter(self, text: str) -> None:
        self.bundles.filter(text)

    def _pane(self, name: str) -> None:
        """Which pane a narrow screen shows."""
        self.set_class(name == "editing", "editing")
        self.set_class(name == "planning", "planning")

    @on(SpecEditor.Left)
    def action_back(self) -> None:
        """To the list."""
        self._pane("")
        self.bundles.tree_view.focus()

    # verbs that want more than their subject

    def verb_plan(self) -> None:
        """Into the plan."""
        self._pane("planning")
        self.query_one("#operations").focus()

    def verb_new(self) -> None:
        """Ask for a name and a source, and make a bundle."""

        def answered(wanted: NewBundle | None) -> None:
            if wanted is not None:
                path = os.path.join(self.directory, wanted.name)
                self.perform(["bundle", "new", path, "--from", wanted.source])

        self.app.push_screen(NewBundleDialog(free_name(self.directory)), answered)

    def verb_run(self) -> None:
        """Ask how, run it, and go to the task."""
        path = self.bundles.current
        if not path:
            return
        if self.editor.dirty:
            self.notify("save it first (ctrl+s)", severity="warning")
            return
        try:
            process = load_spec(path).process
        except MobyshellError as error:
            tell(self.moby, error)
            return
        args = shlex.join(process.args or ()) if process else ""

        def answered(wanted: RunBundle | None) -> None:
            if wanted is not None:
                self._run(path, wanted)

        terminal = bool(process and process.terminal)
        self.app.push_screen(RunDialog(os.path.basename(path), args, terminal), answered)

    def _run(self, path: str, wanted: RunBundle) -> None:
        try:
            line = run_line(path, wanted)
        except MobyshellError as error:
            tell(self.moby, error)
            return
        self.session.perform(self.moby, line, done=lambda made: self.moby.show_task(made.id))

    def action_external(self) -> None:
        """The person's own editor, full screen; what it left is read again."""
        if self._open and self.permitted("bundle", "new"):
            editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
            suspended(self.moby, [*editor, os.path.join(self._open, "config.json")])
            self.editor.look_at_file()

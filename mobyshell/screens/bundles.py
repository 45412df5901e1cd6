"""The bundles: a tree of them, an editor for config.json, and the plan beside it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container
from textual.message import Message
from textual.widgets import Static, Tree

from mobyshell.commands.bundle import find_bundles
from mobyshell.core.errors import MobyshellError
from mobyshell.core.oci import Spec, load_spec
from mobyshell.core.runtime import Plan, make_plan
from mobyshell.screens.base import MobyScreen
from mobyshell.screens.dialogs import NewBundle, NewBundleDialog, RunBundle, RunDialog
from mobyshell.screens.session import suspended, tell
from mobyshell.widgets.background import background
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.spec_editor import SpecEditor

EMPTY = "No bundles here yet: press n to make one."


@dataclass(frozen=True, slots=True)
class Entry:
    """A bundle in the tree: its directory, whether its config is valid, how many tasks it runs."""

    path: str
    valid: bool
    running: int


class BundlesScreen(MobyScreen):
    """Bundles."""

    NAME = "bundles"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", id="bundle.new"),
        Binding("r", "run", "Run", id="bundle.run"),
        Binding("e", "edit", "Edit", id="bundle.edit"),
        Binding("E", "external", "Editor", show=False, id="bundle.external"),
        Binding("p", "plan", "Plan", id="bundle.plan"),
        Binding("y", "plan", "Explain", show=False, id="bundle.explain"),
        Binding("v", "act('validate')", "Validate", show=False, id="bundle.validate"),
        Binding("t", "act('script')", "Script", id="bundle.script"),
        Binding("D", "act('rm')", "Delete", show=False, id="bundle.delete"),
        Binding("c", "copy", "Copy", show=False, id="bundle.copy"),
        Binding("j", "cursor(1)", "Down", show=False, id="bundle.down"),
        Binding("k", "cursor(-1)", "Up", show=False, id="bundle.up"),
        Binding("escape", "back", "Back", show=False, id="bundle.back"),
    ]

    @dataclass
    class Scanned(Message):
        """The bundles below the directory."""

        entries: list[Entry]

    @dataclass
    class Planned(Message):
        """The plan of a spec, or why there is none."""

        plan: Plan | None
        problem: str

    def __init__(self, session: Any, directory: str = ".") -> None:
        super().__init__(session)
        self.directory = os.path.abspath(directory)
        self._entries: list[Entry] = []
        self._filter = ""
        self._open = ""

    def body(self) -> ComposeResult:
        with Container(id="bundles-body"):
            with Container(id="bundle-list"):
                tree: Tree[str] = Tree(os.path.basename(self.directory) or "/", id="bundles")
                tree.show_root = False
                tree.guide_depth = 2
                yield tree
                yield Static(EMPTY, id="no-bundles", classes="hidden", markup=False)
            yield SpecEditor(readonly=self.session.readonly, id="editor")
            yield PlanView(id="plan")

    def on_mount(self) -> None:
        super().on_mount()
        self.tree.focus()

    def on_screen_resume(self) -> None:
        """Seen again: what is there now?"""
        self._scan()

    @property
    def tree(self) -> Tree[str]:  # type: ignore[override]
        return self.query_one("#bundles", Tree)

    @property
    def editor(self) -> SpecEditor:
        return self.query_one(SpecEditor)

    @property
    def current(self) -> str:
        """The directory of the bundle under the cursor; "" if there is none."""
        node = self.tree.cursor_node
        return node.data if node is not None and node.data else ""

    @property
    def subject(self) -> tuple[str, str] | None:
        """What the command palette is about."""
        return ("bundle", self.current) if self.current else None

    # what is there

    @background("looking for bundles")
    def _scan(self) -> Message:
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
        return self.Scanned(entries)

    @on(Scanned)
    def scanned(self, event: Scanned) -> None:
        """Show them."""
        self._entries = event.entries
        self._show_tree()
        self.query_one("#no-bundles").set_class(bool(event.entries), "hidden")
        self.crumb(f"{len(event.entries)} bundles")

    def _show_tree(self) -> None:
        before = self.current
        tree = self.tree
        tree.clear()
        chosen = None
        for one in self._entries:
            name = os.path.relpath(one.path, self.directory)
            if self._filter.lower() not in name.lower():
                continue
            label = Text("✓ " if one.valid else "✗ ", "green" if one.valid else "red")
            label.append(name, "bold" if one.running else "")
            if one.running:
                label.append(f"  {one.running} running", "dim")
            node = tree.root.add_leaf(label, data=one.path)
            if chosen is None or one.path == before:
                chosen = node
        if chosen is not None:
            tree.call_after_refresh(tree.move_cursor, chosen)

    @on(Tree.NodeHighlighted, "#bundles")
    def highlighted(self, event: Tree.NodeHighlighted[str]) -> None:
        """Open the bundle under the cursor, unless there is something to save in the open one."""
        path = event.node.data
        if not path or path == self._open:
            return
        if self.editor.dirty:
            self.notify("ctrl+s saves it, E throws the change away", title="not saved",
                        severity="warning")  # fmt: skip
            return
        try:
            self.editor.load(path)
            self._open = path
        except MobyshellError as error:
            tell(self.moby, error)

    @on(Tree.NodeSelected, "#bundles")
    def selected(self) -> None:
        """Enter: edit."""
        self.action_edit()

    # the plan

    @on(SpecEditor.Checked)
    def checked(self, event: SpecEditor.Checked) -> None:
        """Plan what is valid; keep the last plan beside what is not yet."""
        if event.spec is not None:
            self._plan(event.spec, self._open)
        elif self.query_one(PlanView).plan is None:
            self.query_one(PlanView).say("no plan: config.json is not valid")

    @background("planning")
    def _plan(self, spec: Spec, path: str) -> Message:
        host = self.session.context.host_or_none()
        if host is None:
            return self.Planned(None, "no plan: this machine cannot be looked at")
        try:
            plan = make_plan(spec, bundle=path, id=os.path.basename(path), host=host)
        except MobyshellError as error:
            return self.Planned(None, f"no plan: {error}\n\n{error.hint}")
        return self.Planned(plan, "")

    @on(Planned)
    def planned(self, event: Planned) -> None:
        """Show it."""
        view = self.query_one(PlanView)
        if event.plan is None:
            view.say(event.problem)
        else:
            view.show(event.plan)

    @on(SpecEditor.Moved)
    def moved(self, event: SpecEditor.Moved) -> None:
        """The plan follows the cursor in the text."""
        self.query_one(PlanView).focus_source(event.path)

    @on(PlanView.Jumped)
    def jumped(self, event: PlanView.Jumped) -> None:
        """And the other way round."""
        if event.source:
            self._pane("editing")
            self.editor.go_to(event.source)

    # the person

    @property
    def filter_text(self) -> str:
        return self._filter

    def set_filter(self, text: str) -> None:
        self._filter = text
        self._show_tree()

    def _pane(self, name: str) -> None:
        """Which pane a narrow screen shows."""
        self.set_class(name == "editing", "editing")
        self.set_class(name == "planning", "planning")

    @on(SpecEditor.Left)
    def action_back(self) -> None:
        """To the list."""
        self._pane("")
        self.tree.focus()

    def action_cursor(self, step: int) -> None:
        """Vim movement in the list."""
        if step > 0:
            self.tree.action_cursor_down()
        else:
            self.tree.action_cursor_up()

    def action_edit(self) -> None:
        """Into the text."""
        self._pane("editing")
        self.editor.area.focus()

    def action_plan(self) -> None:
        """Into the plan."""
        self._pane("planning")
        self.query_one("#operations").focus()

    def action_external(self) -> None:
        """The person's own editor, full screen; what it left is read again."""
        if self._open:
            editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
            suspended(self.moby, [*editor, os.path.join(self._open, "config.json")])
            self.editor.load(self._open)

    def action_act(self, verb: str) -> None:
        """A verb on the bundle under the cursor."""
        if self.current:
            self.session.perform(self.moby, ["bundle", verb, self.current], self._scan)

    def action_copy(self) -> None:
        """The path, to the clipboard."""
        if self.current:
            self.app.copy_to_clipboard(self.current)
            self.notify(f"copied {self.current}")

    def action_new(self) -> None:
        """Ask for a name and a source, and make a bundle."""

        def answered(wanted: NewBundle | None) -> None:
            if wanted is not None:
                path = os.path.join(self.directory, wanted.name)
                line = ["bundle", "new", path, "--from", wanted.source]
                self.session.perform(self.moby, line, self._scan)

        self.app.push_screen(NewBundleDialog(), answered)

    def action_run(self) -> None:
        """Ask how, run it, and go to the task."""
        path = self.current
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
        args = " ".join(process.args or ()) if process else ""

        def answered(wanted: RunBundle | None) -> None:
            if wanted is not None:
                self._run(path, wanted)

        terminal = bool(process and process.terminal)
        self.app.push_screen(RunDialog(os.path.basename(path), args, terminal), answered)

    def _run(self, path: str, wanted: RunBundle) -> None:
        id = wanted.id or os.path.basename(path)
        taken = {one.id for one in self.session.tasks.ls()}
        number, name = 1, id
        while name in taken and not wanted.id:
            number += 1
            name = f"{id}-{number}"
        line = ["task", "run", "-d", "--name", name, path]
        if wanted.terminal:
            line[2:3] = ["-d", "-t", "-i"]
        if wanted.args:
            line += ["--", *shlex.split(wanted.args)]
        self.session.perform(self.moby, line, lambda: self.moby.show_task(name))

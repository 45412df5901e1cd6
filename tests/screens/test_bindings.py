"""Every key of the workbench, pressed: made from its own tables, so that none can be left out.

A case brings the workbench to where a binding works, and yields what must not be so before the
key is pressed and must be so after it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from textual.binding import Binding
from textual.command import CommandPalette
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input, OptionList, TextArea, Tree

from mobyshell.commands.registry import READ, find, verbs_of
from mobyshell.core.oci import default_spec, dump_spec
from mobyshell.core.tasks.service import LogLine, Status
from mobyshell.screens.base import MobyScreen
from mobyshell.screens.bindings import actions, bindings_of, classes
from mobyshell.screens.bundles import BundlesScreen
from mobyshell.screens.dialogs import NewBundleDialog, RunDialog
from mobyshell.screens.event_stream import EventStream
from mobyshell.screens.events import EventsScreen
from mobyshell.screens.help import HelpScreen
from mobyshell.screens.image_details import ImageDetails
from mobyshell.screens.images import ImagesScreen
from mobyshell.screens.kernel import KernelScreen
from mobyshell.screens.leader import Leader
from mobyshell.screens.network_details import NetworkDetails
from mobyshell.screens.network_dialog import NetworkDialog
from mobyshell.screens.networks import NetworksScreen
from mobyshell.screens.plan_dialog import PlanDialog
from mobyshell.screens.result import ResultScreen
from mobyshell.screens.snapshot_details import SnapshotDetails
from mobyshell.screens.snapshots import SnapshotsScreen
from mobyshell.screens.tasks import TasksScreen
from mobyshell.screens.tenants import TenantsScreen
from mobyshell.screens.transfer_dialog import TransferDialog
from mobyshell.screens.verb_keys import verb_bindings
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.confirm import Choose, Confirm
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.log_view import LogView
from mobyshell.widgets.prompt import Prompt
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.spec_editor import SpecEditor
from mobyshell.widgets.step_list import StepList
from mobyshell.widgets.terminal import TerminalView
from tests.fake_images import BOX
from tests.fake_namespaces import HOST, WEB
from tests.fake_networks import write_networks
from tests.fake_snapshots import BASE
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, told, until

BINDINGS: list[tuple[type, Binding]] = [
    (kind, one) for kind in classes() for one in bindings_of(kind)
]  # fmt: skip

Condition = Callable[[], object]


@dataclass
class Trial:
    """A workbench to try a key in."""

    pilot: Pilot[int]
    tasks: FakeTasks
    place: Path

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await settle(self.pilot)

    async def until(self, condition: Condition) -> None:
        await until(self.pilot, condition)

    @property
    def screen(self) -> Screen[Any]:
        return self.pilot.app.screen

    def on(self, kind: type) -> bool:
        return isinstance(self.screen, kind)

    def find(self, kind: Any, selector: str = "*") -> Any:
        found = [
            one for one in self.screen.query(kind) if one.id == selector[1:] or selector == "*"
        ]
        return found[0]

    @property
    def table(self) -> ResourceTable:
        found: ResourceTable = self.find(ResourceTable, "#tasks")
        return found

    @property
    def tab(self) -> str:
        return str(self.screen.query_one("#details").tab)  # type: ignore[attr-defined]

    @property
    def line(self) -> str:
        return str(self.find(Prompt).query_one(Input).value)

    def called(self, name: str) -> bool:
        return any(call[0] == name for call in self.tasks.calls)


Case = Callable[[Trial], AsyncIterator[Condition]]
CASES: dict[str, tuple[str, Case]] = {}
SCREENS: dict[str, type[MobyScreen]] = {"task": TasksScreen, "bundle": BundlesScreen, "image": ImagesScreen,
           "snapshot": SnapshotsScreen, "network": NetworksScreen,
           "namespace": TenantsScreen, "ns": KernelScreen}  # fmt: skip
"""By the nouns whose verbs have keys there."""


def case(id: str, start: str = "tasks") -> Callable[[Case], Case]:
    """Declare the case of a binding."""

    def declare(one: Case) -> Case:
        assert id not in CASES
        CASES[id] = start, one
        return one

    return declare


# everywhere


@case("go.bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(BundlesScreen)


@case("go.tasks", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TasksScreen)


@case("go.images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(ImagesScreen)


@case("go.snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(SnapshotsScreen)


@case("go")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Leader)


@case("help")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(HelpScreen) and "Keys here" in screen_text(t.pilot)


@case("readonly")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: "[read-only]" in screen_text(t.pilot)


@case("history.back")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("f1")
    yield lambda: t.on(TasksScreen)


@case("history.forward")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("f1", "left_square_bracket")
    yield lambda: t.on(BundlesScreen)


@case("suspend")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: "no shell is there that could continue it" in told(t.pilot)


@case("quit")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.return_value == 0


@case("quit.always")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon")
    yield lambda: t.pilot.app.return_value == 0


@case("command")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Prompt).has_class("asking") and t.find(Prompt).sign == ":"


@case("filter")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Prompt).has_class("asking") and t.find(Prompt).sign == "/"


@case("maximise")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.screen.maximized is t.table


@case("prompt.leave")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon")
    yield lambda: not t.find(Prompt).has_class("asking") and t.table.has_focus


@case("prompt.go")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"tasks")
    yield lambda: not t.find(Prompt).has_class("asking") and isinstance(t.screen, TasksScreen)


@case("prompt.complete")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"task pau")
    yield lambda: t.line == "task pause"


@case("prompt.older")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"tasks", "enter", "colon")
    yield lambda: t.line == "tasks"


@case("prompt.newer")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"tasks", "enter", "colon", "up")
    assert t.line == "tasks"
    yield lambda: t.line == ""


# tasks


@case("task.start")
async def _(t: Trial) -> AsyncIterator[Condition]:
    t.tasks.add("made", Status.CREATED)
    t.screen.choose("made")  # type: ignore[attr-defined]
    await t.until(lambda: t.table.chosen == "made")
    yield lambda: ("start", "made") in t.tasks.calls


@case("task.exec")
async def _(t: Trial) -> AsyncIterator[Condition]:
    # a test has no terminal to hand over: the shell is in the tab
    await t.press("j")
    yield lambda: ("exec", "web", ("sh",)) in t.tasks.calls and t.find(TerminalView).has_focus


@case("task.exec-tab")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: ("exec", "web", ("sh",)) in t.tasks.calls and t.find(TerminalView).has_focus


@case("task.attach")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: ("attach", "web", "") in t.tasks.calls and t.find(TerminalView).has_focus


@case("task.logs")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j", "d")
    yield lambda: t.tab == "logs" and "web line 2" in screen_text(t.pilot)


@case("task.pause")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    assert t.tasks.calls == [("resume", "paused")]
    await t.press("j")
    yield lambda: ("pause", "web") in t.tasks.calls


@case("task.kill")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "SIGKILL" in screen_text(t.pilot)


@case("task.policy")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "again when it ends? (now: no)" in screen_text(t.pilot)


@case("task.delete")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("G")
    yield lambda: t.on(Confirm) and "task delete worker?" in screen_text(t.pilot)


@case("task.ps")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: t.tab == "processes" and "INSIDE" in screen_text(t.pilot)


@case("task.inspect")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "inspect" and "namespace: default" in screen_text(t.pilot)


@case("task.trace")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "explain" and "✓" in screen_text(t.pilot)


@case("task.diff")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: t.tab == "diff" and "tmpfs rw" in screen_text(t.pilot)


@case("task.details")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Lines).has_focus


@case("task.menu")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "resume" in screen_text(t.pilot)


@case("task.copy")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == "paused"


@case("task.back")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: t.table.has_focus


@case("table.down")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.table.chosen == "web"


@case("table.up")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: t.table.chosen == "paused"


@case("table.last")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.table.chosen == "worker"


@case("table.first")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("G")
    yield lambda: t.table.chosen == "paused"


@case("table.mark")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.table.marked == {"paused"} and "● paused" in screen_text(t.pilot)


@case("table.sort")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.table.sort_key == "status" and "STATE▴" in screen_text(t.pilot)


@case("table.reverse")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.table.shown == ["worker", "web", "paused"]


@case("details.next")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: t.tab == "processes"


@case("details.previous")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: t.tab == "terminal"


async def many_lines(t: Trial) -> Lines:
    now = t.tasks.clock.now_ns()
    t.tasks.lines["web"] = [
        LogLine(now + i, "stdout", False, f"{i} {'long ' * 60}end".encode()) for i in range(200)
    ]
    await t.press("j", "l")
    await t.until(lambda: len(t.find(Lines).kept) == 200)
    await settle(t.pilot)
    found: Lines = t.find(Lines)
    return found


@case("lines.down")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    await t.press("home")
    yield lambda: lines.scroll_offset.y > 0


@case("lines.up")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    before = lines.scroll_offset.y
    assert before == lines.max_scroll_y
    yield lambda: lines.scroll_offset.y < before


@case("lines.right")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    yield lambda: lines.scroll_offset.x > 0


@case("lines.left")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    await t.press("l")
    assert lines.scroll_offset.x > 0
    yield lambda: lines.scroll_offset.x == 0


@case("lines.last")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    await t.press("home")
    yield lambda: lines.at_end


@case("lines.wrap")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = await many_lines(t)
    assert lines.line_count < 250
    yield lambda: lines.line_count > 500 and "long end" in screen_text(t.pilot)


@case("logs.follow")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: "not following" in screen_text(t.pilot)


@case("logs.times")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: "22:13:15.000   paused line 0" in screen_text(t.pilot)


@case("logs.search")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l")
    yield lambda: t.find(LogView).query_one("#needle").has_focus


@case("logs.all")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("l", "slash", *"line 1")
    assert "line 2" not in screen_text(t.pilot)
    yield lambda: "line 2" in screen_text(t.pilot) and t.find(Lines).has_focus


async def a_record(t: Trial) -> RecordView:
    await t.pilot.resize_terminal(80, 12)
    await t.press("i")
    found: RecordView = t.find(RecordView)
    await t.until(lambda: found.max_scroll_y > 1 and found.has_focus)
    return found


@case("record.down")
async def _(t: Trial) -> AsyncIterator[Condition]:
    record = await a_record(t)
    yield lambda: record.scroll_offset.y == 1


@case("record.up")
async def _(t: Trial) -> AsyncIterator[Condition]:
    record = await a_record(t)
    await t.press("j")
    assert record.scroll_offset.y == 1
    yield lambda: record.scroll_offset.y == 0


@case("record.last")
async def _(t: Trial) -> AsyncIterator[Condition]:
    record = await a_record(t)
    yield lambda: record.scroll_offset.y == record.max_scroll_y


async def scrolled(t: Trial) -> TerminalView:
    await t.press("j", "a")
    view: TerminalView = t.find(TerminalView)
    await t.until(lambda: "/ #" in view.text and view.has_focus)
    t.tasks.attachment.say(b"".join(b"row %d\r\n" % i for i in range(200)))
    await t.until(lambda: "row 199" in view.text)
    return view


@case("terminal.release")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await scrolled(t)
    yield lambda: t.table.has_focus


@case("terminal.back")
async def _(t: Trial) -> AsyncIterator[Condition]:
    view = await scrolled(t)
    yield lambda: "row 199" not in view.text


@case("terminal.forward")
async def _(t: Trial) -> AsyncIterator[Condition]:
    view = await scrolled(t)
    await t.press("shift+pageup")
    assert "row 199" not in view.text
    yield lambda: "row 199" in view.text


# bundles


@case("bundle.new", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(NewBundleDialog)


@case("bundle.run", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(RunDialog) and "Run first" in screen_text(t.pilot)


@case("bundle.validate", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(ResultScreen) or "valid" in told(t.pilot)


@case("bundle.script", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(ResultScreen) and "#!/bin/sh" in screen_text(t.pilot)


@case("bundle.rm", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Confirm) and "Type first to confirm" in screen_text(t.pilot)


@case("bundle.plan", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Tree, "#operations").has_focus


@case("bundle.explain", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Tree, "#operations").has_focus


@case("bundle.edit", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(TextArea).has_focus


@case("bundle.external", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    # a test has no terminal to hand over
    yield lambda: "cannot be handed over" in told(t.pilot)


@case("bundle.copy", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == str(t.place / "first")


@case("bundle.back", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    yield lambda: t.find(Tree, "#bundles").has_focus


@case("bundle.down", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: "web/config.json" in screen_text(t.pilot)


@case("bundle.up", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: "first/config.json" in screen_text(t.pilot)


@case("bundle.last", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: "web/config.json" in screen_text(t.pilot)


@case("plan.down", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    tree = t.find(Tree, "#operations")
    before = tree.cursor_line
    yield lambda: tree.cursor_line == before + 1


@case("plan.up", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p", "j", "j")
    tree = t.find(Tree, "#operations")
    before = tree.cursor_line
    yield lambda: tree.cursor_line == before - 1


@case("plan.last", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    tree = t.find(Tree, "#operations")
    yield lambda: tree.cursor_line == tree.last_line


@case("editor.save", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("e", "enter")
    before = (t.place / "first" / "config.json").read_text()
    yield lambda: (t.place / "first" / "config.json").read_text() == "\n" + before


@case("editor.reload", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("e", "x")
    editor = t.find(SpecEditor)
    assert editor.dirty
    yield lambda: not editor.dirty and editor.area.text.startswith("{")


@case("editor.next-problem", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    editor = t.find(SpecEditor)
    await t.press("e")
    editor.area.load_text(dump_spec(default_spec()).replace('"cwd": "/"', '"cwd": "x"'))
    await t.until(lambda: t.find(OptionList, "#problems").option_count == 1)
    yield lambda: '"cwd": "x"' in editor.area.document.get_line(editor.area.cursor_location[0])


@case("editor.leave", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("e")
    yield lambda: t.find(Tree, "#bundles").has_focus


# images


def details(t: Trial) -> ImageDetails:
    found: ImageDetails = t.find(ImageDetails)
    return found


def performed(t: Trial) -> list[list[str]]:
    """The lines of words that are performed from now on; none is."""
    lines: list[list[str]] = []
    session = t.pilot.app.session  # type: ignore[attr-defined]
    session.perform = lambda app, *words, **more: lines.extend(list(one) for one in words)
    return lines


@case("image.pull", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TransferDialog)


@case("transfer.leave", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    yield lambda: t.on(ImagesScreen)


@case("image.import", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.line == "image import "


@case("image.tag", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.line == "image tag box "


@case("image.push", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TransferDialog) and "Push box to" in screen_text(t.pilot)


@case("image.rm", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["image", "rm", BOX]]


@case("image.unpack", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["image", "unpack", BOX]]


@case("image.inspect", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["image", "inspect", BOX]]


@case("image.run", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(RunDialog) and "Run box" in screen_text(t.pilot)


@case("image.diff", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("y")
    yield lambda: details(t).tab == "tree" and t.find(Tree, "#files").has_focus


def explained(t: Trial) -> RecordView:
    return details(t).query_one("#explain RecordView", RecordView)


@case("image.explain", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: details(t).tab == "explain" and "linux/arm64" in explained(t).text


@case("image.details", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: details(t).at_layers


@case("image.menu", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "history" in screen_text(t.pilot)


@case("image.copy", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == BOX


@case("image.back", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.find(ResourceTable, "#images").has_focus


@case("image-details.next", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("d")
    yield lambda: details(t).tab == "file"


@case("image-details.previous", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("d")
    yield lambda: details(t).tab == "explain" and explained(t).has_focus


# snapshots


def shown_tab(t: Trial) -> str:
    return str(t.find(SnapshotDetails).tab)


def dialog_case(verb: str, title: str) -> None:
    """The key of a verb that asks for words, and shows what it would do."""

    @case(f"snapshot.{verb}", "snapshots")
    async def _(t: Trial) -> AsyncIterator[Condition]:
        yield lambda: t.on(PlanDialog) and title in screen_text(t.pilot)


dialog_case("prepare", "A new active snapshot upon sha256:")
dialog_case("view", "A new view upon sha256:")
dialog_case("commit", "Commit sha256:")
dialog_case("label", "Labels of sha256:")
dialog_case("mount", "to look at it")
dialog_case("unmount", "Unmount a snapshot")


@case("plan.leave", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("p")
    yield lambda: t.on(SnapshotsScreen)


@case("snapshot.rm", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["snapshot", "rm", BASE]]


@case("snapshot.mounts", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: shown_tab(t) == "mounts"


@case("snapshot.inspect", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: shown_tab(t) == "inspect"


@case("snapshot.diff", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("i")
    yield lambda: shown_tab(t) == "tree" and t.find(Tree, "#files").has_focus


@case("snapshot.kept", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: shown_tab(t) == "kept" and "2 ways" in screen_text(t.pilot)


@case("snapshot.details", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(Tree, "#files").has_focus


@case("snapshot.menu", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "commit" in screen_text(t.pilot)


@case("snapshot.copy", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == BASE


@case("snapshot.back", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.find(ResourceTable, "#snapshots").has_focus


@case("snapshot-details.next", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: shown_tab(t) == "file"


@case("snapshot-details.previous", "snapshots")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: shown_tab(t) == "inspect"


@case("tree.down", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("d")
    yield lambda: t.find(Tree, "#files").cursor_line == 1


@case("tree.up", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("d", "j", "j")
    yield lambda: t.find(Tree, "#files").cursor_line == 1


@case("tree.last", "images")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("d")
    yield lambda: t.find(Tree, "#files").cursor_line == 3


# networks


def network_tab(t: Trial) -> str:
    return str(t.find(NetworkDetails).tab)


@case("go.networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(NetworksScreen) and "2 networks" in screen_text(t.pilot)


@case("network.create", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(NetworkDialog)


@case("new-network.leave", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("n")
    yield lambda: t.on(NetworksScreen)


@case("network.inspect", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield (
        lambda: network_tab(t) == "config" and t.find(RecordView, "*").screen.has_class("detailed")
    )


@case("network.plan", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: network_tab(t) == "explain" and t.find(StepList).table.has_focus


@case("network.connect", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.line == "network connect lan "


@case("network.rm", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    write_networks(t.place.parent / "root")
    yield lambda: t.on(Confirm) and "network rm lan?" in screen_text(t.pilot)


@case("network.details", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(NetworkDetails).members.table.has_focus


@case("network.menu", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "inspect" in screen_text(t.pilot)


@case("network.copy", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == "lan"


@case("network.back", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.find(ResourceTable, "#networks").has_focus


@case("network-details.next", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: network_tab(t) == "topology"


@case("network-details.previous", "networks")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: network_tab(t) == "config"


# tenants


@case("go.namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TenantsScreen)


@case("namespace.create", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.line == "namespace create "


@case("namespace.label", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    yield lambda: t.line == "namespace label empty "


@case("namespace.use", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    await t.press("j")
    yield lambda: lines == [["namespace", "use", "empty"]]


@case("namespace.inspect", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["namespace", "inspect", "default"]]


@case("namespace.rm", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("j")
    lines = performed(t)
    yield lambda: lines == [["namespace", "rm", "empty"]]


@case("namespace.other", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(KernelScreen)


@case("namespace.explain", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "explain" and "a tenant" in screen_text(t.pilot)


@case("namespace.details", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    holds = t.screen.query_one("#holds ResourceTable")
    yield lambda: holds.has_focus


@case("namespace.menu", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "Set labels" in screen_text(t.pilot)


@case("namespace.copy", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == "default"


@case("namespace.back", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.find(ResourceTable, "#tenants").has_focus


@case("tenant-details.next", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.tab == "objects"


@case("tenant-details.previous", "namespaces")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.tab == "explain"


# the kernel's namespaces


def web_pid(t: Trial) -> None:
    """The cursor on the pid namespace of the task `web`."""
    t.find(ResourceTable, "#namespaces").choose(str(WEB["pid"]))


@case("ns.enter", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    # a test has no terminal to hand over, and the machine is not a real one
    yield lambda: t.tab == "terminal" and "may be opened from here" in told(t.pilot)


@case("ns.enter-tab", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "terminal" and "may be opened from here" in told(t.pilot)


@case("ns.inspect", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    lines = performed(t)
    yield lambda: lines == [["ns", "inspect", str(HOST["user"])]]


@case("ns.other", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TenantsScreen)


@case("ns.members", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "members" and "mobyshell" in screen_text(t.pilot)


@case("ns.explain", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.tab == "explain" and "man 7 user_namespaces" in screen_text(t.pilot)


@case("ns.turn", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: "by kind" in screen_text(t.pilot) and "↳ pid" in screen_text(t.pilot)


@case("ns.task", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    web_pid(t)
    await settle(t.pilot)
    yield lambda: t.on(TasksScreen) and t.table.chosen == "web"


@case("ns.copy-command", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    web_pid(t)
    await settle(t.pilot)
    yield lambda: t.on(Choose) and "unshare --pid --fork" in screen_text(t.pilot)


@case("ns.details", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    record = t.screen.query_one("#inside RecordView")
    yield lambda: record.has_focus


@case("ns.menu", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "Run a command" in screen_text(t.pilot)


@case("ns.copy", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.pilot.app.clipboard == str(HOST["user"])


@case("ns.back", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.find(ResourceTable, "#namespaces").has_focus


@case("kernel-details.next", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.tab == "members"


@case("kernel-details.previous", "kernel")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("enter")
    yield lambda: t.tab == "terminal"


# events and metrics


def stream(t: Trial) -> EventStream:
    found: EventStream = t.find(EventStream)
    return found


@case("go.events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(EventsScreen) and "3 events" in screen_text(t.pilot)


@case("events.pause", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: stream(t).paused and "paused" in screen_text(t.pilot)


@case("events.follow", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: not stream(t).following


@case("events.calls", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: stream(t).calls


@case("events.metrics", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(ResourceTable, "#meters").has_focus


@case("events.jump", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(TasksScreen) and t.table.chosen == "worker"


@case("events.save", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Ask) and "Save 3 events to" in screen_text(t.pilot)


@case("ask.leave", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("s")
    yield lambda: t.on(EventsScreen)


@case("events.details", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.find(RecordView, "#event").has_focus


@case("events.menu", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "hold back" in screen_text(t.pilot)


@case("events.copy", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    yield lambda: t.on(Choose) and "ctr events" in screen_text(t.pilot)


@case("events.back", "events")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("m")
    yield lambda: stream(t).table.has_focus


# dialogs


@case("new-bundle.leave", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("n")
    yield lambda: t.on(BundlesScreen)


@case("run.leave", "bundles")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("r")
    yield lambda: t.on(BundlesScreen) and not t.called("create")


@case("confirm.yes")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("G", "D")
    yield lambda: ("delete", "worker", False) in t.tasks.calls


@case("confirm.no")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("G", "D")
    yield lambda: t.on(TasksScreen) and not t.called("delete")


@case("choose.leave")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("K")
    yield lambda: t.on(TasksScreen) and not t.called("kill")


@case("help.leave")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("question_mark")
    yield lambda: t.on(TasksScreen)


@case("result.leave")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"version", "enter")
    await t.until(lambda: t.on(ResultScreen))
    yield lambda: t.on(TasksScreen)


@case("result.copy")
async def _(t: Trial) -> AsyncIterator[Condition]:
    await t.press("colon", *"task ps web", "enter")
    await t.until(lambda: t.on(ResultScreen))
    yield lambda: "sleep 1" in t.pilot.app.clipboard


# the tests


@pytest.fixture
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundles to stand in front of."""
    place = tmp_path / "bundles"
    for name in ("first", "web"):
        (place / name / "rootfs").mkdir(parents=True)
        (place / name / "config.json").write_text(dump_spec(default_spec()))
    monkeypatch.chdir(place)
    monkeypatch.setattr("mobyshell.core.oci.load_spec", lambda path: default_spec())
    return place


@pytest.mark.parametrize(
    ("id", "key"),
    sorted((str(one.id), one.key) for _, one in BINDINGS),
)
async def test_each_key_does_what_it_is_for(
    opened: Open, tasks: FakeTasks, bundles: Path, id: str, key: str
) -> None:
    assert id in CASES, f"the binding {id} has no case here"
    start, prepare = CASES[id]
    async with opened(start) as pilot:
        trial = Trial(pilot, tasks, bundles)
        case = prepare(trial)
        condition = await anext(case)
        assert not condition(), "so it was already, before the key was pressed"
        await pilot.press(key)
        await trial.until(condition)


def test_every_binding_has_a_case_and_no_other() -> None:
    assert set(CASES) == {one.id for _, one in BINDINGS}


def test_every_binding_has_a_name_of_its_own() -> None:
    seen: dict[str, tuple[type, str]] = {}
    for kind, one in BINDINGS:
        assert one.id, f"{kind.__name__}: {one.key}"
        mine = kind, one.action  # several keys for one action are one binding
        assert seen.setdefault(one.id, mine) == mine, f"{one.id} in {kind} and {seen[one.id]}"
    assert set(seen) <= actions()


@pytest.mark.parametrize("noun", list(SCREENS))
def test_keys_are_declared_with_their_verbs(noun: str) -> None:
    ours = {one.id: one.key for one in bindings_of(SCREENS[noun])}
    keyed = [one for one in verbs_of(noun).values() if one.key]
    assert {one.key for one in verb_bindings(noun, shown=())} == {one.key for one in keyed}
    for one in verb_bindings(noun, shown=()):
        assert ours[one.id] == one.key
    others = [key for id, key in ours.items() if id and id.partition(".")[2] not in verbs_of(noun)]
    assert not set(others) & {one.key for one in keyed}


CHANGING = [
    (noun, verb) for noun in SCREENS
    for verb, one in verbs_of(noun).items() if one.key and one.effect != READ
]  # fmt: skip


@pytest.mark.parametrize(
    ("noun", "verb"), [*CHANGING, ("task", "exec-tab"), ("image", "run"), ("ns", "enter-tab")]
)
async def test_readonly_refuses_each_key_that_changes_something(
    opened: Open, tasks: FakeTasks, bundles: Path, noun: str, verb: str
) -> None:
    key = {"exec-tab": "e", "enter-tab": "e", "run": "r"}.get(verb) or find(noun, verb).key
    async with opened(SCREENS[noun].NAME, readonly=True) as pilot:
        before = pilot.app.screen
        await pilot.press(key)
        await settle(pilot)
        assert "read-only" in told(pilot)
        assert tasks.calls == []
        assert pilot.app.screen is before


async def test_readonly_can_be_turned_on_and_off(
    opened: Open, tasks: FakeTasks, bundles: Path
) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        before = (bundles / "first" / "config.json").read_text()
        await pilot.press("e", "ctrl+r", "x", "ctrl+s")
        await settle(pilot)
        assert editor.area.text == before
        await pilot.press("ctrl+r", "enter", "ctrl+s")
        await until(pilot, lambda: (bundles / "first" / "config.json").read_text() != before)


async def test_every_key_of_a_verb_is_in_the_help(
    opened: Open, tasks: FakeTasks, bundles: Path
) -> None:
    async with opened("tasks", size=(120, 120)) as pilot:
        await pilot.press("question_mark")
        await settle(pilot)
        text = screen_text(pilot)
        for one in verbs_of("task").values():
            line = next(line for line in text.splitlines() if f" {one.name} " in line)
            assert not one.key or one.key in line.split()


async def test_the_palette_is_on_ctrl_p(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))


async def test_while_a_line_is_typed_only_its_own_keys_are_named(opened: Open) -> None:
    """`/` was named as the filter's, where it is a letter."""
    async with opened("images", size=(80, 24)) as pilot:
        for sign, named in (
            ("colon", "⏎ Go  esc Leave  tab Complete"),
            ("slash", "⏎ Go  esc Leave"),
        ):
            await pilot.press(sign)
            await until(pilot, lambda: screen_text(pilot).splitlines()[-1].strip() == named)  # noqa: B023
            await pilot.press("escape")
            await until(pilot, lambda: "? Help" in screen_text(pilot).splitlines()[-1])


async def test_where_we_are_is_whole_also_where_the_line_is_short(opened: Open) -> None:
    async with opened("images", size=(60, 24)) as pilot:
        await pilot.press("slash", *"box !thing-that-is-not-there", "enter", "enter", "enter")
        await settle(pilot)
        line = screen_text(pilot).splitlines()[0].strip()
        assert "images › 2 images › /box !thing-that-is-not-there: 1 › box › layer 0".endswith(line)
        assert line.endswith("› box › layer 0")

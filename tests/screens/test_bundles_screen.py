"""The Bundles screen: every key, over real directories and tasks in memory."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from textual.widgets import Input, OptionList

from mobyshell.core.oci import default_spec, dump_spec
from mobyshell.screens.bundles import BundlesScreen
from mobyshell.screens.dialogs import NewBundleDialog, RunDialog
from mobyshell.screens.result import ResultScreen
from mobyshell.screens.tasks import TasksScreen
from mobyshell.widgets.confirm import Confirm
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.spec_editor import SpecEditor
from mobyshell.widgets.text_file import save
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, told, until


@pytest.fixture(autouse=True)
def bundles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundles to stand in front of."""
    place = tmp_path / "bundles"
    for name in ("first", "web"):
        (place / name / "rootfs").mkdir(parents=True)
        (place / name / "config.json").write_text(dump_spec(default_spec()))
    monkeypatch.chdir(place)
    return place


async def test_the_first_is_open_and_planned(opened: Open) -> None:
    async with opened("bundles") as pilot:
        text = screen_text(pilot)
        assert "✓ first" in text
        assert "first/config.json · valid" in text
        plan = pilot.app.screen.query_one(PlanView).plan
        assert plan is not None
        assert any(one.man == "pivot_root(2)" for one in plan.operations)


async def test_moving_opens_another(opened: Open) -> None:
    async with opened("bundles") as pilot:
        await pilot.press("j")
        await settle(pilot)
        assert "web/config.json · valid" in screen_text(pilot)
        await pilot.press("k")
        await settle(pilot)
        assert "first/config.json" in screen_text(pilot)
        await pilot.press("slash", *"we", "enter")
        await settle(pilot)
        assert "✓ first" not in screen_text(pilot)


async def test_the_plan_follows_the_text(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        await pilot.press("e")
        assert editor.area.has_focus
        editor.area.load_text(
            dump_spec(default_spec()).replace('"hostname": "runc"', '"hostname": "moby"')
        )
        await pilot.pause(0.3)
        await settle(pilot)
        plan = pilot.app.screen.query_one(PlanView).plan
        assert plan is not None
        assert any(one.title == "set the host name to moby" for one in plan.operations)
        assert "not saved" in screen_text(pilot)
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert json.loads((bundles / "first" / "config.json").read_text())["hostname"] == "moby"
        assert not editor.dirty


async def test_problems_are_listed_and_gone_to(opened: Open) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        await pilot.press("e")
        editor.area.load_text(dump_spec(default_spec()).replace('"cwd": "/"', '"cwd": "x"'))
        await pilot.pause(0.3)
        await settle(pilot)
        problems = pilot.app.screen.query_one("#problems", OptionList)
        assert problems.option_count == 1
        assert "1 problem" in screen_text(pilot)
        await pilot.press("f8")
        await settle(pilot)
        line, _ = editor.area.cursor_location
        assert '"cwd": "x"' in editor.area.document.get_line(line)


async def test_plan_and_text_know_each_other(opened: Open) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        view = pilot.app.screen.query_one(PlanView)
        await pilot.press("e")
        editor.go_to("hostname")
        await settle(pilot)
        tree = view.query_one("#operations")
        node = tree.cursor_node  # type: ignore[attr-defined]
        assert view.plan is not None
        assert view.plan.operations[node.data].source == "hostname"
        await pilot.press("escape", "p", "enter")
        await settle(pilot)
        line, _ = editor.area.cursor_location
        assert '"hostname"' in editor.area.document.get_line(line)


async def test_what_is_saved_is_looked_at_again(opened: Open, bundles: Path) -> None:
    async with opened("bundles", size=(80, 24)) as pilot:
        assert "✓ first" in screen_text(pilot)
        await pilot.press("e", "x", "ctrl+s")
        await settle(pilot)
        assert (bundles / "first" / "config.json").read_text().startswith("x")
        await pilot.press("escape")
        await until(pilot, lambda: "✗ first" in screen_text(pilot))


async def test_readonly_does_not_save(opened: Open, bundles: Path) -> None:
    before = (bundles / "first" / "config.json").read_text()
    async with opened("bundles", readonly=True) as pilot:
        await pilot.press("e", "x", "ctrl+s")
        await settle(pilot)
    assert (bundles / "first" / "config.json").read_text() == before


async def test_run_makes_a_task_and_goes_to_it(
    opened: Open, tasks: FakeTasks, bundles: Path
) -> None:
    async with opened("bundles") as pilot:
        await pilot.press("r")
        await settle(pilot)
        assert isinstance(pilot.app.screen, RunDialog)
        await pilot.press(*"one", "tab", *"echo hi", "enter")
        await settle(pilot)
        path = str(bundles / "first")
        assert ("create", "one", path, ("echo", "hi"), True) in tasks.calls
        assert ("start", "one") in tasks.calls
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)


async def test_new(opened: Open, bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str]] = []

    def new_bundle(name: str, source: str, **more: object) -> str:
        made.append((name, source))
        return name

    monkeypatch.setattr("mobyshell.core.runtime.bundle.new_bundle", new_bundle)
    async with opened("bundles") as pilot:
        await pilot.press("n")
        await settle(pilot)
        assert isinstance(pilot.app.screen, NewBundleDialog)
        pilot.app.screen.query_one("#name", Input).value = "third"
        await pilot.press("enter")
        await settle(pilot)
    assert made == [(str(bundles / "third"), "busybox")]


async def test_delete_wants_the_name(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        await pilot.press("D")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Confirm)
        await pilot.press(*"first", "enter")
        await settle(pilot)
        assert not (bundles / "first").exists()
        assert "✓ first" not in screen_text(pilot)


async def test_validate_and_script(opened: Open) -> None:
    async with opened("bundles") as pilot:
        await pilot.press("v")
        await settle(pilot)
        assert "warnings" in screen_text(pilot)
        assert "process.capabilities.ambient[0]" in screen_text(pilot)
        await pilot.press("escape")
        await settle(pilot)
        await pilot.press("t")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ResultScreen)
        assert "#!/bin/sh" in screen_text(pilot)


async def test_copy_and_back(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        await pilot.press("c")
        assert pilot.app.clipboard == str(bundles / "first")
        await pilot.press("e", "escape")
        await settle(pilot)
        assert isinstance(pilot.app.screen, BundlesScreen)


async def test_narrow_screens_show_one_pane(opened: Open) -> None:
    async with opened("bundles", size=(80, 24)) as pilot:
        editor, plan = pilot.app.screen.query_one("#editor"), pilot.app.screen.query_one("#plan")
        assert not editor.display
        await pilot.press("e")
        await settle(pilot)
        assert editor.display
        assert not plan.display
        await pilot.press("escape")
        await settle(pilot)
        await pilot.press("p")
        await settle(pilot)
        assert plan.display


async def test_an_empty_place_says_what_to_do(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path / "nothing")
    async with opened("bundles") as pilot:
        assert "No bundles here yet" in screen_text(pilot)


async def test_a_change_by_another_is_read_and_can_be_undone(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        before = editor.area.text
        await pilot.press("e")
        other = before.replace('"hostname": "runc"', '"hostname": "other"')
        save(str(bundles / "first" / "config.json"), other)
        editor.look_at_file()
        await settle(pilot)
        assert editor.area.text == other
        assert not editor.dirty
        await pilot.press("ctrl+z")
        await settle(pilot)
        assert editor.area.text == before
        assert editor.dirty


async def test_a_change_by_another_is_not_overwritten_unasked(opened: Open, bundles: Path) -> None:
    path = bundles / "first" / "config.json"
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        await pilot.press("e", "enter")
        mine = editor.area.text
        save(str(path), "{}")
        await pilot.press("ctrl+s")
        await settle(pilot)
        assert path.read_text() == "{}"
        assert "changed by another" in told(pilot)
        await until(pilot, lambda: "changed by another" in screen_text(pilot))
        await pilot.press("ctrl+s")
        await until(pilot, lambda: path.read_text() == mine)
        await settle(pilot)
        assert not editor.dirty
        assert "changed by another" not in screen_text(pilot).splitlines()[1]


async def test_saving_does_not_forget_what_can_be_undone(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        before = editor.area.text
        await pilot.press("e", "enter", "ctrl+s")
        await until(pilot, lambda: not editor.dirty)
        await pilot.press("ctrl+z")
        await settle(pilot)
        assert editor.area.text == before
        assert editor.dirty


async def test_warnings_stand_beside_problems(opened: Open) -> None:
    async with opened("bundles") as pilot:
        editor = pilot.app.screen.query_one(SpecEditor)
        await pilot.press("e")
        text = editor.area.text.replace('"destination": "/proc"', '"destination": "proc"')
        editor.area.load_text(text)
        found = pilot.app.screen.query_one("#problems", OptionList)
        await until(pilot, lambda: any(
            "! mounts[0].destination" in str(found.get_option_at_index(index).prompt)
            for index in range(found.option_count)
        ))  # fmt: skip
        assert "warning" in screen_text(pilot).splitlines()[1]


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"\xff\xfe", "not UTF-8"), (b" " * (4 * 1024 * 1024 + 1), "larger than")],
)  # fmt: skip
async def test_what_an_editor_would_spoil_is_not_edited(
    opened: Open, bundles: Path, content: bytes, words: str
) -> None:
    path = bundles / "first" / "config.json"
    path.write_bytes(content)
    async with opened("bundles") as pilot:
        assert words in screen_text(pilot)
        await pilot.press("e", "x", "ctrl+s")
        await settle(pilot)
    assert path.read_bytes() == content


async def test_a_bundle_that_goes_away_is_closed(opened: Open, bundles: Path) -> None:
    async with opened("bundles") as pilot:
        shutil.rmtree(bundles / "first")
        shutil.rmtree(bundles / "web")
        await pilot.press("f2", "f1")
        await settle(pilot)
        assert "No bundles here yet" in screen_text(pilot)
        assert pilot.app.screen.query_one(SpecEditor).area.text == ""


async def test_an_endless_line_is_left_to_another_editor(opened: Open, bundles: Path) -> None:
    path = bundles / "first" / "config.json"
    path.write_text(f'{{"ociVersion": "1.2.0", "annotations": {{"x": "{"y" * 200_000}"}}}}')
    async with opened("bundles") as pilot:
        assert "an endless line" in screen_text(pilot)
        assert pilot.app.screen.query_one(SpecEditor).area.read_only

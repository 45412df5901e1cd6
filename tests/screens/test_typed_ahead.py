"""Keys that come faster than screens do: pasted, from a slow line, or of a quick person."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from mobyshell.screens.networks import NetworksScreen
from mobyshell.widgets.resource_table import ResourceTable
from tests.fakes import FakeTasks
from tests.screens.conftest import PATIENCE, Open, screen_text, settle, told, until


def typed(pilot: Pilot[Any], *keys: str) -> None:
    for key in keys:
        pilot.app.post_message(events.Key(key, key if len(key) == 1 else None))


async def test_the_key_after_g_need_not_wait_for_the_line_of_places(opened: Open) -> None:
    async with opened("tasks") as pilot:
        typed(pilot, "g", "w", "j", "j")
        await settle(pilot)
        assert isinstance(pilot.app.screen, NetworksScreen)
        assert len(pilot.app.screen_stack) == 1


@pytest.mark.parametrize(
    ("keys", "place"), [(("j",), 1), (("down", "down"), 2), (("j", "G", "k"), 1), (("end",), 2)]
)
async def test_keys_wait_for_the_list_that_they_move_in(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch,
    keys: tuple[str, ...], place: int,
) -> None:  # fmt: skip
    there, read = threading.Event(), tasks.ls
    async with opened("images") as pilot:
        monkeypatch.setattr(tasks, "ls", lambda: there.wait(PATIENCE) and read())
        pilot.app.action_go("tasks")  # type: ignore[attr-defined]
        typed(pilot, *keys)  # before there even is a table
        await pilot.pause()
        there.set()
        await settle(pilot)
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        assert table.cursor_row == place
        await pilot.press("home")
        assert table.cursor_row == 0


async def test_a_mark_and_a_row_to_look_at_wait_for_the_list(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, read = threading.Event(), tasks.ls
    async with opened("images") as pilot:
        monkeypatch.setattr(tasks, "ls", lambda: there.wait(PATIENCE) and read())
        await pilot.press("f2")
        await pilot.pause()
        await pilot.press("j", "space", "enter")
        there.set()
        await settle(pilot)
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        assert table.marked == {table.shown[1]}
        assert pilot.app.screen.has_class("detailed")


async def test_the_stream_begins_at_its_end_and_keys_go_on_from_there(opened: Open) -> None:
    async with opened("images") as pilot:
        pilot.app.action_go("events")  # type: ignore[attr-defined]
        typed(pilot, "k")
        await settle(pilot)
        table = pilot.app.screen.query_one("#events", ResourceTable)
        await until(pilot, lambda: table.row_count > 2)
        await settle(pilot)
        assert table.cursor_row == table.row_count - 2


async def test_bundles_have_keys_that_wait_too(
    opened: Open, tasks: FakeTasks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    there, read = threading.Event(), tasks.ls
    async with opened("images") as pilot:
        monkeypatch.setattr(tasks, "ls", lambda: there.wait(PATIENCE) and read())
        await pilot.press("f1", "j", "down")
        there.set()
        await settle(pilot)
        assert pilot.app.screen.subject == ("bundle", str(tmp_path / "c"))  # type: ignore[attr-defined]


async def test_what_is_typed_after_the_colon_is_no_command_to_the_list(
    opened: Open, tasks: FakeTasks
) -> None:
    """With keys that come at once: `s` is a shell, `K` kills, `D` deletes."""
    async with opened("tasks") as pilot:
        typed(pilot, "colon", *"skdDKp")
        line = pilot.app.screen.query_one("#line", Input)
        await until(pilot, lambda: line.value == "skdDKp")
        typed(pilot, "enter")
        await until(pilot, lambda: "unknown command 'skdDKp'" in told(pilot))
        assert tasks.calls == []
        assert len(pilot.app.screen_stack) == 1


async def test_what_is_typed_before_a_dialog_is_there_is_for_it(opened: Open) -> None:
    async with opened("images") as pilot:
        typed(pilot, "p", *"box:1")
        await until(
            pilot, lambda: [one.value for one in pilot.app.screen.query(Input)] == ["box:1"]
        )


async def test_a_screen_and_what_is_typed_on_it_may_come_at_once(opened: Open) -> None:
    async with opened("images") as pilot:
        typed(pilot, "f2", "j", "j")
        await until(pilot, lambda: pilot.app.screen.query("#tasks"))
        await settle(pilot)
        assert pilot.app.screen.query_one("#tasks", ResourceTable).cursor_row == 2


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_done_to_a_row_waits_for_it_too(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch, at_once: bool
) -> None:
    there, read = threading.Event(), tasks.ls
    async with opened("images") as pilot:
        monkeypatch.setattr(tasks, "ls", lambda: there.wait(PATIENCE) and read())
        if at_once:
            typed(pilot, "f2", "j", "K")
        else:
            await pilot.press("f2", "j", "K")
        await pilot.pause()
        there.set()
        await until(pilot, lambda: "Send web which signal?" in screen_text(pilot))


async def nothing_is_done_to(late: dict[str, Any], pilot: Pilot[Any], tasks: FakeTasks) -> None:
    """Now there are these tasks: nobody is asked about them, and nothing happens to them."""
    tasks.tasks = late
    pilot.app.screen.reread()  # type: ignore[attr-defined]
    await until(pilot, lambda: "web" in screen_text(pilot))
    await settle(pilot)
    assert not tasks.calls
    assert len(pilot.app.screen_stack) == 1


async def test_what_was_typed_for_nothing_is_not_for_what_comes_later(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, read = threading.Event(), tasks.ls
    kept, tasks.tasks = tasks.tasks, {}
    async with opened("images") as pilot:
        monkeypatch.setattr(tasks, "ls", lambda: there.wait(PATIENCE) and read())
        await pilot.press("f2", "p", "K")
        there.set()
        await settle(pilot)
        await nothing_is_done_to(kept, pilot, tasks)


async def test_what_is_pressed_on_an_empty_list_is_not_for_what_comes_later(
    opened: Open, tasks: FakeTasks
) -> None:
    kept, tasks.tasks = tasks.tasks, {}
    async with opened("tasks") as pilot:
        await until(pilot, lambda: "No tasks" in screen_text(pilot))
        await pilot.press("K", "p", "j")
        await settle(pilot)
        await nothing_is_done_to(kept, pilot, tasks)

"""What stays the same is not drawn again: an idle workbench costs next to nothing."""

from __future__ import annotations

from typing import Any

import pytest
from textual.screen import Screen

from mobyshell.widgets.painted_once import PaintedOnce
from mobyshell.widgets.resource_table import ResourceTable
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, until


def noted(patch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """The arguments of each call of a function from now on, which does what it did."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(owner, name)

    def note(*args: Any, **more: Any) -> Any:
        calls.append(args)
        return original(*args, **more)

    patch.setattr(owner, name, note)
    return calls


@pytest.mark.parametrize("keys", [[], ["j"], ["j", "l"], ["j", "P"]])
async def test_a_second_in_which_nothing_changes_lays_nothing_out(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press(*keys)
        await settle(pilot)
        looks = noted(monkeypatch, tasks, "stats")
        await until(pilot, lambda: len(looks) >= 2)  # whatever the first look changes has changed
        await settle(pilot)
        layouts = noted(monkeypatch, Screen, "_refresh_layout")
        before = len(looks)
        await until(pilot, lambda: len(looks) >= before + 2)
        assert layouts == []


@pytest.mark.parametrize("keys", [[], ["m"]])
async def test_what_is_measured_each_second_lays_nothing_out(
    opened: Open, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    async with opened("events") as pilot:
        await pilot.press(*keys)
        meter = pilot.app.session.meter  # type: ignore[attr-defined]
        await until(pilot, lambda: meter.looks >= 3)  # by then every graph has its place
        await settle(pilot)
        layouts = noted(monkeypatch, Screen, "_refresh_layout")
        before = meter.looks
        await until(pilot, lambda: meter.looks >= before + 3)
        assert layouts == []


async def test_of_a_table_only_cells_that_changed_are_painted(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("tasks") as pilot:
        await settle(pilot)
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        calls = noted(monkeypatch, PaintedOnce, "_pieces")
        table.update_row(table.shown[1], pids=77, memory=123 << 20)
        await until(pilot, lambda: "123.0M" in screen_text(pilot))
        painted = [style.meta["row"] for _, _, style, *_ in calls]
        assert painted.count(1) >= 2
        assert set(painted) == {1}
        await pilot.press("j")
        pilot.app.theme = "textual-light"
        await settle(pilot)
        painted = [style.meta["row"] for _, _, style, *_ in calls]
        assert set(painted) == set(range(len(table.shown)))

"""What stays the same is not drawn again: an idle workbench costs next to nothing."""

from __future__ import annotations

import pytest
from textual.screen import Screen
from textual.widgets import DataTable

from mobyshell.widgets.resource_table import ResourceTable
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, until


@pytest.mark.parametrize("keys", [[], ["j"], ["j", "l"], ["j", "P"]])
async def test_a_second_in_which_nothing_changes_lays_nothing_out(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch, keys: list[str]
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press(*keys)
        await settle(pilot)
        looks: list[str] = []
        stats = tasks.stats
        monkeypatch.setattr(tasks, "stats", lambda one: looks.append(one) or stats(one))
        await until(pilot, lambda: len(looks) >= 2)  # whatever the first look changes has changed
        await settle(pilot)
        layouts: list[object] = []
        layout = Screen._refresh_layout
        monkeypatch.setattr(
            Screen, "_refresh_layout",
            lambda self, *rest, **more: layouts.append(rest) or layout(self, *rest, **more),
        )  # fmt: skip
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
        layouts: list[object] = []
        layout = Screen._refresh_layout
        monkeypatch.setattr(
            Screen, "_refresh_layout",
            lambda self, *rest, **more: layouts.append(rest) or layout(self, *rest, **more),
        )  # fmt: skip
        before = meter.looks
        await until(pilot, lambda: meter.looks >= before + 3)
        assert layouts == []


async def test_of_a_table_only_cells_that_changed_are_painted(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("tasks") as pilot:
        await settle(pilot)
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        painted: list[int] = []
        paint = DataTable._render_cell
        monkeypatch.setattr(
            DataTable, "_render_cell",
            lambda self, row, *rest, **more: painted.append(row) or paint(self, row, *rest, **more),
        )  # fmt: skip
        table.update_row(table.shown[1], pids=77, memory=123 << 20)
        await until(pilot, lambda: "123.0M" in screen_text(pilot))
        assert len([row for row in painted if row == 1]) >= 2
        assert not [row for row in painted if row not in (1, -1)]
        await pilot.press("j")
        pilot.app.theme = "textual-light"
        await settle(pilot)
        assert {row for row in painted if row >= 0} == set(range(len(table.shown)))

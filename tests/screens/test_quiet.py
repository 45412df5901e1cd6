"""What stays the same is not drawn again: an idle workbench costs next to nothing."""

from __future__ import annotations

import pytest
from textual.screen import Screen

from tests.fakes import FakeTasks
from tests.screens.conftest import Open, settle, until


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

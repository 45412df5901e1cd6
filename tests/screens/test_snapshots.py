"""How the screens look: three sizes, and without colour. `pytest --snapshot-update` after a look."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from mobyshell.core.oci import default_spec, dump_spec
from tests.fakes import FakeTasks
from tests.screens.conftest import make_app, settle

SIZES = [(80, 24), (120, 40), (200, 60)]

Compare = Callable[..., bool]


@pytest.fixture
def bundles(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two bundles, one of them broken; always at the same place, because plans name it."""
    place = Path("/tmp/mobyshell-snapshots")
    shutil.rmtree(place, ignore_errors=True)
    for name in ("first", "web"):
        (place / name).mkdir(parents=True)
        (place / name / "config.json").write_text(dump_spec(default_spec()))
    (place / "web" / "config.json").write_text('{"ociVersion": "1.2.0"}')
    monkeypatch.chdir(place)
    yield place
    shutil.rmtree(place)


async def wait(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await settle(pilot)


async def explain(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    await pilot.press("j", "l")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_tasks(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "tasks"), terminal_size=size, run_before=explain)


def test_tasks_without_colour(
    snap_compare: Compare, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app(tasks, "tasks"), terminal_size=(120, 40), run_before=explain)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_bundles(
    snap_compare: Compare, tasks: FakeTasks, bundles: Path, size: tuple[int, int]
) -> None:
    assert snap_compare(make_app(tasks, "bundles"), terminal_size=size, run_before=wait)


def test_bundles_without_colour(
    snap_compare: Compare, tasks: FakeTasks, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app(tasks, "bundles"), terminal_size=(120, 40), run_before=wait)

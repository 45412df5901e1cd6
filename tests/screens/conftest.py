"""Screens that look the same at every run: no cursor that blinks, no clock that moves."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from mobyshell.commands.context import Context
from mobyshell.core.runtime import Host
from mobyshell.screens.app import MobyshellApp
from tests.fakes import FakeTasks, three_tasks

HOST = Host(
    cgroup_mode="v2", cgroup_own={"": "/sys/fs/cgroup"}, cgroup_v2_controllers=("cpu", "memory"),
)  # fmt: skip

Open = Callable[..., AbstractAsyncContextManager[Pilot[int]]]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing moves on its own, and the user's own settings are out of the way."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(TextArea, "cursor_blink", False)


@pytest.fixture
def tasks() -> Iterator[FakeTasks]:
    fake = three_tasks()
    yield fake
    fake.close()


def make_app(tasks: FakeTasks, start: str, *, readonly: bool = False) -> MobyshellApp:
    """The app over fake tasks, for a machine that is always the same."""
    context = Context(state="/run/test", tasks=tasks, clock=tasks.clock, readonly=readonly)
    context._host = HOST
    return MobyshellApp(context, start=start)


async def settle(pilot: Pilot[int]) -> None:
    """Until everything that was begun is on the screen."""
    for _ in range(3):
        await pilot.pause(0.15)
        await pilot.app.workers.wait_for_complete()
        await pilot.pause()


@pytest.fixture
def opened(tasks: FakeTasks) -> Open:
    """Open the workbench on a screen."""

    @asynccontextmanager
    async def open(
        start: str, size: tuple[int, int] = (120, 40), **more: bool
    ) -> AsyncIterator[Pilot[int]]:
        app = make_app(tasks, start, **more)
        async with app.run_test(size=size, notifications=True) as pilot:
            await settle(pilot)
            yield pilot

    return open


def screen_text(pilot: Pilot[int]) -> str:
    """What a person reads."""
    height = pilot.app.size.height
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines[:height])

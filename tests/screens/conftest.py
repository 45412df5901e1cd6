"""Screens that look the same at every run: no cursor that blinks, no clock that moves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, TextArea, Tooltip
from textual.widgets._toast import Toast, ToastRack

from mobyshell.commands.context import Context
from mobyshell.core.runtime import Host
from mobyshell.screens.app import MobyshellApp
from tests.fake_images import FakeImages
from tests.fake_meter import FakeMeter
from tests.fake_namespaces import FakeKernel, FakeTenants
from tests.fake_networks import FakeNetworks
from tests.fake_snapshots import FakeSnapshots
from tests.fakes import FakeStoreEvents, FakeTasks, three_tasks

HOST = Host(
    cgroup_mode="v2", cgroup_own={"": "/sys/fs/cgroup"}, cgroup_v2_controllers=("cpu", "memory"),
)  # fmt: skip

PATIENCE = 60.0
"""Seconds that a loaded machine may take for anything."""

Open = Callable[..., AbstractAsyncContextManager[Pilot[int]]]


@pytest.fixture(autouse=True)
def still(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing moves on its own, and the user's own settings are out of the way."""
    monkeypatch.setenv("TEXTUAL_ANIMATIONS", "none")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("MOBYSHELL_ROOT", str(tmp_path / "root"))
    monkeypatch.setattr(Input, "cursor_blink", False)
    monkeypatch.setattr(TextArea, "cursor_blink", False)


@pytest.fixture
def tasks() -> Iterator[FakeTasks]:
    fake = three_tasks()
    yield fake
    fake.close()


def make_app(tasks: FakeTasks, start: str, *, readonly: bool = False) -> MobyshellApp:
    """The app over fake tasks and images, for a machine that is always the same."""
    context = Context(state="/run/test", tasks=tasks, clock=tasks.clock, readonly=readonly)
    context._host = HOST
    app = MobyshellApp(context, start=start)
    app.session.images = FakeImages(tasks.clock.now_ns())
    app.session.networks = FakeNetworks()
    app.session.snapshots = FakeSnapshots(tasks.clock.now_ns())
    app.session.kernel = FakeKernel(tasks)
    app.session.tenants = FakeTenants(tasks.clock.now_ns())
    app.session.meter = FakeMeter()
    app.session.store_events = FakeStoreEvents()
    return app


async def until(pilot: Pilot[int], condition: Callable[[], object], what: str = "") -> None:
    """Wait until `condition` holds; a machine may be slow."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what or condition}:\n{screen_text(pilot)}"
        await asyncio.sleep(0.01)
        await pilot.pause()


async def settle(pilot: Pilot[int]) -> None:
    """Until everything that was begun is on the screen: no thread works, no timer is about to fire.

    What another thread of a test's own does (an event, an attachment) is waited for by `until`.
    """
    deadline, quiet = time.monotonic() + PATIENCE, 0
    while quiet < 2:
        await pilot.pause()
        quiet = 0 if unfinished(pilot.app) else quiet + 1
        assert time.monotonic() < deadline, f"never at rest: {unfinished(pilot.app)}"


def unfinished(app: App[Any]) -> list[object]:
    """Work under way, and timers that fire once (but for those that try what failed again)."""
    busy: list[object] = [one for one in app.workers if not one.is_finished]
    for screen in app._registry:
        if isinstance(screen, Toast | ToastRack | Tooltip):
            continue
        for timer in screen._timers:
            once = timer._repeat is not None and timer.name != "again"
            if once and timer._task is not None and not timer._task.done():
                busy.append(timer)
    return busy


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
        app.session.context.close()  # as `run` does

    return open


def screen_text(pilot: Pilot[int]) -> str:
    """What a person reads."""
    height = pilot.app.size.height
    lines = pilot.app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in lines[:height])


def told(pilot: Pilot[int]) -> str:
    """What the notifications say."""
    return "\n".join(f"{one.title}: {one.message}" for one in pilot.app._notifications)

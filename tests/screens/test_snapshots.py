"""How the screens look: three sizes, and without colour. `pytest --snapshot-update` after a look.

The bundles and the plan are made here, so that a picture changes when the look does, and not with
each rule of the planner.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from mobyshell.commands.results import Rows
from mobyshell.core.clock import ManualClock
from mobyshell.core.runtime.plan import Actor, Call, Operation, Phase, Plan
from mobyshell.core.tasks.sampler import Sampler
from mobyshell.screens.event_stream import EventStream
from mobyshell.screens.metrics_pane import MetricsPane
from mobyshell.screens.task_list import TaskList
from mobyshell.widgets.plan_view import PlanView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.spec_editor import SpecEditor
from tests.fake_meter import FakeMeter
from tests.fake_namespaces import WEB
from tests.fake_networks import STEPS
from tests.fakes import FakeTasks
from tests.screens.conftest import make_app, settle, until

SIZES = [(80, 24), (120, 40), (200, 60)]

Compare = Callable[..., bool]

CONFIG = {
    "ociVersion": "1.2.0",
    "process": {
        "terminal": True, "user": {"uid": 0, "gid": 0}, "args": ["sh"], "cwd": "/",
        "env": ["PATH=/bin", "TERM=xterm"], "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "first",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
    ],
    "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "uts"}]},
}  # fmt: skip


def operation(actor: Actor, phase: Phase, title: str, source: str, call: str) -> Operation:
    return Operation(
        actor=actor, phase=phase, title=title, source=source, man=f"{call}(2)", calls=(Call(call),),
        why=f"The reason for it stands here, in a sentence that says why to {title}.",
        spec="config.md#mounts", shell=(f"{call} …",),
    )  # fmt: skip


PLAN = Plan(
    id="first", bundle="/srv/first", rootfs="/srv/first/rootfs",
    operations=(
        operation(Actor.PARENT, Phase.PREPARE, "make the state directory", "", "mkdir"),
        operation(Actor.PARENT, Phase.CLONE, "make the child in new namespaces: pid, mount, uts",
                  "linux.namespaces", "clone3"),
        operation(Actor.CHILD, Phase.SETUP, "mount proc at /proc", "mounts[0]", "fsmount"),
        operation(Actor.CHILD, Phase.SETUP, "mount tmpfs at /dev", "mounts[1]", "fsmount"),
        operation(Actor.CHILD, Phase.SETUP, "set the host name to first", "hostname", "sethostname"),
        operation(Actor.CHILD, Phase.SETUP, "make the root filesystem the root", "root.path",
                  "pivot_root"),
    ),
    notices=("apparmorProfile is left out: this kernel has no AppArmor",),
)  # fmt: skip


@pytest.fixture(autouse=True)
def bundles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Two bundles, one of them broken, and the plan of both."""
    place = tmp_path / "bundles"
    for name in ("first", "web"):
        (place / name).mkdir(parents=True)
        (place / name / "config.json").write_text(json.dumps(CONFIG, indent=4))
    (place / "web" / "config.json").write_text('{"ociVersion": "1.2.0", "root": 3}')
    monkeypatch.chdir(place)
    monkeypatch.setattr("mobyshell.screens.bundle_plan.make_plan", lambda *_, **__: PLAN)
    monkeypatch.setattr("mobyshell.screens.task_reading.make_plan", lambda *_, **__: PLAN)
    return place


async def the_log(pilot: Pilot[Any]) -> None:
    """The task that runs, its log, and figures that do not change any more."""
    await settle(pilot)
    await pilot.press("j")
    tasks = pilot.app.screen.query_one(TaskList)
    await until(pilot, lambda: "3.0M" in str(tasks.table.get_cell("web", "memory")))
    tasks.ticker.pause()
    await pilot.press("l")
    await settle(pilot)


async def the_plan(pilot: Pilot[Any]) -> None:
    """The first bundle and its plan, with the cursor on its first operation."""
    await settle(pilot)
    view = pilot.app.screen.query_one(PlanView)
    await until(pilot, lambda: view.plan is not None)
    await settle(pilot)


async def the_problems(pilot: Pilot[Any]) -> None:
    """A text that is not valid any more, beside the plan of what it was."""
    await the_plan(pilot)
    area = pilot.app.screen.query_one(SpecEditor).area
    await pilot.press("e")
    area.load_text(area.text.replace('"cwd": "/"', '"cwd": 7'))
    view = pilot.app.screen.query_one(PlanView)
    await until(pilot, lambda: view.has_class("stale"))
    await settle(pilot)


async def the_layer(pilot: Pilot[Any]) -> None:
    """The second layer of the first image, and what it did."""
    await settle(pilot)
    await pilot.press("enter", "j", "enter")
    await settle(pilot)


async def the_tenant(pilot: Pilot[Any]) -> None:
    """What the first tenant holds, at 80 columns in the place of the list."""
    await settle(pilot)
    await pilot.press("enter")
    await settle(pilot)


async def the_net(pilot: Pilot[Any]) -> None:
    """The tree, with the cursor on the network namespace of a task, and what is inside."""
    await settle(pilot)
    table = pilot.app.screen.query_one("#namespaces", ResourceTable)
    table.choose(str(WEB["net"]))
    await settle(pilot)


async def the_net_explained(pilot: Pilot[Any]) -> None:
    """What it is for."""
    await the_net(pilot)
    await pilot.press("y")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_tenants(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "namespaces"), terminal_size=size, run_before=the_tenant)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_kernel(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "kernel"), terminal_size=size, run_before=the_net)


def test_kernel_explained(snap_compare: Compare, tasks: FakeTasks) -> None:
    app = make_app(tasks, "kernel")
    assert snap_compare(app, terminal_size=(80, 24), run_before=the_net_explained)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_images(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "images"), terminal_size=size, run_before=the_layer)


async def the_topology(pilot: Pilot[Any]) -> None:
    """The first network as a drawing."""
    await settle(pilot)
    await pilot.press("enter", "tab")
    await settle(pilot)


async def the_mounts(pilot: Pilot[Any]) -> None:
    """How a snapshot is mounted, or on 80 columns the list."""
    await settle(pilot)
    await pilot.press("j", "j", *(["m"] if pilot.app.size.width > 80 else []))
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_networks(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "networks"), terminal_size=size, run_before=the_topology)


async def the_new_network(pilot: Pilot[Any]) -> None:
    """What making a network would do."""
    await settle(pilot)
    words = pilot.app.session  # type: ignore[attr-defined]
    words.plan = lambda line: Rows((), [
        {"n": number, "where": one.where, "verb": one.verb, "why": one.why, "shell": one.shell}
        for number, one in enumerate(STEPS, 1)
    ])  # fmt: skip
    await pilot.press("n", "l", "a", "n")
    await settle(pilot)


def test_a_new_network(snap_compare: Compare, tasks: FakeTasks) -> None:
    assert snap_compare(
        make_app(tasks, "networks"), terminal_size=(80, 24), run_before=the_new_network
    )


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_snapshots(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "snapshots"), terminal_size=size, run_before=the_mounts)


async def the_event(pilot: Pilot[Any]) -> None:
    """What happened, and what tasks have used in forty seconds."""
    await settle(pilot)
    screen = pilot.app.screen
    pane, stream = screen.query_one(MetricsPane), screen.query_one(EventStream)
    pane.ticker.pause()
    await settle(pilot)
    meter, pane.sampler = FakeMeter(), Sampler()
    for _ in range(40):
        pane.sampler.take(meter.measure())
    pane.show()
    clock = stream.session.context.clock
    assert isinstance(clock, ManualClock)
    clock.advance(75)
    stream.show()
    await pilot.press("k")
    await settle(pilot)


async def the_graphs(pilot: Pilot[Any]) -> None:
    """The graphs of a task."""
    await the_event(pilot)
    await pilot.press("m", "j")
    await settle(pilot)


@pytest.mark.parametrize("size", SIZES[:2], ids=lambda size: f"{size[0]}x{size[1]}")
def test_events(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "events"), terminal_size=size, run_before=the_event)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_metrics(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "events"), terminal_size=size, run_before=the_graphs)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_tasks(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "tasks"), terminal_size=size, run_before=the_log)


def test_tasks_without_colour(
    snap_compare: Compare, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app(tasks, "tasks"), terminal_size=(120, 40), run_before=the_log)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
def test_bundles(snap_compare: Compare, tasks: FakeTasks, size: tuple[int, int]) -> None:
    assert snap_compare(make_app(tasks, "bundles"), terminal_size=size, run_before=the_plan)


def test_bundles_without_colour(
    snap_compare: Compare, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app(tasks, "bundles"), terminal_size=(120, 40), run_before=the_plan)


def test_problems(snap_compare: Compare, tasks: FakeTasks) -> None:
    assert snap_compare(
        make_app(tasks, "bundles"), terminal_size=(120, 40), run_before=the_problems
    )

"""Whoever makes something sees the cursor go to it."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot

from mobyshell.commands.context import Context
from mobyshell.commands.namespace import tenants_of
from mobyshell.core.oci import default_spec, dump_spec
from mobyshell.core.tasks.service import Status
from mobyshell.screens.app import MobyshellApp
from mobyshell.screens.base import MobyScreen
from mobyshell.screens.bundle_list import BundleList, Entry
from mobyshell.screens.dialogs import free_name
from mobyshell.widgets.resource_table import ResourceTable
from tests.core.store import images as made
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, until


def subject(pilot: Pilot[int]) -> tuple[str, str] | None:
    assert isinstance(pilot.app.screen, MobyScreen)
    return pilot.app.screen.subject


def reread(pilot: Pilot[int]) -> None:
    assert isinstance(pilot.app.screen, MobyScreen)
    pilot.app.screen.reread()


def bundle(path: Path) -> Path:
    (path / "rootfs").mkdir(parents=True)
    (path / "config.json").write_text(dump_spec(default_spec()))
    return path


async def test_a_new_bundle(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "mobyshell.core.runtime.bundle.new_bundle",
        lambda name, source, **more: bundle(Path(name)),
    )
    for name in ("alpha", "first"):
        bundle(tmp_path / name)
    async with opened("bundles") as pilot:
        await pilot.press("n", "enter")  # as it is offered
        await until(pilot, lambda: subject(pilot) == ("bundle", str(tmp_path / "second")))
        await pilot.press("n", *"beta", "enter")  # typed over
        await until(pilot, lambda: subject(pilot) == ("bundle", str(tmp_path / "beta")))
        pilot.app.run_line("bundle new gamma")  # type: ignore[attr-defined]
        await until(pilot, lambda: subject(pilot) == ("bundle", str(tmp_path / "gamma")))
        pilot.app.run_line("bundle new gamma")  # type: ignore[attr-defined]
        await pilot.press("k")  # what fails moves nothing, then or later
        reread(pilot)
        await settle(pilot)
        assert subject(pilot) == ("bundle", str(tmp_path / "first"))


def test_the_name_offered_is_free(tmp_path: Path) -> None:
    assert free_name(str(tmp_path)) == "first"
    for name in ("first", "second", "bundle4"):
        (tmp_path / name).symlink_to("nowhere")
    assert free_name(str(tmp_path)) == "third"
    (tmp_path / "third").touch()
    assert free_name(str(tmp_path)) == "bundle5"


async def test_a_task_made_by_a_line(opened: Open, tasks: FakeTasks, tmp_path: Path) -> None:
    bundle(tmp_path / "b")
    async with opened("tasks") as pilot:
        tasks.add("another", Status.RUNNING)  # somebody else's, seen by the way
        reread(pilot)
        await settle(pilot)
        pilot.app.run_line(f"task create --name zz {tmp_path / 'b'}")  # type: ignore[attr-defined]
        table = pilot.app.screen.query_one(ResourceTable)
        await until(pilot, lambda: table.chosen == "zz")


async def test_tenants_and_tags_of_a_real_store(tmp_path: Path) -> None:
    fake = FakeTasks()
    context = Context(root=str(tmp_path / "store"), state=str(tmp_path / "state"), tasks=fake)
    space = context.store.namespace("default")
    space.images.create("docker.io/library/box:latest", made.image(space.content))
    app = MobyshellApp(context, start="namespaces")
    app.session.tenants = tenants_of(context)
    try:
        async with app.run_test(size=(80, 24), notifications=True) as pilot:
            tenants = pilot.app.screen.query_one("#tenants", ResourceTable)
            await until(pilot, lambda: tenants.shown == ["default"])
            await pilot.press("n", *"fresh", "enter")
            await until(pilot, lambda: tenants.chosen == "fresh")
            await pilot.press("n", *"also team=blue", "enter")
            await until(pilot, lambda: tenants.chosen == "also")
            await pilot.press("f3")
            await until(pilot, lambda: pilot.app.screen.query("#images"))
            images = pilot.app.screen.query_one("#images", ResourceTable)
            await until(pilot, lambda: len(images.shown) == 1, screen_text(pilot))
            await pilot.press("t", *"zoo:1", "enter")
            await until(pilot, lambda: images.chosen == "docker.io/library/zoo:1")
    finally:
        fake.close()
        context.close()


async def test_an_answer_from_before_is_not_taken_for_the_one_after(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    bundle(tmp_path / "first")
    async with opened("bundles") as pilot:
        await until(pilot, lambda: subject(pilot) == ("bundle", str(tmp_path / "first")))
        bundles = pilot.app.screen.query_one(BundleList)
        before = bundles.known
        bundle(tmp_path / "made")
        bundles.choose_new(before)
        bundles.post_message(BundleList.Scanned([Entry(str(tmp_path / "first"), True, 0)]))
        await until(pilot, lambda: subject(pilot) == ("bundle", str(tmp_path / "made")))

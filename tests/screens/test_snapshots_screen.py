"""The snapshots screen: over fake snapshots what it shows and asks, over a real store that it is
true."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Tree

from mobyshell.commands.context import Context
from mobyshell.commands.event_sources import of_store
from mobyshell.commands.image_transfer import tenant
from mobyshell.commands.results import Rows
from mobyshell.core.errors import WrongState
from mobyshell.core.store.differences import Way
from mobyshell.core.store.leases import Resource
from mobyshell.core.store.snapshots.choose import snapshotter
from mobyshell.moby.snapshot_survey import SnapshotSurvey
from mobyshell.screens.plan_dialog import PlanDialog
from mobyshell.screens.result import ResultScreen
from mobyshell.screens.snapshot_details import SnapshotDetails
from mobyshell.screens.snapshot_list import SnapshotList
from mobyshell.screens.snapshots import SnapshotsScreen
from mobyshell.widgets.confirm import Confirm
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from tests.fake_images import entry
from tests.fake_snapshots import BASE, TOOLS, FakeSnapshots
from tests.fakes import FakeTasks
from tests.screens.conftest import HOST, Open, make_app, screen_text, settle, told, until


def table(pilot: Pilot[Any]) -> ResourceTable:
    return pilot.app.screen.query_one("#snapshots", ResourceTable)


def details(pilot: Pilot[Any]) -> SnapshotDetails:
    return pilot.app.screen.query_one(SnapshotDetails)


async def test_the_list_is_a_tree_that_says_who_keeps_what(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        text = screen_text(pilot)
        assert "6 snapshots, 1 garbage" in text
        lines = [line.split() for line in text.splitlines()[2:8]]
        assert [line[: 2 - (n == 0) + (n in (2, 3))] for n, line in enumerate(lines)] == [
            [f"{BASE[:19]}…"], ["├─", "tools"], ["│", "├─", "box-1"], ["│", "└─", "box-2"],
            ["└─", "look"], ["left", "active"],
        ]  # fmt: skip
        assert lines[0][-3:] == ["container", "web", "+1"]
        assert lines[3][-2:] == ["lease", "pull-1"]
        assert lines[4][-2:] == ["its", "label"]
        assert lines[5][-1] == "–"


async def test_filter_sort_and_marks_keep_the_tree(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        await pilot.press("slash", *"kind=active", "enter")
        await settle(pilot)
        assert table(pilot).shown == ["box-1", "box-2", "left"]
        await pilot.press("slash", "escape")
        await settle(pilot)
        await pilot.press("O")
        await settle(pilot)
        assert table(pilot).shown == ["left", BASE, "look", TOOLS, "box-2", "box-1"]
        await pilot.press("j", "space")
        await settle(pilot)
        assert table(pilot).subjects == ["box-1"] or table(pilot).marked


async def test_into_what_it_changed_and_back(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        await pilot.press("j", "enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "~ etc/" in text
        assert "+ sh → bin/sh" in text
        await pilot.press("j", "enter")
        await until(pilot, lambda: "- unwanted" in screen_text(pilot))
        await pilot.press("j", "enter")
        view = details(pilot).query_one("#content", Lines)
        await until(pilot, lambda: list(view.kept) == ["changed"])
        assert "/etc/motd, 8B, rwxr-xr-x 0:0, as of this snapshot" in screen_text(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "- unwanted" in screen_text(pilot)
        await pilot.press("escape")
        assert table(pilot).has_focus


async def test_what_is_being_written_is_read_again_and_stays_open(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        snapshots = cast("FakeSnapshots", pilot.app.session.snapshots)  # type: ignore[attr-defined]
        table(pilot).choose("box-1")
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("j", "enter")
        await until(pilot, lambda: "- unwanted" in screen_text(pilot))
        await pilot.press("j", "j")
        snapshots.written = [entry("/zz", "file", Way.ADDED, 7)]
        await pilot.press("escape", "enter")  # nothing has told of it
        await until(pilot, lambda: "+ zz  7B" in screen_text(pilot))
        assert "- unwanted" in screen_text(pilot)
        tree = pilot.app.screen.query_one("#files", Tree)
        await until(pilot, lambda: tree.cursor_line == 3)
        # news of it, as a container's writing makes
        snapshots.written = []
        snapshots.infos = [replace(one, size=9999) if one.key == "box-1" else one
                           for one in snapshots.infos]  # fmt: skip
        pilot.app.screen.query_one(SnapshotList).refresh_list()
        await until(pilot, lambda: "+ zz" not in screen_text(pilot))
        assert "- unwanted" in screen_text(pilot)
        await until(pilot, lambda: tree.cursor_line == 3)


async def test_another_ones_mounts_are_read_from_the_top(opened: Open) -> None:
    async with opened("snapshots", size=(80, 24)) as pilot:
        await pilot.press("m")
        await settle(pilot)
        await pilot.press("G")
        record = details(pilot).query_one("#mounts").query_one(RecordView)
        await until(pilot, lambda: record.scroll_y > 0)
        await pilot.press("escape", "j", "m")
        await until(pilot, lambda: record.text.startswith(TOOLS))
        await until(pilot, lambda: record.scroll_y == 0)


async def test_its_mounts_are_told_in_every_form_and_explained(opened: Open) -> None:
    async with opened("snapshots", size=(159, 60)) as pilot:
        await pilot.press("j", "j", "m")
        await settle(pilot)
        text = screen_text(pilot)
        assert "mount -t overlay overlay /mnt \\" in text
        assert "-o workdir=/var/lib/mobyshell/snapshots/overlayfs/3/work \\" in text
        assert 'mount("overlay", "/mnt", "overlay", 0,' in text
        assert '",lowerdir=/var/lib/mobyshell/snapshots/overlayfs/2/fs:/var' in text
        assert "what shows through, the nearest first; never written" in text
        assert "2  /var/lib/mobyshell/snapshots/overlayfs/1/fs  sha256:" in text
        await pilot.press("escape", "k", "m")
        await settle(pilot)
        assert "It is committed, and has no mount of its own" in screen_text(pilot)


async def test_why_it_is_kept_and_what_is_known_of_it(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        await pilot.press("y")
        await settle(pilot)
        text = screen_text(pilot)
        assert "It comes here by 2 ways" in text
        assert "→ this (containerd.io/gc.ref.snapshot.overlayfs)" in text
        await pilot.press("escape", "i")
        await settle(pilot)
        assert "Committed: it never changes any more" in screen_text(pilot)
        await pilot.press("escape", "G", "y")
        await settle(pilot)
        assert "Nothing needs it" in screen_text(pilot)


async def test_80_columns_show_one_pane_at_a_time(opened: Open) -> None:
    async with opened("snapshots", size=(80, 24)) as pilot:
        assert "Mounts" not in screen_text(pilot).replace("m Mounts", "")
        await pilot.press("enter")
        await settle(pilot)
        assert "KEPT BY" not in screen_text(pilot)
        assert "~ etc/" in screen_text(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert "KEPT BY" in screen_text(pilot)


async def test_what_cannot_be_read_is_said(opened: Open) -> None:
    async with opened("snapshots") as pilot:
        app: Any = pilot.app
        app.session.snapshots.broken = WrongState("somebody writes to it")
        app.screen.reread()
        await until(pilot, lambda: "cannot be listed: somebody writes" in screen_text(pilot))
        await pilot.press("j")
        await until(pilot, lambda: screen_text(pilot).count("somebody writes to it") == 2)
        assert "box-1" in screen_text(pilot)


def planned(words: list[str]) -> Rows:
    step = {"n": 1, "what": f"plan: {' '.join(words)}", "calls": "", "why": "it is asked for"}
    return Rows((), [step], "n")


async def test_lines_that_are_asked_for(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened("snapshots") as pilot:
        app: Any = pilot.app
        lines: list[list[str]] = []
        monkeypatch.setattr(app.session, "perform", lambda _, *words, **more: lines.extend(words))
        monkeypatch.setattr(app.session, "plan", planned)
        for keys, typed, line in (
            (["p"], "new", ["prepare", "new", BASE]),
            (["v"], "'a b'", ["view", "a b", BASE]),
            (["j", "j", "C"], "layer", ["commit", "layer", "box-1"]),
            (["p"], "other --label a=b", ["prepare", "other", TOOLS, "--label", "a=b"]),
            (["L"], "a=b c=", ["label", "box-1", "a=b", "c="]),
            (["k", "M"], "/mnt/x", ["mount", TOOLS, "/mnt/x"]),
            (["U"], "/mnt/x", ["unmount", "/mnt/x"]),
        ):
            await pilot.press(*keys)
            await settle(pilot)
            assert isinstance(app.screen, PlanDialog)
            await pilot.press("enter")  # nothing is said yet
            app.screen.query_one(Input).value = typed
            await until(pilot, lambda: "plan: snapshot" in screen_text(pilot))
            await pilot.press("enter")
            await settle(pilot)
            assert lines.pop() == ["snapshot", *line]
            assert isinstance(app.screen, SnapshotsScreen)
        await pilot.press("g", "g")
        table(pilot).marked = {"box-1", TOOLS}
        await pilot.press("d")
        await settle(pilot)
        assert lines == [["snapshot", "diff", "box-1", "--from", TOOLS]]
        table(pilot).marked = {"box-1", "box-2", TOOLS}
        await pilot.press("d")
        await settle(pilot)
        assert "3 are marked: two can be compared" in told(pilot)


async def test_what_another_snapshotter_has_is_told_apart_and_acted_on(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("snapshots") as pilot:
        app: Any = pilot.app
        lines: list[list[str]] = []
        monkeypatch.setattr(app.session, "perform", lambda _, *words, **more: lines.extend(words))
        monkeypatch.setattr(app.session, "plan", planned)
        for one in list(app.session.snapshots.infos)[:3]:  # base, tools, box-1 once more
            copied = replace(one, snapshotter="native", preferred=False, created_ns=0)
            app.session.snapshots.infos.append(copied)
        app.screen.reread()
        await until(pilot, lambda: "9 snapshots, 3 of native, 1 garbage" in screen_text(pilot))
        box = table(pilot).shown[2]
        rows = [line for line in screen_text(pilot).splitlines() if "(native)" in line]
        assert [row.split()[1] for row in rows[1:]] == ["tools", "box-1"]  # upon its own
        table(pilot).choose(box)
        await settle(pilot)
        await pilot.press("D")
        assert lines.pop() == ["snapshot", "rm", "box-1", "--snapshotter", "native"]
        await pilot.press("c")
        assert app.clipboard == "box-1"
        table(pilot).marked = {box, "box-2"}
        await pilot.press("D")
        assert lines == [["snapshot", "rm", "box-1", "--snapshotter", "native"],
                         ["snapshot", "rm", "box-2"]]  # fmt: skip
        await pilot.press("d")
        assert "two snapshotters" in told(pilot)
        await pilot.press("p")
        await settle(pilot)
        app.screen.query_one(Input).value = "new"
        await until(pilot, lambda: "new tools --snapshotter native" in screen_text(pilot))


# the real store


def real(tmp_path: Path, tasks: FakeTasks) -> Any:
    app = make_app(tasks, "snapshots")
    context = Context(root=str(tmp_path / "root"), state="/run/test", namespace="demo", tasks=tasks)
    context._host = HOST
    app.session.context = context
    app.session.snapshots = SnapshotSurvey(lambda: tenant(context))
    app.session.store_events = partial(of_store, context)
    return app


async def say(pilot: Pilot[Any], key: str, typed: str) -> None:
    """Press the key of a verb, and say what it wants, once it has a plan."""
    await pilot.press(key)
    await until(pilot, lambda: isinstance(pilot.app.screen, PlanDialog))
    pilot.app.screen.query_one(Input).value = typed
    await until(pilot, lambda: "1  " in screen_text(pilot))
    await pilot.press("enter")
    await until(pilot, lambda: not isinstance(pilot.app.screen, PlanDialog))


@pytest.mark.root
async def test_a_life_of_real_snapshots(tmp_path: Path, tasks: FakeTasks) -> None:
    app = real(tmp_path, tasks)
    space = app.session.context.space
    snapshots = snapshotter(space.scope)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "No snapshots yet" in screen_text(pilot))
        await say(pilot, "p", "work")
        await until(pilot, lambda: "work is there: m says how" in told(pilot))
        await until(pilot, lambda: "1 snapshot" in screen_text(pilot))
        (snapshots.directories("work").directory / "file").write_text("hello\n")
        await say(pilot, "C", "base")
        await until(pilot, lambda: table(pilot).chosen == "base")
        await say(pilot, "p", "box")
        await until(pilot, lambda: table(pilot).chosen == "box")
        (snapshots.directories("box").directory / "new").write_text("new\n")
        await pilot.press("enter")
        await until(pilot, lambda: "+ new  4B" in screen_text(pilot))
        assert "  file  6B" in screen_text(pilot)
        await pilot.press("escape")
        # what another process does is seen
        space.leases.create("mine")
        space.leases.add("mine", Resource(f"snapshots/{snapshots.name}", "box"))
        snapshots.view("look", "base", {})
        await until(
            pilot, lambda: "its label +1 " in screen_text(pilot) and "look" in screen_text(pilot)
        )
        assert "3 snapshots, 1 garbage" in screen_text(pilot)
        await say(pilot, "L", "team=blue")
        await until(pilot, lambda: isinstance(app.screen, ResultScreen))
        await pilot.press("escape", "i")
        await until(pilot, lambda: "team=blue" in screen_text(pilot))
        await pilot.press("escape", "g", "g", "D")
        await until(pilot, lambda: "has children" in told(pilot))
        await pilot.press("j", "D")
        await until(pilot, lambda: isinstance(app.screen, Confirm))
        assert "remove its files" in screen_text(pilot)
        app.screen.query_one("#word", Input).value = table_key(app)
        await pilot.press("enter")
        await until(pilot, lambda: "2 snapshots" in screen_text(pilot), told(pilot))
    app.session.context.store.close()


def table_key(app: Any) -> str:
    """The word that a confirmation wants."""
    typed: str = app.screen.typed
    return typed

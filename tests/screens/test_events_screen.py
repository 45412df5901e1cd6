"""Events and metrics: over made-up ones what is shown and done, over real tasks that it is true."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from mobyshell.commands.context import Context
from mobyshell.core.errors import SyscallFailed, WrongState
from mobyshell.core.events import (
    CallDone,
    Event,
    ImageCreated,
    TaskExited,
    TaskPaused,
    TaskSignalled,
)
from mobyshell.core.tasks.client import TaskClient
from mobyshell.screens import event_stream
from mobyshell.screens.app import MobyshellApp
from mobyshell.screens.event_rows import CALLS, command_lines
from mobyshell.screens.event_stream import EventStream
from mobyshell.screens.events import EventsScreen
from mobyshell.screens.metrics_pane import MetricsPane
from mobyshell.screens.news import Happened
from mobyshell.screens.tasks import TasksScreen
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.record_view import RecordView
from tests.core.tasks.conftest import House, house  # noqa: F401
from tests.fake_meter import FakeMeter
from tests.fakes import FakeStoreEvents, FakeTasks
from tests.screens.conftest import HOST, Open, make_app, screen_text, settle, told, until
from tests.screens.test_failures import raising
from tests.undertaker import subreaper


@pytest.fixture(scope="module", autouse=True)
def _orphans_come_here() -> Iterator[None]:
    """`house` buries what its shims leave; in this file only, and not for other screens' tests."""
    with subreaper():
        yield


CALL = CallDone("child", 0, 0, "t", "mount", ["proc"], 0, "", 5, "", "")


def stream(pilot: Pilot[Any]) -> EventStream:
    return pilot.app.screen.query_one(EventStream)


def metrics(pilot: Pilot[Any]) -> MetricsPane:
    return pilot.app.screen.query_one(MetricsPane)


def topics(pilot: Pilot[Any]) -> list[str]:
    """What is shown, from the top."""
    return [stream(pilot)._events[int(key)].topic for key in stream(pilot).table.shown]


async def filtered(pilot: Pilot[Any], words: str) -> list[str]:
    """What is shown with a filter."""
    await pilot.press("slash")
    prompt = pilot.app.screen.query_one("#line")
    prompt.value = words  # type: ignore[attr-defined]
    await pilot.press("enter")
    await settle(pilot)
    return topics(pilot)


@asynccontextmanager
async def happening(opened: Open, tasks: FakeTasks, **more: Any) -> AsyncIterator[Pilot[Any]]:
    """The screen, after three tasks have started, one has failed, and an image was made elsewhere."""
    async with opened("events", **more) as pilot:
        app = pilot.app
        assert isinstance(app, MobyshellApp)
        tasks.clock.advance(5)
        tasks.happen("web", CALL)
        tasks.happen("web", TaskSignalled("SIGTERM"))
        tasks.happen("web", TaskExited(7, 143))
        told = app.session.store_events
        assert isinstance(told, FakeStoreEvents)
        told.happen("blue", "box", ImageCreated("box", {"team": "a"}))
        await until(pilot, lambda: len(stream(pilot)._events) == 7)
        await settle(pilot)
        yield pilot


async def test_what_happens_everywhere_is_seen_as_it_happens(
    opened: Open, tasks: FakeTasks
) -> None:
    async with happening(opened, tasks) as pilot:
        text = screen_text(pilot)
        assert "6 events › following" in text  # the kernel call is not shown
        assert sorted(topics(pilot)) == ["/images/create", "/tasks/exit", "/tasks/signal",
                                         *["/tasks/start"] * 3]  # fmt: skip
        line = next(one for one in text.splitlines() if "/tasks/signal" in one)
        assert "signal=SIGTERM" in line
        await pilot.press("t")
        assert "/runtime/call" in topics(pilot)
        assert "mount(proc) = 0" in screen_text(pilot)
        tasks.clock.advance(90)
        stream(pilot).show()
        assert "1m35s" in screen_text(pilot)


async def test_filters_are_containerds_language_or_words(opened: Open, tasks: FakeTasks) -> None:
    async with happening(opened, tasks) as pilot:
        assert await filtered(pilot, "topic==/tasks/exit") == ["/tasks/exit"]
        assert await filtered(pilot, "event.exit_status==143,namespace==default") == ["/tasks/exit"]
        assert await filtered(pilot, "topic~=^/images,event.labels.team==a") == ["/images/create"]
        assert await filtered(pilot, "namespace!=default") == ["/images/create"]
        assert await filtered(pilot, "SIGTERM web") == ["/tasks/signal"]
        assert "/SIGTERM web" in screen_text(pilot).splitlines()[0]
        assert await filtered(pilot, "!/tasks/start !blue") == ["/tasks/signal", "/tasks/exit"]
        assert await filtered(pilot, "nothing of this") == []
        assert "No event matches" in screen_text(pilot)
        assert len(await filtered(pilot, 'topic=="unfinished')) == 6  # it stops nothing
        assert "✗ filter" in screen_text(pilot).splitlines()[0]
        assert len(await filtered(pilot, "")) == 6
        assert "✗" not in screen_text(pilot).splitlines()[0]


async def test_a_pause_holds_back_and_loses_nothing(opened: Open, tasks: FakeTasks) -> None:
    async with happening(opened, tasks) as pilot:
        await pilot.press("p")
        for _ in range(3):
            tasks.happen("web", TaskPaused())
        await until(pilot, lambda: "paused, 3 waiting" in screen_text(pilot))
        assert "/tasks/paused" not in topics(pilot)
        await pilot.press("p")
        await settle(pilot)
        assert topics(pilot).count("/tasks/paused") == 3


async def test_a_long_pause_says_what_it_let_go(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEPT", 50)
    async with opened("events") as pilot:
        await pilot.press("p")
        for number in range(60):
            tasks.happen(f"n{number}", TaskPaused())
        await until(pilot, lambda: "paused, 50 waiting, 10 before them" in screen_text(pilot))
        await pilot.press("p", "p")
        await settle(pilot)
        assert screen_text(pilot).splitlines()[0].rstrip().endswith("paused, 0 waiting")


async def test_kernel_calls_push_nothing_out_that_is_seen(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container makes hundreds of calls, which are hidden: three of them, and nothing else was left."""
    monkeypatch.setattr(event_stream, "KEPT", 50)
    calls = [CallDone("child", 1, 1, "powers", "prctl", [], 0, "", 1, "", "")] * 60
    async with opened("events") as pilot:
        for number in range(3):
            tasks.happen(f"n{number}", TaskPaused())
            for call in calls:
                tasks.happen(f"n{number}", call)
        tasks.happen("last", TaskPaused())
        await until(pilot, partial(shows, stream(pilot), "last"))
        assert topics(pilot).count("/tasks/paused") == 4
        assert f"{len(topics(pilot))} events" in screen_text(pilot).splitlines()[0]

        await pilot.press("p")
        tasks.happen("held", TaskPaused())
        for call in calls:
            tasks.happen("held", call)
        tasks.happen("held", TaskPaused())
        await until(pilot, lambda: "paused, 2 waiting" in screen_text(pilot))
        assert "let go" not in screen_text(pilot).splitlines()[0]
        await pilot.press("p")
        await settle(pilot)
        assert topics(pilot).count("/tasks/paused") == 6
        await pilot.press("t")
        await settle(pilot)
        kept = [one.topic for one in stream(pilot)._events.values()]
        assert 40 <= kept.count(CALLS) <= 50
        assert kept[-1] == "/tasks/paused"  # in the order in which they came


async def test_a_burst_of_a_thousand_is_all_there(opened: Open, tasks: FakeTasks) -> None:
    async with opened("events") as pilot:
        view = stream(pilot)
        for name in ("before", "burst"):
            for number in range(1000):
                tasks.happen(f"{name}-{number}", TaskPaused())
            await until(pilot, partial(shows, view, f"{name}-999"))
        kept = [one.id for one in view._events.values() if one.id.startswith("burst")]
        assert kept == [f"burst-{number}" for number in range(1000)]
        assert view.table.shown[-1] == str(max(view._events))
        # what is out of sight is painted when it is gone to
        tasks.clock.advance(90)
        view.ager.pause()
        view.show()
        assert len(view.table._stale) > 900
        await pilot.press("ctrl+home")
        await settle(pilot)
        assert "1m30s" in screen_text(pilot).splitlines()[2]


async def test_what_happened_before_anybody_looked_is_there(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:  # which follows the same events
        old = Event(tasks.clock.now_ns(), "default", "web", TaskSignalled("SIGHUP"))
        pilot.app.session.recent_events = lambda: [old]  # type: ignore[attr-defined]
        await pilot.press("f7")
        await until(pilot, lambda: "signal=SIGHUP" in screen_text(pilot))


async def test_what_cannot_be_followed_is_said(tasks: FakeTasks) -> None:
    app = make_app(tasks, "events")
    broken = True

    def events(subscribed: Callable[[], object], stopped: Callable[[], bool]) -> Iterator[Event]:
        if broken:
            raise WrongState("meta.db: file is not a database", hint="mobyshell doctor --store")
        subscribed()
        return iter(())

    tasks.recent_events = lambda **_: []  # type: ignore[method-assign]
    app.session.store_events = events
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "✗ meta.db: file is not a database" in screen_text(pilot))
        assert "Nothing has happened" not in screen_text(pilot)
        broken = False
        await until(pilot, lambda: "Nothing has happened" in screen_text(pilot))
        assert "✗" not in screen_text(pilot)


async def test_following_stays_at_the_end_and_else_the_cursor_stays(
    opened: Open, tasks: FakeTasks
) -> None:
    async with happening(opened, tasks) as pilot:
        view = stream(pilot)
        assert view.table.cursor_row == view.table.row_count - 1
        await pilot.press("f", "g", "g")
        await settle(pilot)
        before = view.table.chosen
        tasks.happen("web", TaskPaused())
        await until(pilot, lambda: "/tasks/paused" in topics(pilot))
        assert view.table.chosen == before
        assert view.table.cursor_row == 0
        assert "not following" in screen_text(pilot)
        await pilot.press("f")
        assert view.table.cursor_row == view.table.row_count - 1
        await pilot.press("k")
        before = view.table.chosen
        assert "not at the end" in screen_text(pilot)
        tasks.happen("web", TaskSignalled("SIGHUP"))
        await until(pilot, lambda: topics(pilot).count("/tasks/signal") == 2)
        assert view.table.chosen == before  # who reads is not taken away from it
        await pilot.press("G")
        tasks.happen("web", TaskSignalled("SIGINT"))
        await until(pilot, lambda: topics(pilot).count("/tasks/signal") == 3)
        await until(pilot, lambda: view.at_end)


async def test_an_event_says_what_it_means(opened: Open, tasks: FakeTasks) -> None:
    async with happening(opened, tasks, size=(80, 24)) as pilot:
        await filtered(pilot, "topic==/tasks/exit")
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "a topic of containerd's" in text
        assert "What usually comes next: /tasks/delete" in text
        assert '"exit_status": 143' in text
        assert "web in namespace default" in text
        await pilot.press("escape")
        assert stream(pilot).table.has_focus
        await filtered(pilot, "topic==/tasks/signal")
        assert "mobyshell's own" in pilot.app.screen.query_one("#event", RecordView).text


def shows(view: EventStream, id: str) -> bool:
    return any(one.id == id for one in view._events.values())


async def test_what_is_kept_is_bounded(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "KEPT", 50)
    async with opened("events") as pilot:
        view = stream(pilot)
        for number in range(205):
            tasks.happen(f"n{number}", TaskPaused())
            if number % 20 == 0:
                await until(pilot, partial(shows, view, f"n{number}"))
        await until(pilot, lambda: [one.id for one in view._events.values()][-1] == "n204")
        assert len(view._events) == len(view._rows) == len(view.table._rows) <= 50
        assert view.table.shown[-1] == str(max(view._events))


async def test_what_comes_into_sight_is_as_old_as_it_is(opened: Open, tasks: FakeTasks) -> None:
    async with opened("events") as pilot:
        view = stream(pilot)
        for number in range(100):
            tasks.happen(f"n{number}", TaskPaused())
        await until(pilot, partial(shows, view, "n99"))
        await settle(pilot)
        view.ager.pause()
        tasks.clock.advance(90)
        await pilot.press("home")
        await until(pilot, lambda: "1m30s" in screen_text(pilot).splitlines()[2])
        # a filter makes the table anew, which is scrolled by that
        await pilot.press("G")
        await settle(pilot)
        tasks.clock.advance(90)
        assert await filtered(pilot, "n1") != []
        assert len(await filtered(pilot, "")) >= 100


async def test_a_gap_is_read_up_without_saying_anything_twice(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with happening(opened, tasks) as pilot:
        before = sorted(topics(pilot))
        told_before = list(stream(pilot)._events.values())[:4]
        monkeypatch.setattr(tasks, "recent_events", lambda **_: told_before)
        tasks.reconnect()
        await settle(pilot)
        assert sorted(topics(pilot)) == before
        monkeypatch.setattr(tasks, "recent_events", raising(SyscallFailed("open", 5, path="/x")))
        tasks.reconnect()
        await until(pilot, lambda: "✗" in screen_text(pilot))
        assert sorted(topics(pilot)) == before  # what was known stays


async def test_what_comes_while_the_past_is_read_is_there_once(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with happening(opened, tasks) as pilot:
        view = stream(pilot)
        known = list(view._events.values())
        new = Event(tasks.clock.now_ns(), "default", "web", TaskPaused())
        monkeypatch.setattr(tasks, "recent_events", lambda **_: [*known, new])
        view.post_message(Happened(new))
        view.post_message(Happened(None))
        await settle(pilot)
        assert topics(pilot).count("/tasks/paused") == 1
        later = Event(tasks.clock.now_ns(), "default", "web", TaskSignalled("SIGHUP"))
        view.post_message(Happened(later))  # of the same moment, and another one
        await until(pilot, lambda: topics(pilot).count("/tasks/signal") == 2)


async def test_marked_events_are_saved_as_lines_of_json(
    opened: Open, tasks: FakeTasks, tmp_path: Path
) -> None:
    async with happening(opened, tasks) as pilot:
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
        assert "Save 6 events to" in screen_text(pilot)
        await pilot.press("escape")
        await filtered(pilot, "web !start")
        await pilot.press("g", "g", "space", "space")
        await filtered(pilot, "")
        assert "2 marked" in screen_text(pilot)
        place = tmp_path / "saved.jsonl"
        for said in (f"2 events in {place}", "exists already"):
            await pilot.press("s")
            await until(pilot, lambda: isinstance(pilot.app.screen, Ask))
            pilot.app.screen.query_one("#answer").value = str(place)  # type: ignore[attr-defined]
            await pilot.press("enter")
            await until(pilot, lambda said=said: said in told(pilot))  # type: ignore[misc]
        found = [json.loads(line) for line in place.read_text().splitlines()]
        assert [one["topic"] for one in found] == ["/tasks/signal", "/tasks/exit"]
        assert found[1]["data"]["exit_status"] == 143


async def test_the_command_that_shows_the_same_is_copied(opened: Open, tasks: FakeTasks) -> None:
    async with happening(opened, tasks) as pilot:
        await filtered(pilot, "topic==/tasks/exit")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, Choose))
        await pilot.press("down", "enter")
        await settle(pilot)
        assert pilot.app.clipboard == "ctr events topic==/tasks/exit"
        lines = dict(command_lines("topic==/tasks/exit,event.pid==7", stream(pilot).chosen))
        assert lines["mobyshell"].endswith("--filter topic==/tasks/exit,event.pid==7")
        assert lines["filter"] == "topic==/tasks/exit,namespace==default,id==web"
        assert json.loads(lines["event"])["id"] == "web"
        assert dict(command_lines("a b", None))["ctr"] == "ctr events | grep -iF -- 'a b'"


async def test_from_an_event_or_a_row_to_its_task(opened: Open, tasks: FakeTasks) -> None:
    async with happening(opened, tasks) as pilot:
        await filtered(pilot, "topic==/images/create")
        await pilot.press("J")
        assert "not about a task" in told(pilot)
        await filtered(pilot, "topic==/tasks/exit")
        await pilot.press("J")
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)
        await until(pilot, lambda: pilot.app.screen.table.chosen == "web")  # type: ignore[attr-defined]
        await pilot.press("f7", "m")
        await settle(pilot)
        await until(pilot, lambda: metrics(pilot).chosen == ("blue", "db"))
        await pilot.press("enter")
        assert "namespace use blue" in told(pilot)
        await pilot.press("j", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)


# metrics


async def measured(pilot: Pilot[Any], looks: int) -> None:
    """So many looks, and no more."""
    pane = metrics(pilot)
    pane.ticker.pause()
    await settle(pilot)
    for _ in range(looks):
        pane.sampler.take(pane._meter.measure())
    pane.show()
    await settle(pilot)


async def test_tasks_are_measured_while_somebody_looks(opened: Open) -> None:
    async with opened("events") as pilot:
        meter = pilot.app.session.meter  # type: ignore[attr-defined]
        assert isinstance(meter, FakeMeter)
        await until(pilot, lambda: meter.looks >= 2)
        await pilot.press("f2")
        await settle(pilot)
        screen = pilot.app._screen_stacks["events"][0]
        pane, before = screen.query_one(MetricsPane), meter.looks
        assert not pane.ticker._active.is_set()
        assert not screen.query_one(EventStream).ager._active.is_set()
        await pilot.press("f7")
        await until(pilot, lambda: meter.looks > before)


async def test_rows_and_graphs(opened: Open) -> None:
    async with opened("events") as pilot:
        await measured(pilot, 40)
        text = screen_text(pilot)
        line = next(one for one in text.splitlines() if one.startswith(" web "))
        assert "█" in line
        await pilot.press("m", "j")
        await settle(pilot)
        shown = screen_text(pilot)
        assert "web in namespace default" in shown
        assert "of a processor, most 90.0 %" in shown
        assert "of 64.0M" in shown
        assert "Processes: 3 of 44 (7 %)" in shown
        graphs = shown.splitlines()
        at = next(number for number, one in enumerate(graphs) if "Processes: 3 of 44" in one)
        # as high as its share of the limit, not as what is
        assert "█" not in graphs[at + 1][:40]
        assert "▁" in graphs[at + 2] or "▂" in graphs[at + 2] or "▃" in graphs[at + 2]
        await pilot.press("k")
        await settle(pilot)
        assert "Memory: 8.0M, without a limit" in screen_text(pilot)
        assert "held back 2.0 s" in screen_text(pilot)
        await pilot.press("m")
        assert stream(pilot).table.has_focus


async def test_a_kernel_without_pressure_says_how_to_get_it(opened: Open) -> None:
    async with opened("events", size=(80, 24)) as pilot:
        pilot.app.session.meter.pressure = False  # type: ignore[attr-defined]
        await measured(pilot, 2)
        await pilot.press("m")
        await settle(pilot)
        assert "tells no pressure (PSI)" in screen_text(pilot)
        assert "CONFIG_PSI=y" in screen_text(pilot)


async def test_nothing_runs_and_what_fails_is_said(opened: Open) -> None:
    async with opened("events") as pilot:
        meter = pilot.app.session.meter  # type: ignore[attr-defined]
        meter.tasks = ()
        await until(pilot, lambda: "No task runs" in screen_text(pilot))
        meter.broken = SyscallFailed("open", 24, path="/sys/fs/cgroup")
        await until(pilot, lambda: "✗" in screen_text(pilot))
        meter.broken = None
        await until(pilot, lambda: "No task runs" in screen_text(pilot))


# over real tasks


@pytest.mark.root
async def test_a_task_that_burns_a_processor_is_seen_burning(
    house: House, tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    context = Context(root=str(tmp_path / "root"), state=str(house.state))
    context._host = HOST
    app = MobyshellApp(context, start="events")
    with TaskClient(house.state, "other") as other:
        async with app.run_test(size=(160, 50), notifications=True) as pilot:
            await until(pilot, lambda: "No task runs" in screen_text(pilot))
            burning = house.sh("while :; do :; done")
            sleeping = house.run("sleep", "1000", client=other)
            await until(pilot, lambda: topics(pilot).count("/tasks/start") == 2)
            assert {one.namespace for one in stream(pilot)._events.values()} == {"default", "other"}
            sampler = metrics(pilot).sampler

            def cpu(namespace: str, id: str) -> float:
                series = sampler.tasks.get((namespace, id))
                return series["cpu"].last if series is not None else 0.0

            # whatever a loaded machine gives it is more than what one that sleeps uses
            await until(
                pilot, lambda: cpu("default", burning) > 5 * max(cpu("other", sleeping), 0.5)
            )
            house.client.kill(burning, 9)
            house.client.wait(burning, timeout=60)
            await until(pilot, lambda: ("default", burning) not in sampler.tasks)
            await until(pilot, lambda: "/tasks/exit" in topics(pilot))
            other.kill(sleeping, 9)
            other.wait(sleeping, timeout=60)
            other.delete(sleeping)
            await until(pilot, lambda: topics(pilot)[-1] == "/tasks/delete")
    context.close()


def test_the_screen_is_over_what_its_app_was_given(tasks: FakeTasks) -> None:
    app = make_app(tasks, "events")
    screen = EventsScreen(app.session)
    assert screen.NAME == "events"
    assert isinstance(app.session.meter, FakeMeter)


async def test_esc_takes_the_filter_and_the_marks_away(opened: Open) -> None:
    async with opened("events") as pilot:
        screen = pilot.app.screen
        assert isinstance(screen, EventsScreen)
        await until(pilot, lambda: screen.stream.table.row_count)
        await pilot.press("k", "space", "slash", *"zzz", "enter")
        await settle(pilot)
        assert screen.stream.table.shown == []
        await pilot.press("s")
        assert "nothing to save" in told(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert screen.filter_text == ""
        assert screen.stream.table.shown
        await pilot.press("escape")
        assert not screen.stream.table.marked

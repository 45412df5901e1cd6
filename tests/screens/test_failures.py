"""What fails is said where it failed, and the workbench goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from textual import constants

from mobyshell.commands.context import Context
from mobyshell.core.errors import ShimLost, WrongState
from mobyshell.screens import app as app_module
from mobyshell.screens.result import ResultScreen
from mobyshell.widgets.resource_table import ResourceTable
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, screen_text, settle, told, until


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*args: object, **more: object) -> Any:
        raise error

    return fail


async def test_a_list_that_fails_is_no_empty_list(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(tasks, "ls", raising(ShimLost("the shim went away", hint="try again")))
        async with opened("tasks") as pilot:
            text = screen_text(pilot)
            assert "cannot be listed: the shim went away" in text
            assert "try again" in text
            assert "No tasks yet" not in text
            broken.undo()
            await until(pilot, lambda: "3 tasks, 1 running" in screen_text(pilot))
            assert "cannot be listed" not in screen_text(pilot)


async def test_what_was_known_stays(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("tasks") as pilot:
        monkeypatch.setattr(tasks, "ls", raising(ShimLost("the shim went away")))
        tasks.kill("web", 9)
        await until(pilot, lambda: "cannot be listed" in screen_text(pilot))
        assert pilot.app.screen.query_one("#tasks", ResourceTable).shown == [
            "paused", "web", "worker",
        ]  # fmt: skip


async def test_a_gap_in_the_events_is_a_reason_to_look(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        tasks.tasks.pop("worker")  # nobody says so: the shim was dead at that time
        tasks.reconnect()
        await until(pilot, lambda: "2 tasks, 1 running" in screen_text(pilot))


@pytest.mark.parametrize(
    ("method", "keys", "words"),
    [
        ("ps", ["l", "tab"], "not running"), ("diff", ["d"], "not running"),
        ("logs", ["l"], "not running"), ("trace", ["y"], "not running"),
    ],
)  # fmt: skip
async def test_tabs_say_why_they_are_empty(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch, method: str,
    keys: list[str], words: str,
) -> None:  # fmt: skip
    error = WrongState("the task is not running", hint="a stopped task has none")
    monkeypatch.setattr(tasks, method, raising(error))
    async with opened("tasks") as pilot:
        await pilot.press(*keys)
        await settle(pilot)
        assert words in screen_text(pilot)
        assert "a stopped task has none" in screen_text(pilot)


@pytest.mark.parametrize(
    ("method", "keys"),
    [
        ("ls", []), ("ps", ["l", "tab"]), ("logs", ["l"]), ("trace", ["y"]), ("diff", ["d"]),
        ("attach", ["a"]), ("pause", ["j", "p"]),
    ],
)  # fmt: skip
async def test_a_fault_of_ours_is_shown_written_down_and_survived(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    method: str, keys: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(tasks, method, raising(RuntimeError(f"a fault in {method}")))
    async with opened("tasks") as pilot:
        await pilot.press(*keys)
        await settle(pilot)
        assert f"a fault in {method}" in told(pilot)
        assert "internal error" in told(pilot)
        journal = (tmp_path / "state" / "mobyshell" / "workbench.log").read_text()
        assert f"RuntimeError: a fault in {method}" in journal
        assert "Traceback" in journal
        await pilot.press("f1", "f2")
        await settle(pilot)
        assert "mobyshell › default › tasks" in screen_text(pilot)


async def test_an_answer_that_breaks_off_says_so(
    opened: Open, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def events(subscribed: object = None, *, everywhere: bool = False) -> Iterator[Any]:
        raise ShimLost("the shim went away", hint="it will be back")
        yield

    async with opened("tasks") as pilot:
        monkeypatch.setattr(tasks, "events", events)
        await pilot.press("colon", *"events follow", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultScreen))
        await until(pilot, lambda: "✗ the shim went away" in screen_text(pilot))


def test_whatever_happens_the_connection_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closing(FakeTasks):
        closed = False

        def close(self) -> None:
            self.closed = True
            super().close()

    tasks = Closing()
    monkeypatch.setattr(app_module.MobyshellApp, "run", raising(RuntimeError("no terminal")))
    with pytest.raises(RuntimeError, match="no terminal"):
        app_module.run(Context(tasks=tasks))
    assert tasks.closed


def test_the_workbench_that_failed_says_so_by_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was 0, as of one that was left. And what `run` settles is settled by then."""

    def run(app: app_module.MobyshellApp) -> None:
        assert constants.ESCAPE_DELAY == app_module.ESCAPE
        app._return_code = 1

    monkeypatch.delenv("ESCDELAY", raising=False)
    monkeypatch.setattr(constants, "ESCAPE_DELAY", 0.1)
    monkeypatch.setattr(app_module.MobyshellApp, "run", run)
    assert app_module.run(Context(root=str(tmp_path / "root"), state=str(tmp_path / "state"))) == 1

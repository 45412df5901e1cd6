"""The Tasks screen: every key, every tab, over tasks in memory."""

from __future__ import annotations

import pytest
from textual.widgets import TabbedContent

from mobyshell.core.errors import WrongState
from mobyshell.core.tasks.service import Status
from mobyshell.screens.bundles import BundlesScreen
from mobyshell.screens.help import HelpScreen
from mobyshell.screens.request import question, request
from mobyshell.screens.result import ResultScreen
from mobyshell.screens.session import tell
from mobyshell.screens.task_details import TaskDetails
from mobyshell.screens.task_list import TaskList
from mobyshell.screens.task_rows import task_health, task_rows
from mobyshell.screens.tasks import TasksScreen
from mobyshell.widgets.confirm import Choose, Confirm
from mobyshell.widgets.log_view import LogView
from mobyshell.widgets.prompt import Prompt
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.terminal import TerminalView
from tests.fakes import FakeAttachment, FakeTasks
from tests.screens.conftest import Open, screen_text, settle, told, until


async def test_rows_and_crumbs(opened: Open) -> None:
    async with opened("tasks") as pilot:
        text = screen_text(pilot)
        assert "3 tasks, 1 running" in text
        lines = text.splitlines()
        assert any(line.split()[:2] == ["web", "running"] for line in lines)
        assert any(line.split()[:2] == ["worker", "stopped"] for line in lines)


async def test_moving_filtering_marking_sorting(opened: Open) -> None:
    async with opened("tasks") as pilot:
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        assert table.shown == ["paused", "web", "worker"]
        await pilot.press("j")
        assert table.chosen == "web"
        await pilot.press("j", "k", "k")
        assert table.chosen == "paused"
        await pilot.press("space")
        assert table.marked == {"paused"}
        assert table.chosen == "web"
        await pilot.press("space", "space")
        assert table.marked == {"paused", "web", "worker"}
        await pilot.press("O")
        assert table.shown == ["worker", "web", "paused"]
        await pilot.press("slash", *"status=run")
        assert table.shown == ["web"]
        await pilot.press("enter")
        assert table.shown == ["web"]
        await pilot.press("slash", "escape")
        assert len(table.shown) == 3


async def test_a_filter_and_marks_are_said_and_escape_takes_them_away(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        await pilot.press("G", "space", "slash", *"status=run", "enter")
        await settle(pilot)
        assert "› /status=run: 1 › 1 marked" in screen_text(pilot)
        await pilot.press("enter", "escape")
        assert table.shown == ["web"]  # it was the details that were left
        await pilot.press("escape")
        assert len(table.shown) == 3
        assert table.marked == {"worker"}
        await pilot.press("escape")
        await settle(pilot)
        assert not table.marked
        assert "mark" not in screen_text(pilot)


async def test_help_begins_with_what_is_done_here(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        await pilot.press("question_mark")
        await settle(pilot)
        text = screen_text(pilot)
        for words in ("Kill", "Explain", "Logs", "Filter"):
            assert words in text
        assert "ResourceTable" not in text
        assert "Page Up" not in text


async def test_a_question_about_long_names_shows_all_of_them(opened: Open) -> None:
    names = [f"registry.example.com/team/with/a/long/name:{number}" for number in range(3)]
    async with opened("images", size=(80, 24)) as pilot:
        pilot.app.push_screen(Confirm(question([request(["image", "rm", *names])])))
        await settle(pilot)
        for name in names:
            assert name in screen_text(pilot)
        await pilot.press("escape")
        # with a long plan, too, and a word to type, everything to press is on the screen
        steps = "\n".join(f"{number}  a step" for number in range(30))
        asked = Confirm(question([request(["image", "rm", *names])]), "why", plan=steps, typed="x")
        pilot.app.push_screen(asked)
        await settle(pilot)
        for word in (*names, "0  a step", "Type x", "Yes", "No"):
            assert word in screen_text(pilot)


@pytest.mark.parametrize(
    ("key", "tab", "words"),
    [
        ("l", "logs", "web line 2"), ("y", "explain", "21.0µs"),
        ("d", "diff", "tmpfs rw"), ("i", "inspect", "namespace: default"),
    ],
)  # fmt: skip
async def test_tabs(
    opened: Open, monkeypatch: pytest.MonkeyPatch, key: str, tab: str, words: str
) -> None:
    from mobyshell.core.oci import default_spec

    monkeypatch.setattr("mobyshell.core.oci.load_spec", lambda path: default_spec())
    async with opened("tasks") as pilot:
        await pilot.press("j")
        await settle(pilot)
        await pilot.press(key)
        await settle(pilot)
        assert pilot.app.screen.query_one(TabbedContent).active == tab
        assert words in screen_text(pilot)


async def test_the_log_is_searched_and_dated(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "l")
        await settle(pilot)
        logs = pilot.app.screen.query_one(LogView)
        await pilot.press("t")
        assert logs.times
        await pilot.press("slash", *"line 1", "enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "web line 1" in text
        assert "web line 2" not in text
        await pilot.press("f")
        assert not logs.following


async def test_kill_asks_which_and_then_whether(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "K")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Choose)
        await pilot.press("down", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Confirm)
        assert ("kill", "web", 9) not in tasks.calls
        await pilot.press("y", "enter")
        await settle(pilot)
        assert ("kill", "web", 9) not in tasks.calls
        await pilot.press("backspace", *"web", "enter")
        await until(pilot, lambda: ["web", "stopped"] in [
            line.split()[:2] for line in screen_text(pilot).splitlines()
        ])  # fmt: skip
        assert ("kill", "web", 9) in tasks.calls


async def test_a_signal_that_can_be_refused_wants_a_plain_yes(
    opened: Open, tasks: FakeTasks
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "K")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert ("kill", "web", 15) in tasks.calls


async def test_the_policy_is_chosen_of_a_list(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "R")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Choose)
        assert "Start web again when it ends? (now: no)" in screen_text(pilot)
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: ("policy", "web", "on-failure:3") in tasks.calls)


def test_one_between_two_runs_is_on_its_way(tasks: FakeTasks) -> None:
    tasks.add("again", Status.RESTARTING, pid=0, restart="always", restarts=7, exit_status=1)
    (row,) = [one for one in task_rows(tasks.ls(), {}, 0) if one["id"] == "again"]
    assert (row["status"], row["restarts"], row["pid"]) == ("restarting", 7, None)
    assert task_health(row) == "busy"


def test_one_that_is_not_well_is_bad(tasks: FakeTasks) -> None:
    looks = {"": "good", "starting": "busy", "healthy": "good", "unhealthy": "bad"}
    for health in looks:
        tasks.add(f"h{health}", health=health)
    rows = {one["id"]: one for one in task_rows(tasks.ls(), {}, 0)}
    assert {health: task_health(rows[f"h{health}"]) for health in looks} == looks


async def test_delete_of_what_has_stopped_wants_a_plain_yes(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("G", "D")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert ("delete", "worker", False) in tasks.calls


async def test_kill_of_several_is_one_question(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("space", "space", "K")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        await pilot.press("y", "enter")
        assert not [call for call in tasks.calls if call[0] == "kill"]
        await pilot.press("backspace", *"paused", "enter")
        await settle(pilot)
        assert [call for call in tasks.calls if call[0] == "kill"] == [
            ("kill", "paused", 15), ("kill", "web", 15),
        ]  # fmt: skip


async def test_no_means_no(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("G", "D")
        await settle(pilot)
        await pilot.press("escape")
        await settle(pilot)
        assert not [call for call in tasks.calls if call[0] == "delete"]


async def test_delete_of_what_runs_wants_its_name(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "D")
        await settle(pilot)
        await pilot.press("y", "enter")
        assert not [call for call in tasks.calls if call[0] == "delete"]
        await pilot.press("backspace", *"web", "enter")
        await settle(pilot)
        assert ("delete", "web", True) in tasks.calls


async def test_delete_of_several_wants_the_first_id(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("space", "space", "D")
        await settle(pilot)
        await pilot.press("y", "enter")
        assert not [call for call in tasks.calls if call[0] == "delete"]
        await pilot.press("backspace", *"paused", "enter")
        await settle(pilot)
        assert [call[1] for call in tasks.calls if call[0] == "delete"] == ["paused", "web"]


async def test_pause_and_resume(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("p")
        await settle(pilot)
        assert ("resume", "paused") in tasks.calls
        await pilot.press("j", "p")
        await settle(pilot)
        assert ("pause", "web") in tasks.calls


async def test_start(opened: Open, tasks: FakeTasks) -> None:
    tasks.add("made", Status.CREATED)
    async with opened("tasks") as pilot:
        pilot.app.screen.query_one("#tasks", ResourceTable).choose("made")
        await pilot.press("S")
        await settle(pilot)
        assert ("start", "made") in tasks.calls


@pytest.mark.parametrize(
    ("key", "asked"), [("a", ("attach", "web", "")), ("e", ("exec", "web", ("sh",)))]
)
async def test_the_terminal_takes_every_key_but_one(
    opened: Open, tasks: FakeTasks, key: str, asked: tuple[object, ...]
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", key)
        await settle(pilot)
        assert asked in tasks.calls
        view = pilot.app.screen.query_one(TerminalView)
        assert view.has_focus
        await until(pilot, lambda: "/ #" in view.text)
        await pilot.press(*"qD:", "up", "ctrl+c", "f2", "enter")
        assert bytes(tasks.attachment.written) == b"qD:\x1b[A\x03\x1bOQ\r"
        assert isinstance(pilot.app.screen, TasksScreen)
        await pilot.press("ctrl+right_square_bracket")
        await settle(pilot)
        assert pilot.app.screen.query_one("#tasks").has_focus


async def test_another_tab_can_be_had_from_within_one(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "y")
        await settle(pilot)
        tabs = pilot.app.screen.query_one(TabbedContent)
        assert tabs.active_pane is not None
        assert tabs.active_pane.has_focus_within
        for key, tab in (("d", "diff"), ("l", "logs"), ("y", "explain")):
            await pilot.press(key)
            await settle(pilot)
            assert tabs.active == tab


async def test_the_line_of_keys_follows_a_terminal_that_has_the_focus_already(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j")
        pilot.app.screen.query_one(TabbedContent).active = "terminal"
        await settle(pilot)
        view = pilot.app.screen.query_one(TerminalView)
        view.focus()
        await settle(pilot)
        assert "Command" in screen_text(pilot).splitlines()[-1]
        attachment = FakeAttachment(b"/ # ")
        view.connect(attachment)
        await until(pilot, lambda: "Command" not in screen_text(pilot).splitlines()[-1])
        assert "Leave" in screen_text(pilot).splitlines()[-1]
        attachment.end()
        await until(pilot, lambda: "Command" in screen_text(pilot).splitlines()[-1])


async def test_without_a_terminal_to_hand_over_the_shell_is_in_a_tab(
    opened: Open, tasks: FakeTasks
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "s")
        await settle(pilot)
        assert pilot.app.screen.query_one(TabbedContent).active == "terminal"
        assert ("exec", "web", ("sh",)) in tasks.calls


async def test_detach_keys_leave_the_task_running(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "a")
        await settle(pilot)
        await pilot.press("ctrl+p", "ctrl+q")
        await settle(pilot)
        assert pilot.app.screen.query_one("#tasks").has_focus
        assert tasks.get("web").status is Status.RUNNING
        assert pilot.app.return_code is None


async def test_events_update_the_table(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        tasks.kill("web", 9)
        await until(pilot, lambda: "3 tasks, 0 running" in screen_text(pilot))
        assert "137" in screen_text(pilot)


async def test_nothing_is_measured_while_nothing_runs(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        screen = pilot.app.screen
        ticker = screen.query_one(TaskList).ticker
        assert ticker._active.is_set()
        tasks.kill("web", 9)
        await until(pilot, lambda: not ticker._active.is_set())


async def test_readonly_refuses_and_says_so(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks", readonly=True) as pilot:
        assert "[read-only]" in screen_text(pilot)
        await pilot.press("j", "p")
        await settle(pilot)
        assert not tasks.calls
        assert "this is read-only" in screen_text(pilot)
        await pilot.press("ctrl+r", "p")
        await settle(pilot)
        assert ("pause", "web") in tasks.calls


async def test_command_line_completion_and_errors(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("colon", *"task ki")
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot)
        line = pilot.app.screen.query_one(Prompt).query_one("#line")
        assert line.value == "task kill"  # type: ignore[attr-defined]
        await pilot.press(*" nobody", "enter")
        await settle(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert "container does not exist: nobody" in screen_text(pilot)
        await pilot.press("colon", *"task ps web", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ResultScreen)
        assert "sleep 1" in screen_text(pilot)
        await pilot.press("c", "escape")


async def test_the_menu_has_the_verbs_for_a_task(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "x")
        await settle(pilot)
        assert isinstance(pilot.app.screen, Choose)
        assert "pause" in screen_text(pilot)
        await pilot.press("escape")


async def test_screens_history_leader_and_help(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("f1")
        await settle(pilot)
        assert isinstance(pilot.app.screen, BundlesScreen)
        await pilot.press("g", "t")
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)
        await pilot.press("left_square_bracket")
        await settle(pilot)
        assert isinstance(pilot.app.screen, BundlesScreen)
        await pilot.press("right_square_bracket")
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)
        await pilot.press("question_mark")
        await settle(pilot)
        assert isinstance(pilot.app.screen, HelpScreen)
        assert "Keys here" in screen_text(pilot)
        await pilot.press("escape", "ctrl+p")
        await settle(pilot)
        await pilot.press(*"task pause")
        await settle(pilot)
        assert "task pause" in screen_text(pilot)


async def test_copy_maximise_back(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("c")
        assert pilot.app.clipboard == "paused"
        await pilot.press("enter")
        assert pilot.app.screen.has_class("detailed")
        await pilot.press("escape")
        assert not pilot.app.screen.has_class("detailed")
        await pilot.press("z")
        await pilot.pause()
        assert pilot.app.screen.maximized is not None
        await pilot.press("z")
        await pilot.pause()
        assert pilot.app.screen.maximized is None


async def test_narrow_screens_show_one_pane(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        details = pilot.app.screen.query_one("#details")
        assert not details.display
        await pilot.press("enter")
        await settle(pilot)
        assert details.display
        assert not pilot.app.screen.query_one("#list").display


async def test_quit(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("q")
        await pilot.pause()
        assert pilot.app.return_value == 0


async def test_an_empty_list_says_what_to_do(opened: Open, tasks: FakeTasks) -> None:
    tasks.tasks.clear()
    async with opened("tasks") as pilot:
        assert "No tasks yet" in screen_text(pilot)


async def test_the_cursor_stays_where_the_person_put_it(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "a")
        await settle(pilot)
        tasks.add("later")
        tasks.reconnect()
        await until(pilot, lambda: "4 tasks" in screen_text(pilot))
        assert pilot.app.screen.query_one("#tasks", ResourceTable).chosen == "web"


async def test_a_terminal_shows_only_the_keys_that_are_not_the_programs(opened: Open) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "a")
        await settle(pilot)
        last = screen_text(pilot).splitlines()[-1]
        assert last.split() == ["^]", "Leave"]


async def test_nothing_of_a_task_is_shown_under_another_ones_name(
    opened: Open, tasks: FakeTasks
) -> None:
    async with opened("tasks") as pilot:
        first, second = tasks.ls()[:2]
        details = pilot.app.screen.query_one(TaskDetails)
        details.show(first)
        details.tab = "inspect"
        record = details.query_one("#inspect RecordView", RecordView)
        await until(pilot, lambda: f"id: {first.id}" in record.text)
        details.show(second)
        assert record.text == "…"  # until it is read
        await until(pilot, lambda: f"id: {second.id}" in record.text)


async def test_escape_takes_away_what_was_told(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        pilot.app.notify("of what was before", timeout=60)
        await until(pilot, lambda: "of what was before" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "of what was before" not in screen_text(pilot))


async def test_an_old_task_grows_older_in_steps(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        listed = pilot.app.screen.query_one(TaskList)
        listed.table.choose("web")
        ages = []
        for seconds in (100, 1, 1, 5, 1):
            tasks.clock.advance(seconds)
            listed.measured(TaskList.Measured({"web": tasks.stats("web")}))
            row = listed.table.row
            assert row is not None
            ages.append(row["uptime"] // 10**9)
        first = ages[0]
        assert first > 60
        assert [age - first for age in ages] == [0, 0, 0, 7, 7]


async def test_an_error_of_many_words_has_a_page(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        error = WrongState(
            "it is not empty: " + ", ".join(f"thing-{n}" for n in range(60)), hint="go"
        )
        tell(pilot.app, error)  # type: ignore[arg-type]
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultScreen))
        await until(pilot, lambda: "thing-59" in screen_text(pilot))
        assert "go" in screen_text(pilot)


async def test_who_runs_is_said_to_be_killed_before_it_is_forgotten(opened: Open) -> None:
    async with opened("tasks", size=(80, 24)) as pilot:
        await pilot.press("j", "D")
        await until(pilot, lambda: "task delete --force web?" in screen_text(pilot))
        assert "--force: kill it first, if it runs." in " ".join(screen_text(pilot).split())


@pytest.mark.parametrize("key", ["s", "e"])
async def test_what_has_stopped_is_said_to_have_no_place_for_a_shell(
    opened: Open, tasks: FakeTasks, key: str
) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("G", key)
        await until(pilot, lambda: "worker is stopped: nothing can be run in it" in told(pilot))
        assert ":container start worker" in told(pilot)
        assert not any(call[0] == "exec" for call in tasks.calls)

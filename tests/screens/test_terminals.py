"""What differs between terminals and hands: no colours, a mouse, a password that nobody may see."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from textual.widgets import Input

from mobyshell.screens.kernel import KernelScreen
from mobyshell.screens.session import Session
from mobyshell.screens.tenants import TenantsScreen
from mobyshell.screens.views import ViewBar
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.resource_table import ResourceTable
from tests.fake_images import FakeImages
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, make_app, screen_text, settle, told, until


async def test_without_colours_the_cursor_is_seen(
    tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = make_app(tasks, "tasks")
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        strips = app.screen._compositor.render_strips()
        reversed_lines = [
            number for number, strip in enumerate(strips)
            if any(one.style is not None and one.style.reverse and "paused" in one.text
                   for one in strip)
        ]  # fmt: skip
        assert reversed_lines == [2]


async def test_without_colours_one_sees_which_is_chosen(opened: Open) -> None:
    async with opened("images") as pilot:
        await pilot.press("r")
        await settle(pilot)
        assert "▐●▌ without one" in screen_text(pilot)
        assert "▐ ▌ with a terminal" in screen_text(pilot)
        await pilot.click("#with")
        await settle(pilot)
        assert "▐ ▌ without one" in screen_text(pilot)
        assert "▐●▌ with a terminal" in screen_text(pilot)


async def test_a_click_on_a_title_sorts_and_a_second_one_turns_it_round(opened: Open) -> None:
    async with opened("tasks") as pilot:
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        assert table.shown == ["paused", "web", "worker"]
        place = screen_text(pilot).splitlines()[1].index("STATE")
        await pilot.click(table, offset=(place + 1, 0))
        await settle(pilot)
        assert table.sort_key == "status"
        first = list(table.shown)
        await pilot.click(table, offset=(place + 1, 0))
        await settle(pilot)
        assert table.reversed
        assert table.shown == first[::-1]


async def test_the_other_namespaces_are_a_click_away(opened: Open) -> None:
    async with opened("namespaces") as pilot:
        await pilot.click(ViewBar, offset=(12, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, KernelScreen))
        await settle(pilot)
        await pilot.click(ViewBar, offset=(3, 0))
        await until(pilot, lambda: isinstance(pilot.app.screen, TenantsScreen))


@pytest.mark.parametrize("answer", ["sesame", "", None])
async def test_a_password_is_asked_for_on_the_screen(
    opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str | None
) -> None:
    monkeypatch.delenv("MOBYSHELL_PASSWORD", raising=False)
    async with opened("tasks") as pilot:
        app: Any = pilot.app
        session: Session = app.session
        session.context.interactive = True
        app.run_line(f"image keygen {tmp_path}/mine")
        for asked in ("Password of the key", "Again") if answer is not None else ("Password",):
            await until(pilot, lambda asked=asked: asked in screen_text(pilot))  # type: ignore[misc]
            assert isinstance(app.screen, Ask)
            app.screen.query_one(Input).value = answer or ""
            await pilot.pause()  # the verb waits: nothing is at rest
            assert "sesame" not in screen_text(pilot)
            await pilot.press("enter" if answer is not None else "escape")
        if answer is None:
            await until(pilot, lambda: "no password was given" in told(pilot))
        else:
            await until(pilot, lambda: "keep" in told(pilot))
            assert (b"ENCRYPTED" in (tmp_path / "mine.key").read_bytes()) is bool(answer)


async def test_the_cursor_of_a_choice_is_where_the_choice_is(opened: Open) -> None:
    async with opened("images") as pilot:
        await pilot.press("r")
        await settle(pilot)
        await pilot.press("tab", "tab", "up", "space")
        await settle(pilot)
        assert "▐●▌ with a terminal" in screen_text(pilot)


@pytest.mark.parametrize(
    ("args", "chosen"),
    [(("sh",), "with a terminal"), (("/bin/bash",), "with a terminal"),
     (("sh", "-c", "x"), "without one"), (("httpd",), "without one"), ((), "without one")],
)  # fmt: skip
async def test_a_shell_by_itself_is_offered_a_terminal(
    tasks: FakeTasks, args: tuple[str, ...], chosen: str
) -> None:
    app = make_app(tasks, "images")
    images = cast("FakeImages", app.session.images)
    images.infos = [replace(one, args=args) for one in images.infos]
    async with app.run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await pilot.press("r")
        await settle(pilot)
        assert f"▐●▌ {chosen}" in screen_text(pilot)


async def test_a_terminal_that_has_ended_says_whose_it_was(opened: Open, tasks: FakeTasks) -> None:
    async with opened("tasks") as pilot:
        await pilot.press("j", "a")
        await until(pilot, lambda: "the streams of web: ctrl+]" in screen_text(pilot))
        tasks.attachment.end()
        await until(
            pilot, lambda: "the streams of web: the process has ended" in screen_text(pilot)
        )

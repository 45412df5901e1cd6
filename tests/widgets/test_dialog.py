from __future__ import annotations

from pathlib import Path, PurePath
from typing import ClassVar

from textual.app import App
from textual.widgets import Button, Input

import mobyshell.styles
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.confirm import Confirm


async def test_a_dialog_is_answered_once() -> None:
    app: App[None] = App()
    answers: list[str | None] = []
    async with app.run_test() as pilot:
        await app.push_screen(Ask("first?", "a"), answers.append)
        await app.push_screen(Ask("second?", "b"), answers.append)
        field = app.screen.query_one(Input)
        for _ in range(3):  # faster than the dialog can go away
            field.post_message(Input.Submitted(field, "b"))
        await pilot.pause()
        await pilot.pause()
        assert answers == ["b"]
        assert isinstance(app.screen, Ask)
        assert app.screen.question == "first?"


class Styled(App[None]):
    """With the workbench's shapes."""

    CSS_PATH: ClassVar[list[str | PurePath]] = [
        Path(mobyshell.styles.__file__).with_name("tokens.tcss")
    ]


async def test_a_question_fills_80x24_with_its_steps_and_no_more() -> None:
    """Two lines were left empty below it, where its steps were cut."""
    app = Styled()
    async with app.run_test(size=(80, 24)) as pilot:
        plan = "\n".join(f"{number}  a step" for number in range(30))
        app.push_screen(Confirm("rm a, b?", plan=plan, typed="a"))
        await pilot.pause()
        await pilot.pause()
        assert app.screen.query_one(".steps").size.height == 9
        assert app.screen.query_one("#yes", Button).region.bottom == 22

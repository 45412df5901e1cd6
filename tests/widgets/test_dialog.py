from __future__ import annotations

from textual.app import App
from textual.widgets import Input

from mobyshell.widgets.ask import Ask


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

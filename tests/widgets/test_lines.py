"""Moving through lines that keep coming, in a place that becomes larger and smaller."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from mobyshell.widgets.lines import Lines


class OneLog(App[None]):
    """Nothing but lines."""

    def compose(self) -> ComposeResult:
        yield Lines()


async def wheel_up(pilot: Pilot[None]) -> None:
    pilot.app.post_message(
        events.MouseScrollUp(None, 3, 3, 0, -1, 0, shift=False, meta=False, ctrl=False)
    )


async def page_up(pilot: Pilot[None]) -> None:
    await pilot.press("pageup")


async def key_up(pilot: Pilot[None]) -> None:
    await pilot.press("k")


@pytest.mark.parametrize("up", [wheel_up, page_up, key_up])
async def test_the_first_turn_upwards_is_not_lost(
    up: Callable[[Pilot[None]], Awaitable[None]],
) -> None:
    async with OneLog().run_test(size=(40, 12)) as pilot:
        lines = pilot.app.query_one(Lines)
        lines.focus()
        lines.add_lines([f"line {number}" for number in range(100)], to_end=True)
        await pilot.pause()
        await pilot.resize_terminal(40, 20)
        await pilot.pause()
        place = lines.scroll_offset.y
        assert place == lines.max_scroll_y
        await up(pilot)
        await pilot.pause()
        await pilot.wait_for_animation()
        assert lines.scroll_offset.y < place

"""Keys that come faster than screens do: pasted, from a slow line, or of a quick person."""

from __future__ import annotations

from textual import events

from mobyshell.screens.networks import NetworksScreen
from tests.screens.conftest import Open, settle


async def test_the_key_after_g_need_not_wait_for_the_line_of_places(opened: Open) -> None:
    async with opened("tasks") as pilot:
        for key in ("g", "w", "j", "j"):
            pilot.app.post_message(events.Key(key, key))
        await settle(pilot)
        assert isinstance(pilot.app.screen, NetworksScreen)
        assert len(pilot.app.screen_stack) == 1

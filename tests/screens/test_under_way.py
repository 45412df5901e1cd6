"""What is told of a verb while it works: that it does, and what it says."""

from __future__ import annotations

import re
import socket
import threading
from typing import Any

import pytest

from mobyshell.commands.registry import find
from mobyshell.commands.results import Done
from mobyshell.screens.result import ResultScreen
from tests.screens.conftest import Open, screen_text, settle, told, until


class Slow:
    """A verb that does what the test lets it do."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.says: list[str] = []

    def __call__(self, ctx: Any, **words: Any) -> Done:
        for line in self.says:
            ctx.say(line)
        self.go.wait(60)
        return Done("fresh", said="built fresh")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    one = Slow()
    monkeypatch.setattr(find("image", "build"), "run", one)
    return one


async def test_a_verb_that_takes_its_time_is_seen_on_every_screen(opened: Open, slow: Slow) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("colon", *"image build x", "enter")
        await until(pilot, lambda: "◌ image build, " in screen_text(pilot).splitlines()[0])
        await pilot.press("f4")
        await until(pilot, lambda: "◌ image build, " in screen_text(pilot).splitlines()[0])
        slow.go.set()
        await until(pilot, lambda: "built fresh" in told(pilot))
        assert "◌" not in screen_text(pilot).splitlines()[0]
        await pilot.press("f3")
        await settle(pilot)
        assert "◌" not in screen_text(pilot).splitlines()[0]


async def test_what_says_much_says_it_on_a_page_that_grows(opened: Open, slow: Slow) -> None:
    slow.says = [f"step {number}" for number in range(9)]
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("colon", *"image build x", "enter")
        await until(pilot, lambda: "step 8" in screen_text(pilot))
        text = screen_text(pilot)
        assert "step 0" in text
        assert "image build x" in text
        slow.go.set()
        await until(pilot, lambda: "(the end)" in screen_text(pilot))
        assert isinstance(pilot.app.screen, ResultScreen)
        assert "built fresh" in screen_text(pilot)
        await pilot.press("escape")
        assert not isinstance(pilot.app.screen, ResultScreen)


async def test_a_page_of_what_is_said_can_be_left_and_the_verb_goes_on(
    opened: Open, slow: Slow
) -> None:
    slow.says = ["one", "two"]
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("colon", *"image build x", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultScreen))
        await pilot.press("escape")
        await until(pilot, lambda: "◌ image build, " in screen_text(pilot).splitlines()[0])
        slow.go.set()
        await until(pilot, lambda: "built fresh" in told(pilot))


async def test_what_was_told_does_not_lie_upon_a_question(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        pilot.app.notify("of what was before", timeout=60)
        await until(pilot, lambda: "of what was before" in screen_text(pilot))
        await pilot.press("r")
        await settle(pilot)
        assert "Run box" in screen_text(pilot)
        assert "of what was before" not in screen_text(pilot)


async def test_what_has_nothing_to_say_says_what_was_asked_for(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find("image", "build"), "run", lambda ctx, **words: Done())
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("colon", *"image build x", "enter")
        await until(pilot, lambda: "image build: x" in told(pilot))


async def test_what_is_served_ends_when_its_page_is_left(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("colon", *"metrics serve --address 127.0.0.1:0", "enter")
        await until(pilot, lambda: "/v1/metrics" in screen_text(pilot))
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", screen_text(pilot))
        assert found is not None
        port = int(found[1])
        socket.create_connection(("127.0.0.1", port)).close()
        await pilot.press("escape")

        def served() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except ConnectionRefusedError:
                return False
            return True

        await until(pilot, lambda: not served())

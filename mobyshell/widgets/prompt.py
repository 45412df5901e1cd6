"""The line at the bottom: a command after `:`, a filter after `/`. Hidden while it is not used."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.message import Message
from textual.suggester import Suggester
from textual.widget import Widget
from textual.widgets import Input, Label

Complete = Callable[[list[str]], list[str]]
"""The completions of the last of some words; may block, so it is called in a thread."""


class WordSuggester(Suggester):
    """Suggests the first completion of the last word."""

    def __init__(self, complete: Complete) -> None:
        super().__init__(use_cache=False, case_sensitive=True)
        self._complete = complete

    async def get_suggestion(self, value: str) -> str | None:
        """The line with its last word completed."""
        head, space, last = value.rpartition(" ")
        if not last:
            return None
        found = await asyncio.to_thread(self._complete, [*head.split(), last])
        return f"{head}{space}{found[0]}" if found else None


class Line(Input):
    """What is typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "submit", "Go", id="prompt.go")]

    takes_every_key = True


class Prompt(Horizontal):
    """Asks for one line."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Leave", id="prompt.leave"),
        Binding("tab", "complete", "Complete", id="prompt.complete", priority=True),
        Binding("up", "older", "The line before", id="prompt.older"),
        Binding("down", "newer", "The line after", show=False, id="prompt.newer"),
    ]

    @dataclass
    class Entered(Message):
        """A whole line, with the sign it was asked for with."""

        sign: str
        line: str

    @dataclass
    class Edited(Message):
        """The line so far."""

        sign: str
        line: str

    @dataclass
    class Left(Message):
        """Given up."""

        sign: str

    def __init__(self, complete: Complete, **more: Any) -> None:
        super().__init__(**more)
        self._suggester = WordSuggester(complete)
        self._history: list[str] = []
        self._place = 0
        self._before: Widget | None = None
        self.sign = ":"

    def compose(self) -> ComposeResult:
        yield Label(":", id="sign")
        yield Line(id="line", select_on_focus=False)

    def ask(self, sign: str, value: str = "") -> None:
        """Take the keyboard and ask."""
        self.sign = sign
        self._before = self.screen.focused
        self.query_one("#sign", Label).update(sign)
        line = self.query_one("#line", Input)
        line.suggester = self._suggester if sign == ":" else None
        line.value = value
        line.cursor_position = len(value)
        self._place = len(self._history)
        self.add_class("asking")
        self.screen.set_focus(line)  # at once: what is typed next is for it

    def _done(self) -> None:
        self.remove_class("asking")
        if self._before is not None and self._before.is_attached:
            self._before.focus()

    @on(Input.Submitted)
    def submitted(self, event: Input.Submitted) -> None:
        """Enter."""
        event.stop()
        if self.sign == ":" and event.value.strip():
            self._history.append(event.value)
        self._done()
        self.post_message(self.Entered(self.sign, event.value))

    @on(Input.Changed)
    def edited(self, event: Input.Changed) -> None:
        """A key."""
        event.stop()
        if self.has_class("asking"):
            self.post_message(self.Edited(self.sign, event.value))

    def action_leave(self) -> None:
        """Escape."""
        self._done()
        self.post_message(self.Left(self.sign))

    @property
    def idle_actions(self) -> frozenset[str]:
        """Actions that do nothing now: a filter has nothing before it, and nothing to complete."""
        return frozenset() if self.sign == ":" else frozenset(("complete", "older"))

    async def action_complete(self) -> None:
        """Take the suggestion."""
        line = self.query_one("#line", Input)
        found = await self._suggester.get_suggestion(line.value) if self.sign == ":" else None
        if found:
            line.value = found
            line.cursor_position = len(found)

    def action_older(self) -> None:
        """The line before."""
        self._recall(-1)

    def action_newer(self) -> None:
        """The line after."""
        self._recall(1)

    def _recall(self, step: int) -> None:
        self._place = min(max(self._place + step, 0), len(self._history))
        line = self.query_one("#line", Input)
        line.value = self._history[self._place] if self._place < len(self._history) else ""
        line.cursor_position = len(line.value)

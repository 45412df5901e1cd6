"""What a task wrote: followed, searched, wrapped, with or without times."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label

from mobyshell.commands.output import clean
from mobyshell.core.clock import rfc3339
from mobyshell.core.tasks.service import LogLine
from mobyshell.widgets.lines import KEPT, Lines
from mobyshell.widgets.sentence import Sentence


def render(line: LogLine, *, times: bool) -> str:
    """A line as text: control characters shown, not obeyed."""
    text = clean(line.data.decode(errors="replace").replace("\t", "    ").rstrip("\r"))
    mark = "! " if line.stream == "stderr" else "  "
    return (rfc3339(line.time_ns)[11:23] + " " if times else "") + mark + text


class Needle(Input):
    """The line for a text to search."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "clear", "All lines", show=False, id="logs.all"),
    ]

    def action_clear(self) -> None:
        """Search nothing."""
        self.value = ""
        self.post_message(self.Submitted(self, ""))


class LogView(Vertical):
    """Lines of a log. `add` may be called as often as lines come; they are written in batches."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f", "follow", "Follow", id="logs.follow"),
        Binding("t", "times", "Times", id="logs.times"),
        Binding("slash", "search", "Search", id="logs.search"),
    ]

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._lines: deque[LogLine] = deque(maxlen=KEPT)
        self.times = False
        self.following = True
        self.needle = ""

    def compose(self) -> ComposeResult:
        yield Sentence()
        yield Lines(id="log")
        yield Needle(placeholder="search; enter keeps, esc clears", id="needle", classes="hidden")
        yield Label("", id="log-state", markup=False)

    @property
    def lines(self) -> Lines:
        """The lines themselves."""
        return self.query_one(Lines)

    def say(self, sentence: str) -> None:
        """Why there is nothing to read; "" where there is."""
        self.query_one(Sentence).say(sentence)

    def clear(self) -> None:
        """Forget every line."""
        self.say("")
        self._lines.clear()
        self._redraw()

    def add(self, lines: list[LogLine]) -> None:
        """Lines that were written just now."""
        self._lines.extend(lines)
        self.lines.add_lines(self._fitting(lines), to_end=self.following)
        self._tell()

    def _fitting(self, lines: list[LogLine]) -> list[str]:
        needle = self.needle.lower()
        texts = (render(one, times=self.times) for one in lines)
        return [text for text in texts if needle in text.lower()]

    def _redraw(self) -> None:
        self.lines.set_lines(self._fitting(list(self._lines)), to_end=self.following)
        self._tell()

    def _tell(self) -> None:
        parts = [f"{len(self._lines)} lines"]
        if self.needle:
            parts.append(f"{len(self.lines.kept)} with “{self.needle}”")
        parts.append("following" if self.following else "not following (f)")
        self.query_one("#log-state", Label).update(" · ".join(parts))

    def action_follow(self) -> None:
        """Keep the last line in sight, or stay where we are."""
        self.following = not self.following
        if self.following:
            self.lines.scroll_end(animate=False)
        self._tell()

    def action_times(self) -> None:
        """Show or hide when each line was written."""
        self.times = not self.times
        self._redraw()

    def action_search(self) -> None:
        """Show only lines that hold a text."""
        needle = self.query_one(Needle)
        needle.remove_class("hidden")
        needle.focus()

    @on(Input.Changed)
    def searched(self, event: Input.Changed) -> None:
        """Search as you type."""
        event.stop()
        self.needle = event.value
        self._redraw()

    @on(Input.Submitted)
    def search_kept(self, event: Input.Submitted) -> None:
        """Keep the search, go back to the lines."""
        event.stop()
        event.input.set_class(not event.value, "hidden")
        self.lines.focus()

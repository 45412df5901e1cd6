"""What a task wrote: followed, searched, with or without times."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import Input, Label, Log, Static

from mobyshell.commands.output import clean
from mobyshell.core.clock import rfc3339
from mobyshell.core.tasks.service import LogLine

KEPT = 10_000
"""Lines that are kept for searching; the log file has them all."""


def render(line: LogLine, *, times: bool) -> str:
    """A line as text: control characters shown, not obeyed."""
    text = clean(line.data.decode(errors="replace").replace("\t", "    ").rstrip("\r"))
    mark = "! " if line.stream == "stderr" else "  "
    return (rfc3339(line.time_ns)[11:23] + " " if times else "") + mark + text


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
        yield Static("", classes="sentence hidden", markup=False)
        yield Log(id="log", max_lines=KEPT, highlight=False)
        yield Input(placeholder="search; enter keeps, esc clears", id="needle", classes="hidden")
        yield Label("", id="log-state", markup=False)

    def say(self, sentence: str) -> None:
        """Why there is nothing to read; "" where there is."""
        static = self.query_one(".sentence", Static)
        static.update(sentence)
        static.set_class(not sentence, "hidden")

    def clear(self) -> None:
        """Forget every line."""
        self.say("")
        self._lines.clear()
        self.query_one(Log).clear()
        self._tell()

    def add(self, lines: list[LogLine]) -> None:
        """Lines that were written just now."""
        self._lines.extend(lines)
        texts = [text for text in (render(one, times=self.times) for one in lines)
                 if self.needle.lower() in text.lower()]  # fmt: skip
        if texts:
            self.query_one(Log).write_lines(texts, scroll_end=self.following)
        self._tell()

    def _redraw(self) -> None:
        log = self.query_one(Log)
        log.clear()
        texts = [render(one, times=self.times) for one in self._lines]
        log.write_lines([text for text in texts if self.needle.lower() in text.lower()])
        self._tell()

    def _tell(self) -> None:
        shown = self.query_one(Log).line_count
        parts = [f"{len(self._lines)} lines"]
        if self.needle:
            parts.append(f"{shown} with {self.needle!r}")
        parts.append("following" if self.following else "not following")
        self.query_one("#log-state", Label).update(" · ".join(parts))

    def action_follow(self) -> None:
        """Keep the last line in sight, or stay where we are."""
        self.following = not self.following
        if self.following:
            self.query_one(Log).scroll_end(animate=False)
        self._tell()

    def action_times(self) -> None:
        """Show or hide when each line was written."""
        self.times = not self.times
        self._redraw()

    def action_search(self) -> None:
        """Show only lines that hold a text."""
        needle = self.query_one("#needle", Input)
        needle.remove_class("hidden")
        needle.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Search as you type."""
        event.stop()
        self.needle = event.value
        self._redraw()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the search, go back to the lines."""
        event.stop()
        event.input.set_class(not event.value, "hidden")
        self.query_one(Log).focus()

    def key_escape(self) -> None:
        """Clear the search."""
        needle = self.query_one("#needle", Input)
        if needle.has_class("hidden"):
            return
        needle.value = ""
        needle.add_class("hidden")
        self.query_one(Log).focus()

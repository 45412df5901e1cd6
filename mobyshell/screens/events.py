"""Events and metrics: what happens on the machine as it happens, and what its tasks use."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Vertical
from textual.message import Message

from mobyshell.core.network import files
from mobyshell.screens.base import MobyScreen, number_of
from mobyshell.screens.event_rows import command_lines, event_text, json_lines
from mobyshell.screens.event_stream import EventStream
from mobyshell.screens.metrics_pane import MetricsPane
from mobyshell.screens.session import said
from mobyshell.widgets.ask import Ask
from mobyshell.widgets.background import Failed, background
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.typed_ahead import TypedAhead

SAVING = "saving the events"


class EventsScreen(MobyScreen):
    """The stream above, the event under the cursor beside it, and metrics below. On 80 columns one of
    them at a time."""

    NAME = "events"
    NOUN = "events"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "metrics", "Metrics", id="events.metrics"),
        Binding("J", "jump", "To the task", show=False, id="events.jump"),
        Binding("s", "save", "Save", id="events.save"),
        Binding("y,enter", "details", "Explain", id="events.details"),
        Binding("x", "menu", "Actions", id="events.menu"),
        Binding("c", "copy", "Copy", show=False, id="events.copy"),
        Binding("escape", "back", "Back", show=False, id="events.back"),
    ]

    @dataclass
    class Saved(Message):
        """Events are in a file."""

        path: str
        count: int

    def body(self) -> ComposeResult:
        with Container(id="events-body"):
            with Vertical(id="happening"):
                yield EventStream(self.session, id="stream")
                yield RecordView(id="event")
            yield MetricsPane(self.session.meter, id="metrics")

    def on_mount(self) -> None:
        super().on_mount()
        self.stream.table.focus()

    @property
    def first_pane(self) -> TypedAhead:
        return self.stream.table

    def on_screen_resume(self) -> None:
        """Seen again."""
        self.stream.look(True)
        self.metrics.look(True)

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is measured. What happens is kept all the same."""
        self.stream.look(False)
        self.metrics.look(False)

    @property
    def stream(self) -> EventStream:
        """The events."""
        return self.query_one(EventStream)

    @property
    def metrics(self) -> MetricsPane:
        """What tasks use."""
        return self.query_one(MetricsPane)

    @property
    def subject(self) -> tuple[str, str] | None:
        """The task under the cursor, for the palette."""
        who = self._who()
        return ("task", who[1]) if who is not None else None

    # what happens

    @on(EventStream.Changed)
    @on(ResourceTable.Chosen, "#events")
    def follow(self) -> None:
        """All about the event under the cursor, and in the crumbs how things are."""
        chosen = self.stream.chosen
        self.query_one("#event", RecordView).say(event_text(chosen) if chosen is not None else "")
        stream = self.stream
        count = number_of(len(stream.table.shown), "event")
        narrowed = f"/{self.filter_text}" if self.filter_text and not stream.complaint else ""
        marks = f"{len(stream.table.marked)} marked" if stream.table.marked else ""
        wrong = f"✗ {stream.complaint}" if stream.complaint else ""
        self.crumb(count, stream.state, *(one for one in (narrowed, marks, wrong) if one))

    # the filter

    @property
    def filter_text(self) -> str:
        return self.stream.table.query_text

    def set_filter(self, text: str) -> None:
        self.stream.filter(text)

    # where the keyboard is

    @on(ResourceTable.RowSelected, "#events")
    def action_details(self) -> None:
        """Into the event."""
        self.remove_class("measuring")
        self.add_class("detailed")
        self.query_one("#event", RecordView).focus()

    def action_metrics(self) -> None:
        """To the metrics, and back."""
        if self.metrics.has_focus_within:
            self.action_back()
        else:
            self.remove_class("detailed")
            self.add_class("measuring")
            self.metrics.table.focus()

    def action_back(self) -> None:
        """To the stream; in it, out of its filter, and then no marks any more."""
        self.app.clear_notifications()
        elsewhere = self.metrics.has_focus_within or self.query_one("#event").has_focus_within
        if not (elsewhere or self.has_class("detailed", "measuring")):
            if self.filter_text:
                self.set_filter("")
            else:
                self.stream.table.unmark()
        self.remove_class("detailed", "measuring")
        self.stream.table.focus()

    # actions

    def _who(self) -> tuple[str, str] | None:
        if self.metrics.has_focus_within:
            return self.metrics.chosen
        event = self.stream.chosen
        if event is None or not event.topic.startswith(("/tasks/", "/runtime/")):
            return None
        return event.namespace, event.id

    @on(ResourceTable.RowSelected, "#meters")
    def action_jump(self) -> None:
        """To the task, on its own screen."""
        who = self._who()
        if who is None:
            self.notify("this event is not about a task", severity="warning")
        elif who[0] != self.session.context.namespace:
            self.notify(f"`namespace use {who[0]}` goes there", severity="warning", markup=False,
                        title=f"{who[1]} is in namespace {who[0]}")  # fmt: skip
        else:
            self.moby.show_task(who[1])

    def action_save(self) -> None:
        """The marked events, or all that are shown, as lines of JSON."""
        chosen = self.stream.subjects

        def answered(path: str | None) -> None:
            if path is not None:
                self._save(os.path.expanduser(path), json_lines(chosen), len(chosen))

        if chosen:
            default = f"events-{self.session.context.clock.now_ns() // 10**9}.jsonl"
            self.app.push_screen(
                Ask(f"Save {number_of(len(chosen), 'event')} to", default), answered
            )
        else:
            self.notify("no event is shown: there is nothing to save", severity="warning")

    @background(SAVING)
    def _save(self, path: str, data: bytes, count: int) -> Message:
        files.write(os.path.abspath(path), data, new=True, lasting=True)
        return self.Saved(path, count)

    @on(Saved)
    def saved(self, event: Saved) -> None:
        """It is on the disk."""
        self.notify(f"{number_of(event.count, 'event')} in {Path(event.path)}", markup=False)

    @on(Failed)
    def failed(self, event: Failed) -> None:
        """Why it is not."""
        event.stop()
        self.notify(said(self.app, event), title=event.what, severity="error", markup=False)

    def action_copy(self) -> None:
        """The command that shows the same, here or with containerd's tool; or the event."""
        lines = command_lines(self.filter_text, self.stream.chosen)

        def chosen(which: str | None) -> None:
            if which is not None:
                line = dict(lines)[which]
                self.app.copy_to_clipboard(line)
                self.notify(f"copied: {line}"[:200], markup=False)

        self.app.push_screen(Choose("Copy", [(one, f"{one:9} {line[:44]}") for one, line in lines]),
                             chosen)  # fmt: skip

    def action_menu(self) -> None:
        """What can be done here."""
        options = [
            ("stream.pause", "p  hold back what comes, or show it"),
            ("stream.follow", "f  keep the newest in sight, or not"),
            ("stream.calls", "t  kernel calls too, or not"),
            ("save", "s  save what is marked, or all, as lines of JSON"),
            ("copy", "c  copy the command that shows the same, or the event"),
            ("jump", "J  to the task"), ("metrics", "m  what tasks use"),
        ]  # fmt: skip

        def picked(action: str | None) -> None:
            if action is not None:
                place, _, name = action.rpartition(".")
                getattr(self.stream if place else self, f"action_{name}")()

        self.app.push_screen(Choose("Events", options), picked)

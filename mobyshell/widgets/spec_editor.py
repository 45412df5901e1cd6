"""An editor for config.json: highlighted, checked as you type, saved at once or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Label, OptionList, TextArea
from textual.widgets.option_list import Option

from mobyshell.core.errors import InvalidSpec, MobyshellError, Refused, SyscallFailed
from mobyshell.core.oci import Problem, Spec, check, parse_spec
from mobyshell.core.oci.safejson import LARGEST, read_json
from mobyshell.widgets.background import background
from mobyshell.widgets.positions import offset_of, path_at, place_of

PAUSE = 0.2
"""Seconds without typing after which the text is checked."""


def examine(text: str) -> tuple[Spec | None, list[Problem]]:
    """The spec in `text`, or what is wrong with it."""
    try:
        problems = check(read_json(text))
        return (None, problems) if problems else (parse_spec(text), [])
    except InvalidSpec as error:
        return None, [Problem("", error.message, error.hint or "a config.json", "config.md")]


def save(path: str, text: str) -> None:
    """Write `path` by rename, so that no reader and no crash sees half of it."""
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.rename(temporary, path)
    except OSError as error:
        raise SyscallFailed.of(error, "saving", path=path) from None


class SpecEditor(Vertical):
    """The text, and below it what is wrong with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="editor.save", priority=True),
        Binding("f8", "next_problem", "Next problem", id="editor.next-problem"),
        # before the text sees it: there it would only move the focus on
        Binding("escape", "leave", "Back", show=False, id="editor.leave", priority=True),
    ]

    @dataclass
    class Left(Message):
        """The person wants out of the text."""

    @dataclass
    class Checked(Message):
        """The text was checked; `spec` is None while it is not valid."""

        spec: Spec | None
        problems: list[Problem]

    @dataclass
    class Moved(Message):
        """The cursor is in another value of the document."""

        path: str

    def __init__(self, *, readonly: bool = False, **more: Any) -> None:
        super().__init__(**more)
        self.path = ""
        self.readonly = readonly
        self._saved = ""
        self._timer: Timer | None = None
        self._problems: list[Problem] = []
        self._last_path = ""

    def compose(self) -> ComposeResult:
        yield Label("no bundle", id="editor-title", markup=False)
        yield TextArea.code_editor("", language="json", id="text", read_only=True, tab_behavior="indent",
                                   soft_wrap=False, theme="vscode_dark")  # fmt: skip
        yield OptionList(id="problems", classes="hidden", markup=False)

    @property
    def area(self) -> TextArea:
        return self.query_one("#text", TextArea)

    @property
    def dirty(self) -> bool:
        """Whether there is something to save."""
        return bool(self.path) and self.area.text != self._saved

    def load(self, directory: str) -> None:
        """Show the config.json of a bundle. NotFound, InvalidSpec if it cannot be read."""
        path = os.path.join(directory, "config.json")
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                text = file.read(LARGEST)
        except OSError as error:
            raise SyscallFailed.of(error, "open", path=path) from None
        self.path, self._saved = path, text
        self.area.read_only = self.readonly
        self.area.load_text(text)
        self._title()
        self._check()

    def _title(self) -> None:
        name = os.path.basename(os.path.dirname(self.path))
        state = " ● not saved (ctrl+s)" if self.dirty else ""
        wrong = f" · {len(self._problems)} problems" if self._problems else " · valid"
        self.query_one("#editor-title", Label).update(f"{name}/config.json{wrong}{state}")

    @on(TextArea.Changed)
    def changed(self, event: TextArea.Changed) -> None:
        """Check a moment after the last key."""
        event.stop()
        if not self.path:
            return
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._check)
        self._title()

    @on(TextArea.SelectionChanged)
    def moved(self, event: TextArea.SelectionChanged) -> None:
        """Tell in which value the cursor is."""
        event.stop()
        if not self.path or not self.area.has_focus:
            return
        path = path_at(self.area.text, offset_of(self.area.text, *event.selection.end))
        if path != self._last_path:
            self._last_path = path
            self.post_message(self.Moved(path))

    def _check(self) -> None:
        self._examine(self.area.text)

    @background("checking the text")
    def _examine(self, text: str) -> Message:
        return self._Examined(text, *examine(text))

    @dataclass
    class _Examined(Message):
        text: str
        spec: Spec | None
        problems: list[Problem]

    @on(_Examined)
    def examined(self, event: _Examined) -> None:
        """Show what is wrong, unless the text has changed again."""
        event.stop()
        if event.text != self.area.text:
            return
        self._problems = event.problems
        found = self.query_one("#problems", OptionList)
        found.clear_options()
        found.add_options(Option(f"✗ {one}") for one in event.problems)
        found.set_class(not event.problems, "hidden")
        self._title()
        self.post_message(self.Checked(event.spec, event.problems))

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        """Go to the problem."""
        event.stop()
        self.go_to(self._problems[event.option_index].path)

    def go_to(self, path: str) -> None:
        """Put the cursor on the value at `path`."""
        place = place_of(self.area.text, path)
        if place is not None:
            self.area.focus()
            self.area.move_cursor(place, center=True)

    def action_next_problem(self) -> None:
        """Go to the first problem after the cursor, or to the first of all."""
        places = [place_of(self.area.text, one.path) or (0, 0) for one in self._problems]
        after = [place for place in places if place > self.area.cursor_location]
        if places:
            self.area.focus()
            self.area.move_cursor(min(after or places), center=True)

    def action_leave(self) -> None:
        """Out of the text."""
        self.post_message(self.Left())

    def action_save(self) -> None:
        """Write the text to its file."""
        if not self.path:
            return
        try:
            if self.readonly:
                raise Refused("not saved: this is read-only")
            save(self.path, self.area.text)
        except MobyshellError as error:
            self.notify(error.hint or "", title=error.message, severity="error")
            return
        self._saved = self.area.text
        self._title()
        self.notify(self.path, title="saved")

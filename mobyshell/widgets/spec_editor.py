"""An editor for config.json: highlighted, checked as you type, saved at once or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.message import Message
from textual.theme import Theme
from textual.timer import Timer
from textual.widgets import Label, OptionList, TextArea
from textual.widgets.option_list import Option

from mobyshell.commands.output import clean
from mobyshell.core.errors import MobyshellError, Refused
from mobyshell.core.oci import Problem, Spec
from mobyshell.styles.syntax import syntax_theme
from mobyshell.widgets import text_file
from mobyshell.widgets.background import background
from mobyshell.widgets.spec_check import NOTHING, Examination, examine

PAUSE = 0.2
"""Seconds without typing after which the text is checked."""

LOOK = 2.0
"""Seconds between two looks whether somebody else has changed the file."""

COLOURED = 200_000
"""Characters up to which the text is highlighted: each key costs more the longer it is."""

ENDLESS = 100_000
"""Characters of a line that is not edited here: each key would take a good part of a second."""


class SpecEditor(Vertical):
    """The text, and below it what is wrong with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s", "save", "Save", id="editor.save", priority=True),
        Binding("ctrl+o", "reload", "Read again", show=False, id="editor.reload", priority=True),
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

    @dataclass
    class Examined(Message):
        """In which the thread tells what it found."""

        examination: Examination

    @dataclass
    class Saved(Message):
        """The text is in its file."""

        text: str
        stamp: text_file.Stamp

    def __init__(self, *, readonly: Callable[[], bool] = lambda: False, **more: Any) -> None:
        super().__init__(**more)
        self.path = ""
        self.dirty = False
        """Whether there is something to save."""
        self._readonly = readonly
        self._saved, self._stamp = "", text_file.NO_FILE
        self._foreign = text_file.NO_FILE
        self._timer: Timer | None = None
        self._known = NOTHING
        self._fresh = self._endless = False
        self._last_path = ""

    def compose(self) -> ComposeResult:
        yield Label("no bundle", id="editor-title", markup=False)
        yield TextArea.code_editor("", language="json", id="text", read_only=True, theme="css",
                                   tab_behavior="indent", soft_wrap=False)  # fmt: skip
        yield OptionList(id="problems", classes="hidden", markup=False)

    def on_mount(self) -> None:
        self.set_interval(LOOK, self.look_at_file)
        self._colour(self.app.current_theme)
        self.app.theme_changed_signal.subscribe(self, self._colour)

    def _colour(self, theme: Theme) -> None:
        """The text takes the colours of the theme."""
        self.area.register_theme(syntax_theme(self.app.theme_variables))
        self.area.theme = "css"  # another first: the name alone would change nothing
        self.area.theme = "moby"

    @property
    def area(self) -> TextArea:
        """The text itself."""
        return self.query_one("#text", TextArea)

    # the file

    def load(self, directory: str) -> None:
        """Show the config.json of a bundle. SyscallFailed, InvalidSpec if it cannot be read: then
        the editor is empty, and says so."""
        path = os.path.join(directory, "config.json")
        try:
            text, stamp = text_file.read(path)
        except MobyshellError as error:
            self.close(f"{os.path.basename(directory)}/config.json · {error.message}")
            raise
        self.path, self._saved, self._stamp = path, text, stamp
        self._foreign = text_file.NO_FILE
        self.dirty = False
        # colours cost more with each line of the text
        self.area.language = "json" if len(text) <= COLOURED else None
        self._endless = max(map(len, text.split("\n"))) > ENDLESS
        self.area.load_text(text)
        self.apply_readonly()
        self._check()

    def close(self, title: str = "no bundle") -> None:
        """Show nothing."""
        self.path, self.dirty = "", False
        self._known = NOTHING
        self.area.load_text("")
        self.area.read_only = True
        self._list_problems()
        self.query_one("#editor-title", Label).update(clean(title))

    def apply_readonly(self) -> None:
        """Read-only mode was turned on or off."""
        self.area.read_only = self._readonly() or not self.path or self._endless
        self._title()

    def look_at_file(self) -> None:
        """Has somebody else changed the file? Then it is read again, unless there is text to lose."""
        if not self.path or not self.screen.is_current:
            return
        now = text_file.stamp(self.path)
        if now in (self._stamp, self._foreign):
            return
        self._foreign = now
        if self.dirty or now == text_file.NO_FILE:
            self.notify(
                "ctrl+s overwrites it, ctrl+o reads it and drops your change"
                if now != text_file.NO_FILE else "ctrl+s writes it again",
                title=f"{self._short_path}: changed by another", severity="warning", markup=False,
            )  # fmt: skip
            self._title()
        else:
            self.action_reload()

    def action_reload(self) -> None:
        """Read the file again; what was typed can be had back by undoing."""
        if not self.path:
            return
        try:
            text, self._stamp = text_file.read(self.path)
        except MobyshellError as error:
            self.notify(error.hint, title=error.message, severity="error", markup=False)
            return
        self._foreign = text_file.NO_FILE
        self._saved, self.dirty = text, False
        if text != self.area.text:
            place = self.area.cursor_location
            # an edit, not a new document: so it can be undone
            self.area.replace(text, (0, 0), self.area.document.end, maintain_selection_offset=False)
            self.area.move_cursor(place)
        self._check()

    def action_save(self) -> None:
        """Write the text to its file."""
        if not self.path:
            return
        if self._readonly():
            error = Refused("not saved: this is read-only", hint="ctrl+r allows changes again")
            self.notify(error.hint, title=error.message, severity="error", markup=False)
            return
        now = text_file.stamp(self.path)
        if now not in (self._stamp, self._foreign, text_file.NO_FILE):
            self.look_at_file()  # says it; the second ctrl+s means it
            return
        self._write(self.path, self.area.text)

    @background("saving")
    def _write(self, path: str, text: str) -> Message:
        return self.Saved(text, text_file.save(path, text))

    @on(Saved)
    def saved(self, event: Saved) -> None:
        """It is there; more may have been typed meanwhile. Whoever shows the file will want to know."""
        self._saved, self._stamp, self._foreign = event.text, event.stamp, text_file.NO_FILE
        self.dirty = self.area.text != event.text
        self._title()
        self.notify(self.path, title="saved", markup=False)

    # the checks

    @on(TextArea.Changed)
    def changed(self, event: TextArea.Changed) -> None:
        """Check a moment after the last key."""
        event.stop()
        self._fresh = False
        if not self.path:
            return
        if not self.dirty:
            # until the check knows better: comparing long texts at each key would be felt
            self.dirty = True
            self._title()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(PAUSE, self._check)

    def _check(self) -> None:
        if self.path:
            self._examine(self.area.text)

    @background("checking the text")
    def _examine(self, text: str) -> Message:
        return self.Examined(examine(text))

    @on(Examined)
    def examined(self, event: Examined) -> None:
        """Show what is wrong, unless the text has changed again."""
        event.stop()
        known = event.examination
        if not self.path or known.text != self.area.text:
            return
        self.dirty = known.text != self._saved
        self._known, self._fresh = known, True
        self._list_problems()
        self._title()
        self.post_message(self.Checked(known.spec, list(known.problems)))
        self._tell_place()

    def _list_problems(self) -> None:
        found = self.query_one("#problems", OptionList)
        found.clear_options()
        found.add_options(Option(one) for one in self._known.lines)
        found.set_class(not self._known.found, "hidden")

    def _title(self) -> None:
        if not self.path:
            return
        found = ["● not saved"] if self.dirty else []
        if self._foreign != text_file.NO_FILE:
            found.append("changed by another")
        if self._endless:
            found.append("an endless line: E opens it in your editor")
        elif self.area.read_only:
            found.append("read-only")
        found += self._known.verdict(brief=self.dirty)  # the pane is narrow
        self.query_one("#editor-title", Label).update(
            clean(f"{self._short_path} · {' · '.join(found)}")
        )

    @property
    def _short_path(self) -> str:
        """Which file, as short as a narrow pane wants it."""
        return f"{os.path.basename(os.path.dirname(self.path))}/config.json"

    # moving about

    @on(TextArea.SelectionChanged)
    def moved(self, event: TextArea.SelectionChanged) -> None:
        """The cursor is elsewhere."""
        event.stop()
        self._tell_place()

    def _tell_place(self) -> None:
        """Tell in which value the cursor is, if the text is still the one that was checked."""
        if not self._fresh or not self.area.has_focus:
            return
        path = self._known.places.path_at(*self.area.cursor_location)
        if path != self._last_path:
            self._last_path = path
            self.post_message(self.Moved(path))

    @on(OptionList.OptionSelected)
    def chosen(self, event: OptionList.OptionSelected) -> None:
        """Go to the problem."""
        event.stop()
        self.go_to(self._known.found[event.option_index].path)

    def go_to(self, path: str) -> None:
        """Put the cursor on the value at `path`."""
        place = self._known.places.place_of(path)
        if place is not None:
            self.area.focus()
            self.area.move_cursor(place, center=True)

    def action_next_problem(self) -> None:
        """Go to the first problem after the cursor, or to the first of all; then to warnings."""
        place = self._known.next_place(self.area.cursor_location)
        if place is not None:
            self.area.focus()
            self.area.move_cursor(place, center=True)

    def action_leave(self) -> None:
        """Out of the text."""
        self.post_message(self.Left())

"""What screens of a list have in common: the list, all about one of it, and the verbs for both.

A screen is made in five steps:

1.  A seam: a Protocol that answers frozen values (`moby/survey.Images`), given to `Session`. Tests
    put one in memory in its place.
2.  A `ResourceSpec` and a pure function from values to rows (`image_rows`).
3.  A `LiveList` that says what it reads, and after which events (`image_list`, 25 lines).
4.  A details pane (`Details`): what it shows of the one under the cursor is read in a thread, when
    it is looked at (`image_details`).
5.  A `ListScreen` of both, with `list_bindings(NOUN, …)` for its keys; a line in `places.PLACES`,
    and `<name>.tcss` beside it if it needs more than `list.tcss`.

Filter, sort order, marks, the menu of verbs, plans and questions before what changes something,
reading again, the crumbs, and one pane at a time on 80 columns come with it. A verb is declared
once in the verb table, with its key; `verb_<name>` is only for one that wants more than its subject.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import ClassVar, Generic, Protocol, TypeVar, cast

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from mobyshell.commands.registry import Verb, find, verbs_of
from mobyshell.screens.base import MobyScreen, number_of
from mobyshell.screens.live_list import LiveList
from mobyshell.screens.verb_keys import verb_bindings
from mobyshell.widgets.confirm import Choose
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.tabs import Filterable
from mobyshell.widgets.typed_ahead import TypedAhead

ON_ROW = frozenset(("run", "explain", "menu", "copy", "exec_tab", "kept", "tab", "task"))
"""Actions of screens, other than verbs, that are about what is under the cursor."""

Info = TypeVar("Info")
Shown = TypeVar("Shown", contravariant=True)


class Details(Protocol[Shown]):
    """All about one thing of the list."""

    def show(self, info: Shown | None) -> None:
        """Another one, or news of the same; None if there is none."""

    def enter(self) -> None:
        """Take the keyboard."""

    @property
    def filterable(self) -> Filterable | None:
        """What in it has the keyboard and can be narrowed by a filter."""


def list_bindings(noun: str, *more: Binding, shown: Collection[str]) -> list[Binding]:
    """The keys of the verbs of `noun`, `shown` ones in the footer, `more`, and those of every list."""
    return [
        *verb_bindings(noun, shown=shown),
        *more,
        Binding("enter", "details", "Details", show=False, id=f"{noun}.details"),
        Binding("x", "menu", "Actions", id=f"{noun}.menu"),
        Binding("c", "copy", "Copy the name", show=False, id=f"{noun}.copy"),
        Binding("escape", "back", "Back", show=False, id=f"{noun}.back"),
    ]


class ListScreen(MobyScreen, Generic[Info]):
    """A list and its details; see the module."""

    ASKED: ClassVar[Collection[str]] = ()
    """Verbs of which more than the subject is to be said, though they could do without."""

    MAKES: ClassVar[Collection[str]] = ()
    """Verbs whose outcome is one more in the list."""

    _count = _wanted = ""
    _within: Filterable | None = None
    """What the filter that is asked for is of, if not of the list."""

    def make_list(self) -> LiveList[Info]:
        """A new list, with the id `list`."""
        raise NotImplementedError

    def make_details(self) -> Widget:
        """A new details pane (`Details`), with the id `details`."""
        raise NotImplementedError

    def count(self, infos: Sequence[Info]) -> str:
        """How many there are, for the crumbs."""
        return number_of(len(infos), self.NOUN)

    def called(self, info: Info) -> str:
        """What a person calls one, where it is more than its key."""
        return self.table.chosen or ""

    def way_in(self, info: Info) -> list[str]:
        """What is looked at in the details, for the crumbs."""
        return [self.called(info)]

    def body(self) -> ComposeResult:
        with Container(id="list-body"):
            yield self.make_list()
            yield self.make_details()

    def on_mount(self) -> None:
        super().on_mount()
        self.table.needs_row = self.needs_row
        self.table.focus()
        if self._wanted:
            self.choose(self._wanted)

    def on_screen_resume(self) -> None:
        """Seen again: what happened meanwhile?"""
        self.live_list.look(True)

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is read."""
        self.live_list.look(False)

    def needs_row(self, binding: Binding) -> bool:
        """Whether a key of the screen is about what is under the cursor, and nothing without it."""
        action, _, names = binding.action.partition("(")
        if action != "verb":
            return action in ON_ROW
        known = verbs_of(self.NOUN)
        return any(one.kind == self.NOUN and one.required for name in names.strip("')").split()
                   for one in known[name].positional)  # fmt: skip

    @property
    def live_list(self) -> LiveList[Info]:
        """The list."""
        return self.query_one("#list", LiveList)

    @property
    def table(self) -> ResourceTable:
        """The table in it."""
        return self.live_list.table

    @property
    def first_pane(self) -> TypedAhead:
        return self.table

    @property
    def pane(self) -> Details[Info]:
        """All about one."""
        return cast("Details[Info]", self.query_one("#details"))

    @property
    def subjects(self) -> list[str]:
        return self.table.subjects

    @property
    def subject(self) -> tuple[str, str] | None:
        return (self.NOUN, self.table.chosen) if self.table.chosen else None

    def choose(self, key: str) -> None:
        """Put the cursor on one, as soon as it is there; and the screen, if it is gone to just now."""
        self._wanted = "" if self.query("#list") else key
        if not self._wanted:
            self.live_list.choose(key)

    def reread(self) -> None:
        self.live_list.refresh_list()

    def makes(self, verb: str) -> Callable[[], object] | None:
        known = self.live_list.known if verb in self.MAKES else None
        return partial(self.live_list.choose_new, known) if known is not None else None

    def action_filter(self) -> None:
        """Ask for a filter: of the list, or of what has the keyboard in the details."""
        self._within = self.pane.filterable
        super().action_filter()

    @property
    def filter_text(self) -> str:
        return (self._within or self.table).query_text

    def set_filter(self, text: str) -> None:
        (self._within or self.live_list).filter(text)
        self.follow()
        if self._within is not None:
            self.call_after_refresh(self._keep_keyboard)

    def _keep_keyboard(self) -> None:
        """What had it is hidden by now, if nothing in it matches."""
        if self.focused is None:
            self.pane.enter()

    # what happens

    @on(LiveList.Changed)
    def listed(self, event: LiveList.Changed) -> None:
        """News of them."""
        self._count = self.count(event.infos)
        self.follow()

    @on(ResourceTable.Chosen, "#list ResourceTable")
    def follow(self) -> None:
        """All about the one under the cursor; in the crumbs how many there are, and who is looked at."""
        chosen = self.live_list.chosen
        self.pane.show(chosen)
        inside = chosen is not None and self.has_class("detailed")
        self.crumb(self._count, *self._narrowed(),
                   *(self.way_in(chosen) if inside and chosen is not None else []),
                   *(self._narrowed_within() if inside else []))  # fmt: skip

    def _narrowed(self) -> list[str]:
        """What is not as a person expects a list to be: a filter, and marks."""
        table, said = self.table, []
        if table.query_text:
            said.append(f"/{table.query_text}: {len(table.shown)}")
        if table.marked:
            said.append(f"{len(table.marked)} marked")
        return said

    def _narrowed_within(self) -> list[str]:
        within = self.pane.filterable or self._within
        return [f"/{within.query_text}"] if within is not None and within.query_text else []

    @on(ResourceTable.RowSelected, "#list ResourceTable")
    def action_details(self) -> None:
        """Into the details."""
        self.add_class("detailed")
        self.follow()
        self.pane.enter()

    def action_back(self) -> None:
        """Out of the filter of what has the keyboard in the details, or else one step back. What was
        told is read by then."""
        self.app.clear_notifications()
        within = self.pane.filterable
        if within is not None and within.query_text:
            within.filter("")
            self.follow()
        else:
            self.back()

    def back(self) -> None:
        """Out of the details; in the list, out of its filter, and then no marks any more."""
        if self.table.has_focus and not self.has_class("detailed"):
            self._within = None
            if self.table.query_text:
                self.set_filter("")
            else:
                self.table.unmark()
        self.remove_class("detailed")
        self.follow()
        self.table.focus()

    # the menu

    def wants_more(self, one: Verb) -> bool:
        """Whether more than the subject must be said."""
        return one.verb in self.ASKED or one.line_to_finish is not None

    def action_menu(self) -> None:
        """Every verb for what is under the cursor; what wants more is asked for it."""
        chosen = self.live_list.chosen
        if chosen is None:
            return
        fitting = {one.verb: one for one in verbs_of(self.NOUN).values()
                   if any(p.kind == self.NOUN for p in one.positional) and self.fits(one.verb)}  # fmt: skip

        def picked(verb: str | None) -> None:
            if verb is None:
                return
            if not fitting[verb].key and self.wants_more(fitting[verb]):
                self.ask_more(verb)
            else:
                self.action_verb(verb)

        wide = max(map(len, fitting), default=0)
        options = [
            (verb, f"{verb:{wide}}  {one.key:2} {one.summary}") for verb, one in fitting.items()
        ]
        marked = self.table.subjects if self.table.marked else []
        title = (f"{len(marked)} marked {self.NOUN}s" if len(marked) > 1 else
                 f"{self.called(self.live_list.infos[marked[0]])}, marked" if marked else
                 self.called(chosen))  # fmt: skip
        self.app.push_screen(Choose(title, options), picked)

    def ask_more(self, verb: str) -> None:
        """Ask by the `:` line for what a verb wants beside its subject."""
        chosen = self.live_list.chosen
        if chosen is not None:
            rest = find(self.NOUN, verb).line_to_finish or ""
            self.ask(f"{self.NOUN} {verb} {shlex.quote(self.called(chosen))} {rest}")

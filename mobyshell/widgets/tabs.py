"""What has tabs: which is looked at, and where the keyboard goes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from textual.binding import Binding
from textual.containers import Container
from textual.timer import Timer
from textual.widgets import TabbedContent, TabPane, Tabs
from textual.widgets._tabs import Underline

from mobyshell.widgets.listing import Listing
from mobyshell.widgets.record_view import RecordView

_LAID_OUT = 0.1
"""Seconds until a pane that has changed its size is laid out."""
PAUSE = 0.15
"""Seconds the cursor must rest on something before it is read."""


def tab_bindings(name: str) -> list[Binding]:
    """The keys that go round the tabs, called `NAME.next` and `NAME.previous`."""
    return [
        Binding("tab", "next_tab", "Next tab", show=False, id=f"{name}.next"),
        Binding("shift+tab", "next_tab(-1)", "Previous tab", show=False, id=f"{name}.previous"),
    ]


class Filterable(Protocol):
    """What shows only a part of itself, if it is asked to."""

    query_text: str
    """The filter in force; "": none."""

    def filter(self, query: str) -> None:
        """Show only what matches."""


class Tabbed(Container):
    """Contains one TabbedContent, about what the cursor of a list is on."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self._rest: Timer | None = None

    def on_resize(self) -> None:
        """The line under the active tab goes where that is now: Tabs looks for it too early, where it
        was not seen before, and leaves it out."""
        self.set_timer(_LAID_OUT, self._underline)

    def _underline(self) -> None:
        for tabs in self.query(Tabs):
            active = tabs.active_tab
            if active is not None and active.size:
                line = tabs.query_one(Underline)
                place = active.virtual_region.shrink(active.styles.gutter).column_span
                line.highlight_start, line.highlight_end = place

    def soon(self, what: Callable[[], object]) -> None:
        """Do this once the cursor rests."""
        if self._rest is not None:
            self._rest.stop()
        self._rest = self.set_timer(PAUSE, what)

    @property
    def tab(self) -> str:
        """The tab that is looked at."""
        return self.query_one(TabbedContent).active

    @tab.setter
    def tab(self, name: str) -> None:
        tabs = self.query_one(TabbedContent)
        going = tabs.active_pane
        if going is not None and name != tabs.active and going.has_focus_within:
            # else the focus finds another place in what is hidden, and that is shown again for it
            self.screen.set_focus(None)
        tabs.active = name

    def turn(self, step: int) -> None:
        """Go round the tabs."""
        tabs = self.query_one(TabbedContent)
        names = [str(one.id) for one in tabs.query(TabPane)]
        self.tab = names[(names.index(tabs.active) + step) % len(names)]

    def from_the_top(self) -> None:
        """It is about another thing: nobody begins in the middle of a text."""
        for one in self.query(RecordView):
            one.scroll_home(animate=False)

    @property
    def filterable(self) -> Filterable | None:
        """What in it has the keyboard and can be narrowed by a filter."""
        focused = self.screen.focused
        for one in focused.ancestors_with_self if focused is not None else ():
            if one is self:
                break
            if isinstance(one, Listing) and self in one.ancestors:
                return one.table
        return None

    def focus_content(self) -> None:
        """Give the keyboard to what the tab shows."""
        pane = self.query_one(TabbedContent).active_pane
        for one in pane.query("*") if pane is not None else ():
            if one.focusable and one.display:
                one.focus()
                return

    def enter(self) -> None:
        """Give the keyboard to what the tab shows."""
        self.focus_content()

    def action_next_tab(self, step: int = 1) -> None:
        """Round the tabs."""
        self.turn(step)
        self.focus_content()

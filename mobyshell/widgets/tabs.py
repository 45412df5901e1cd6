"""What has tabs: which is looked at, and where the keyboard goes with it."""

from __future__ import annotations

from textual.containers import Container
from textual.widgets import TabbedContent, TabPane


class Tabbed(Container):
    """Contains one TabbedContent."""

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

    def focus_content(self) -> None:
        """Give the keyboard to what the tab shows."""
        pane = self.query_one(TabbedContent).active_pane
        for one in pane.query("*") if pane is not None else ():
            if one.focusable and one.display:
                one.focus()
                return

"""Where the workbench can go: a line a screen, and all that is made of it.

From this table come the F-keys, the letters after `g`, the words of the `:` line, the modes of the
app and the files of styles. A screen is imported when it is first gone to.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from textual.binding import Binding
from textual.screen import Screen

if TYPE_CHECKING:
    from mobyshell.screens.session import Session


@dataclass(frozen=True, slots=True)
class Place:
    """A screen: its `name`, the `letter` after `g`, its F-`key` ("" if it has none), and
    `module:class`. `shown`: the footer names its key."""

    name: str
    letter: str
    key: str
    screen: str
    shown: bool = False

    def make(self, session: Session) -> Screen[Any]:
        """The screen itself."""
        module, _, name = self.screen.partition(":")
        made: Screen[Any] = getattr(import_module(f"mobyshell.screens.{module}"), name)(session)
        return made


PLACES = (
    Place("bundles", "b", "f1", "bundles:BundlesScreen", shown=True),
    Place("tasks", "t", "f2", "tasks:TasksScreen", shown=True),
    Place("images", "i", "f3", "images:ImagesScreen", shown=True),
    Place("snapshots", "s", "f4", "snapshots:SnapshotsScreen"),
    Place("namespaces", "n", "f5", "tenants:TenantsScreen"),
    Place("networks", "w", "f6", "networks:NetworksScreen"),
    Place("events", "e", "f7", "events:EventsScreen"),
    Place("kernel", "k", "", "kernel:KernelScreen"),  # the other view of namespaces
)
"""Every screen, in the order of the F-keys."""

LETTERS = {one.letter: one.name for one in PLACES}
"""Letters after `g`, and the screens they lead to."""


def place_bindings() -> list[Binding]:
    """A key a screen."""
    return [
        Binding(one.key, f"go('{one.name}')", one.name.capitalize(), show=one.shown,
                id=f"go.{one.name}")
        for one in PLACES if one.key
    ]  # fmt: skip


def modes(session: Session) -> dict[str, Callable[[], Screen[Any]]]:
    """The app's modes: how each screen is made."""
    return {one.name: partial(one.make, session) for one in PLACES}


def styles() -> list[str | PurePath]:
    """The styles of the screens that have some of their own, beside them."""
    here = os.path.dirname(__file__)
    names = [f"{one.name}.tcss" for one in PLACES]
    return [name for name in names if os.path.exists(os.path.join(here, name))]

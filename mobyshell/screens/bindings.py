"""Every key of the workbench: which action it is for, and who answers it.

The one way to know them all: for keymap.toml, whose names they are, and for the test that presses
each of them.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module

from textual.app import App
from textual.binding import Binding
from textual.dom import DOMNode

PACKAGES = ("mobyshell.screens", "mobyshell.widgets")


def bindings_of(kind: type[DOMNode]) -> Iterator[Binding]:
    """The bindings that a class itself declares."""
    for one in kind.__dict__.get("BINDINGS", ()):
        yield from Binding.make_bindings([one])


def classes() -> Iterator[type[DOMNode]]:
    """Every class of the workbench that answers keys."""
    for name in PACKAGES:
        package = import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            found = vars(import_module(module.name)).values()
            for kind in found:
                if (
                    inspect.isclass(kind) and issubclass(kind, DOMNode)
                    and kind.__module__ == module.name and "BINDINGS" in kind.__dict__
                ):  # fmt: skip
                    yield kind


def actions() -> frozenset[str]:
    """The ids of all bindings: what keymap.toml can give keys to."""
    ours = {one.id for kind in classes() for one in bindings_of(kind)}
    return frozenset(id for id in ours | {one.id for one in bindings_of(App)} if id)

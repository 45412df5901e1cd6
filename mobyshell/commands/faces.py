"""The way up: the two full faces are above this floor, and found by name when they are asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mobyshell.commands.context import Context

if TYPE_CHECKING:
    from mobyshell.commands.cli import Options


def tui(options: Options) -> int:
    """Open the workbench."""
    code: int = import_module("mobyshell.screens.app").run(Context.of(options))
    return code


def repl(words: list[str], options: Options) -> int:
    """Open the REPL, or run lines or a file in it."""
    context = Context.of(options)
    try:
        code: int = import_module("mobyshell.repl.main").run(context, words, options)
        return code
    finally:
        context.close()

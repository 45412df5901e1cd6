"""Where the workbench writes down what went wrong in itself: the screen has no room for it."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

from mobyshell.core.clock import Clock, rfc3339

LARGEST = 1 << 20
"""Bytes; a journal that has grown past it is kept as `.1`, and a new one begun."""


def journal_path() -> Path:
    """`$XDG_STATE_HOME/mobyshell/workbench.log`."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "mobyshell" / "workbench.log"


def write_down(clock: Clock, what: str, error: BaseException) -> Path | None:
    """Append a traceback, and return where; None where nothing can be written."""
    path = journal_path()
    text = "".join(traceback.format_exception(error))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > LARGEST:
            path.rename(path.with_suffix(".log.1"))
        with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{rfc3339(clock.now_ns())} {what}\n{text}\n")
    except OSError:
        return None
    return path

"""list: the containers of a root, whatever lies there."""

from __future__ import annotations

import os
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.values import Status


def list_states(root: Path) -> list[tuple[states.State, Status]]:
    """Every container with its status, by id. What is half made, foreign or damaged is passed over."""
    try:
        names = sorted(os.listdir(root))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = []
    for name in names:
        try:
            state = states.read(root, name)
            found.append((state, states.status(root, state)))
        except (MobyshellError, OSError):
            continue
    return found

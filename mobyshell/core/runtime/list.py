"""list: the containers of a root, whatever lies there."""

from __future__ import annotations

import os
from pathlib import Path

from mobyshell.core.errors import MobyshellError
from mobyshell.core.runtime import directories
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.values import Status


def list_states(root: Path) -> list[tuple[states.State, Status]]:
    """Every container with its status, by id. What is foreign or damaged is passed over.

    What a killed creator left half made was never a container: it is cleared away.
    """
    try:
        names = sorted(os.listdir(root))
    except OSError:
        return []
    found = []
    for name in names:
        path = root / name
        try:
            state = states.read(root, name)
            status = states.status(root, state)
        except (MobyshellError, OSError):
            if not name.startswith("."):
                directories.clear_abandoned(path)
            continue
        if status is not Status.STOPPED or not directories.clear_abandoned(path):
            found.append((state, status))
    return found

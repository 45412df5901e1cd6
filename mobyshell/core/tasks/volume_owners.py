"""Volumes whose files belong to several: of a user without root, those of the ids that the user has in
/etc/subuid. Owns what has to be known of them from outside of their user namespace.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError

if TYPE_CHECKING:
    from collections.abc import Callable


def is_empty(path: str) -> bool:
    """Whether a volume has nothing in it. One that is closed to us has had an owner: it is not."""
    try:
        return not os.listdir(path)
    except PermissionError:
        return False


def eraser(root: str) -> Callable[[str], None] | None:
    """What removes a tree of files that are not the caller's, who is not root, in the store at `root`;
    root needs nobody for that."""
    if os.geteuid() == 0:
        return None

    def erase(path: str) -> None:
        from mobyshell.core.store import owners
        from mobyshell.core.store.root import StoreRoot
        from mobyshell.core.store.snapshots.inside import Inside

        with suppress(OSError, MobyshellError):  # it stays, and is tried again
            Inside(owners.of_store(StoreRoot(Path(root))).enter).remove(Path(path))

    return erase

"""Which snapshotters there are, and which one is taken where nobody says."""

from __future__ import annotations

import os
from collections.abc import Callable

from mobyshell.core.errors import Unsupported, UsageError
from mobyshell.core.linux.procfs import boot_id
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots.directories import Directories
from mobyshell.core.store.snapshots.driver import Driver
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter


def _overlay() -> Driver:
    from mobyshell.core.store.snapshots.overlay import Overlay

    return Overlay()


def _native() -> Driver:
    from mobyshell.core.store.snapshots.native import Native

    return Native()


DRIVERS: dict[str, Callable[[], Driver]] = {"overlayfs": _overlay, "native": _native}
"""By name, the better first; loaded when wanted. Another kind of snapshotter is entered here."""


def directories(root: StoreRoot, name: str) -> Directories:
    """Directories like those of trees, below the store's root: locked while they are used, and garbage
    afterwards."""
    if os.geteuid() == 0:
        return Directories(root.path / name)
    from mobyshell.core.store import owners
    from mobyshell.core.store.snapshots.inside import Inside

    return Directories(root.path / name, Inside(owners.of_store(root).enter).remove)


_KNOWN = ".chosen"
"""A file that remembers the trial for as long as the machine runs."""


def snapshotter(scope: Scope, name: str = "") -> Snapshotter:
    """The snapshotter `name`, or the best one that works here. UsageError for another word."""
    if not name:
        name = default(scope)
    if name not in DRIVERS:
        raise UsageError(f"no snapshotter {name!r}", hint=f"there are {', '.join(DRIVERS)}")
    if os.geteuid() == 0:
        return TreeSnapshotter(scope, DRIVERS[name]())
    from mobyshell.core.store import owners  # of no use to root
    from mobyshell.core.store.snapshots.inside import Entered, Inside

    inside = Inside(owners.of_store(scope.root).enter)
    return TreeSnapshotter(scope, Entered(DRIVERS[name](), inside), remove=inside.remove)


def default(scope: Scope) -> str:
    """The name of the best one that works where the store lies. Found by trial, once a boot."""
    place = scope.root.snapshots / _KNOWN
    stamp = f"{boot_id()} {os.geteuid()}"
    try:
        known, _, name = place.read_text().strip().rpartition(" ")
        if known == stamp and name in DRIVERS:
            return name
    except OSError:
        pass
    name = next(one for one in DRIVERS if not why_not(scope, one))
    temporary = place.with_name(f"{_KNOWN}-{os.getpid()}")
    try:
        temporary.write_text(f"{stamp} {name}\n")
        temporary.rename(place)
    except OSError:
        pass  # it is only quicker with it
    return name


def why_not(scope: Scope, name: str) -> str:
    """Why the snapshotter `name` does not work here; "" if it does."""
    try:
        DRIVERS[name]().check(scope.root.snapshots / name)
    except Unsupported as error:
        return f"{error}; {error.hint}"
    return ""

"""A store, and every snapshotter that the shared suite holds to the protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mobyshell.core.store.database import Database
from mobyshell.core.store.identity import Marking
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.store.snapshots import mounting
from mobyshell.core.store.snapshots.choose import DRIVERS
from mobyshell.core.store.snapshots.protocol import Layer, Mount, Snapshotter
from mobyshell.core.store.snapshots.snapshotter import TreeSnapshotter

Change = Callable[[Path], object]


@pytest.fixture
def scope(tmp_path: Path) -> Iterator[Scope]:
    """Namespace `test` of a new store."""
    root = StoreRoot(tmp_path / "store")
    root.make()
    with Database(root.database, marking=Marking(root)) as database:
        yield Scope(root, database, "test")


@pytest.fixture(params=sorted(DRIVERS))
def snapshots(request: pytest.FixtureRequest, scope: Scope) -> Snapshotter:
    """Each snapshotter in turn."""
    return TreeSnapshotter(scope, DRIVERS[request.param]())


@contextmanager
def shown(mounts: Sequence[Mount]) -> Iterator[Path]:
    """What mounts show, as a path."""
    with mounting.opened(mounts) as fd:
        yield Path(f"/proc/self/fd/{fd}")


def nothing(root: Path) -> None:
    """No change."""


def put(**files: str) -> Change:
    """Write files; `__` in a name is a slash."""

    def change(root: Path) -> None:
        for name, text in files.items():
            path = root / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return change


def write(snapshots: Snapshotter, key: str, change: Change, parent: str = "") -> None:
    """Prepare `key`, and change what its mounts show."""
    with shown(snapshots.prepare(key, parent)) as root:
        change(root)


def layer(
    snapshots: Snapshotter, name: str, change: Change, parent: str = "",
    *, holds: Layer | None = None,
) -> None:  # fmt: skip
    """A committed snapshot, made by a change of its parent."""
    write(snapshots, f"{name}-active", change, parent)
    snapshots.commit(name, f"{name}-active", layer=holds)


def tree(root: Path) -> dict[str, object]:
    """All that is below a directory: what a file holds, where a link leads, None of a directory."""
    found: dict[str, object] = {}
    for place, directories, files in os.walk(root):
        for name in directories + files:
            path = Path(place) / name
            key = str(path.relative_to(root))
            if path.is_symlink():
                found[key] = os.readlink(path)
            else:
                found[key] = None if path.is_dir() else path.read_text()
    return found


def seen(snapshots: Snapshotter, name: str) -> dict[str, object]:
    """What a committed snapshot holds, seen through a view."""
    mounts = snapshots.view("seen", name)
    try:
        with shown(mounts) as root:
            return tree(root)
    finally:
        snapshots.remove("seen")

"""The directories of trees, and how they come and go so that no crash leaves a row without files.

    new-<random>   being filled; its maker holds a lock (flock(2)) on it
    <number>       a tree's, if there is a row of that number; else left by a crash
    rm-<random>    being removed

A new one gets its number by a rename in the transaction that inserts the row. One whose row is
gone is first renamed, then removed. So whatever has no row, and no lock, is garbage.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.store.snapshots import trees
from mobyshell.core.store.snapshots.protocol import Usage

_NEW, _OLD = "new-", "rm-"


class Directories:
    """Those of one snapshotter, of all namespaces."""

    def __init__(self, path: Path, remove: Callable[[Path], Usage] | None = None) -> None:
        """`path` is made when the first tree is. `remove`: by whom a directory is removed, if that
        takes others; it raises OSError."""
        self.path = path
        self._by_others = remove

    def of(self, tree: int) -> Path:
        """Where a tree lies."""
        return self.path / str(tree)

    @contextmanager
    def new(self) -> Iterator[Path]:
        """An empty directory to fill; removed at the end, if it was not given a number."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path, lock = self._locked()
        try:
            yield path
        finally:
            os.close(lock)
            if path.exists():
                self._remove(path.name)

    def _locked(self) -> tuple[Path, int]:
        while True:
            path = self.path / f"{_NEW}{os.urandom(8).hex()}"
            try:
                path.mkdir(mode=0o700)
                lock = os.open(path, trees.DIRECTORY)
            except FileNotFoundError:
                continue  # taken for garbage before it was locked
            except OSError as error:
                raise SyscallFailed.of(error, "mkdir", path=str(path)) from error
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(lock)):
                    return path, lock
            os.close(lock)

    def number(self, path: Path, tree: int) -> None:
        """Give a new directory its number. In the transaction of the row, before which it has to be on
        the disk (`sync`): a row must not outlive a power cut that its directory does not."""
        place = self.of(tree)
        try:
            if place.exists():  # a crash undid the row of an earlier tree with this number
                self._set_aside(place)
            path.rename(place)
        except OSError as error:
            raise SyscallFailed.of(error, "rename", path=str(place)) from error

    def sync(self) -> None:
        """Have the numbers that were given on the disk."""
        try:
            fd = os.open(self.path, trees.DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        except OSError as error:
            raise SyscallFailed.of(error, "fsync", path=str(self.path)) from error

    def discard(self, tree: int) -> None:
        """Remove a tree whose row is gone. What cannot be removed now is left to `clean`."""
        with suppress(FileNotFoundError):
            self._remove(self._set_aside(self.of(tree)).name)

    def clean(self, rows: set[int]) -> list[Path]:
        """Find what has neither a row nor a lock, and put it out of the way. In a transaction that
        writes, so that nobody is between a rename and the end of the row's transaction."""
        found = []
        try:
            entries = list(os.scandir(self.path))
        except FileNotFoundError:
            return []
        for entry in entries:
            path = self.path / entry.name
            if entry.name.startswith(_OLD):
                found.append(path)
            elif entry.name.startswith(_NEW):
                with _unless_locked(path) as unlocked:
                    if unlocked:  # who waits for the lock looks whether it is there still
                        found.append(self._set_aside(path))
            elif entry.name.isdecimal() and int(entry.name) not in rows:
                found.append(self._set_aside(path))
        return found

    def remove(self, path: Path) -> Usage:
        """Remove what `clean` found. SyscallFailed if it cannot be."""
        return self._remove(path.name)

    def _set_aside(self, path: Path) -> Path:
        target = self.path / f"{_OLD}{os.urandom(8).hex()}"
        path.rename(target)
        return target

    def _remove(self, name: str) -> Usage:
        try:
            if self._by_others is not None:
                return self._by_others(self.path / name)
            parent = os.open(self.path, trees.DIRECTORY)
            try:
                return trees.remove(parent, name)
            finally:
                os.close(parent)
        except OSError as error:
            raise SyscallFailed.of(
                error, "rmdir", path=str(self.path / name), hint="is something of it mounted?"
            ) from error


@contextmanager
def _unless_locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a directory, if nobody else does."""
    try:
        fd = os.open(path, trees.DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)

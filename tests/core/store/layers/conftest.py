"""A worker for all tests of a module, and directories to fill."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mobyshell.core.store.layers import LayerWorker


@pytest.fixture(scope="module")
def worker() -> Iterator[LayerWorker]:
    with LayerWorker() as one:
        yield one


Opened = Callable[[Path], int]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """A descriptor of a directory, made if it is not there; closed after the test."""
    fds: list[int] = []

    def open_it(path: Path) -> int:
        path.mkdir(parents=True, exist_ok=True)
        fds.append(os.open(path, os.O_RDONLY | os.O_DIRECTORY))
        return fds[-1]

    yield open_it
    for fd in fds:
        os.close(fd)


@pytest.fixture
def tree(tmp_path: Path, opened: Opened) -> int:
    """The directory `tree`."""
    return opened(tmp_path / "tree")

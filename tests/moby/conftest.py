"""A client of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mobyshell.moby.client import Moby
from tests.undertaker import subreaper


@pytest.fixture
def moby(tmp_path: Path) -> Iterator[Moby]:
    """An empty store, whose tasks are the test's to reap."""
    with subreaper(), Moby(tmp_path / "root", tmp_path / "state", "demo") as client:
        yield client

"""One stage for all of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.core.registry.distribution import distribution
from tests.faults.scenes import Stage
from tests.undertaker import undertaker


@pytest.fixture(scope="package")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A store to copy, material, and a registry."""
    with undertaker(), distribution() as registry:
        yield Stage(tmp_path_factory.mktemp("stage"), registry.host)

"""Tasks that run out of memory on cgroup v2: the same as on v1, heard of another way."""

from __future__ import annotations

import pytest

from tests.core.tasks.conftest import House, house, undertaker
from tests.core.tasks.test_oom import (
    at_once,
    by_somebody,
    while_it_goes_on,
)

__all__ = ["house", "undertaker"]
pytestmark = pytest.mark.usefixtures("undertaker")


def test_out_of_memory_at_once(house: House) -> None:
    at_once(house)


def test_out_of_memory_while_the_task_goes_on(house: House) -> None:
    while_it_goes_on(house, "mobyshell")


def test_killed_by_somebody_with_memory_left(house: House) -> None:
    by_somebody(house)

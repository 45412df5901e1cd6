"""How a child becomes the launcher: beside us, and what is said if it cannot."""

from __future__ import annotations

import os
import platform
from dataclasses import replace

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.runtime import Runtime
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House, cgroups_left

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code for x86-64"),
]


def test_a_launcher_that_cannot_be_executed_is_named_and_leaves_nothing(house: House) -> None:
    executor = NativeExecutor()
    os.close(executor._image.fd)
    executor._image.fd = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    broken = replace(house, runtime=Runtime(house.runtime.root, executor=executor))
    with pytest.raises(SyscallFailed) as caught:
        broken.create("c", house.spec(None, "/bin/true"))
    assert "execveat" in str(caught.value)
    assert "launcher" in str(caught.value)
    assert os.listdir(house.runtime.root) == []
    assert cgroups_left(house.runtime.root) == []
    os.close(executor._image.fd)


def test_many_at_once_have_memory_of_their_own(house: House) -> None:
    """Each child still needs its words when the next is made."""
    names = [f"c{number}" for number in range(12)]
    containers = [house.create(name, house.spec(None, "/bin/true")) for name in names]
    for container in containers:
        run(house.runtime.start(container.id))
    assert [house.finish(one).status for one in containers] == [0] * len(names)

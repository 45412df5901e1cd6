"""Network namespaces made ahead: new, whole, nobody else's, and nothing of them stays."""

from __future__ import annotations

import errno
import os
import platform
from collections.abc import Iterator
from dataclasses import replace
from typing import cast

import pytest

from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.constants import CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER
from mobyshell.core.oci import Spec
from mobyshell.core.runtime import Container, Runtime
from mobyshell.core.runtime.native.ahead import Ahead, Walking
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(platform.machine() != "x86_64", reason="machine code for x86-64"),
]


@pytest.fixture
def staying(house: House) -> Iterator[House]:
    """The house of one who makes many."""
    runtime = Runtime(house.runtime.root, executor=NativeExecutor(), ushers=True)
    yield replace(house, runtime=runtime)
    runtime.rest(0)
    assert not runtime.rest_ahead(0)


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def children() -> str:
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        return file.read()


def test_the_next_container_has_it_and_nobody_else(staying: House) -> None:
    spec = staying.spec(
        None, "sh", "-c", "ip -o addr | grep -c 127.0.0.1; readlink /proc/self/ns/net"
    )
    results = [staying.finish(foreseen(staying, f"c{number}", spec)) for number in range(3)]
    seen = [one.output.split() for one in results]
    assert [one[0] for one in seen] == ["1", "1", "1"]  # a loopback device that is up
    places = {one[1] for one in seen} | {os.readlink("/proc/self/ns/net")}
    assert len(places) == 4


def foreseen(house: House, id: str, spec: Spec) -> Container:
    """A container that was started, and what the next one wants."""
    container = house.create(id, spec)
    run(house.runtime.start(id))
    assert house.runtime.foresee()
    return container


def test_containers_that_run_together_have_one_each(staying: House) -> None:
    made = [foreseen(staying, f"c{n}", staying.spec(None, "sleep", "60")) for n in range(3)]
    places = {os.readlink(f"/proc/{one.pid}/ns/net") for one in made}
    assert len(places) == 3
    for one in made:
        os.close(one.pidfd)
        run(staying.runtime.delete(one.id, force=True))


def test_one_that_nobody_wants_goes_and_leaves_nothing() -> None:
    executor = NativeExecutor()
    before, others = descriptors(), children()
    assert executor.foresee(CLONE_NEWNET | CLONE_NEWNS)
    assert executor.rest(60)
    assert not executor.rest(0)
    assert (descriptors(), children()) == (before, others)


def test_none_is_made_where_it_would_not_fit() -> None:
    executor = NativeExecutor()
    assert not executor.foresee(CLONE_NEWNS)
    assert not executor.foresee(CLONE_NEWNET | CLONE_NEWUSER)
    assert not executor.rest(60)


def test_where_it_is_refused_once_it_is_not_asked_for_again() -> None:
    asked = []

    def walk(records: bytes, cells: int, flags: int) -> Walking:
        asked.append(flags)
        raise SyscallFailed("clone3", 1)

    ahead = Ahead(walk)
    assert not ahead.make()
    assert not ahead.make()
    assert ahead.take() == -1
    assert len(asked) == 1
    assert not ahead.rest(0)


class Failed:
    """A maker that has ended without a namespace; its socket had this number."""

    def __init__(self, number: int) -> None:
        self._number = number

    def ended(self) -> bool:
        return True

    def cells(self, count: int) -> tuple[int, ...]:
        return (self._number, -errno.EMFILE)[:count]


def test_a_number_that_may_be_somebody_elses_by_now_is_not_closed() -> None:
    fd, asked = os.open("/dev/null", os.O_RDONLY), 0

    def walk(records: bytes, cells: int, flags: int) -> Walking:
        nonlocal asked
        asked += 1
        return cast("Walking", Failed(fd))

    ahead = Ahead(walk)
    ahead.make()
    assert not ahead.rest(0.0)
    assert ahead.take() == -1
    os.close(fd)  # it was ours all the time
    ahead.make()
    assert asked == 1  # what was refused is not asked for again

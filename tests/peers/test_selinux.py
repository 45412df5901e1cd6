"""The runtime on a kernel with SELinux that enforces a policy: each test of tests/peers/selinux, run in
a virtual machine.

The machine is booted once, before the first of them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.peers import booted

pytestmark = [pytest.mark.root, pytest.mark.peer]

INSIDE = Path(__file__).parent / "selinux"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> booted.Told:
    directory = tmp_path_factory.mktemp("vm")
    return booted.run(INSIDE, directory, "security=selinux selinux=1 enforcing=1")


def test_the_machine_ran_all_tests_and_no_other(told: booted.Told) -> None:
    booted.check_all(told, INSIDE)


@pytest.mark.parametrize("name", booted.names(INSIDE))
def test_inside(told: booted.Told, name: str) -> None:
    booted.check(told, name)

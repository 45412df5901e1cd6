"""Which executor is chosen, and that both run a container whichever way they are chosen."""

from __future__ import annotations

import os
import resource

import pytest

from mobyshell.core.errors import MobyshellError, SyscallFailed, UsageError
from mobyshell.core.runtime import choose as choosing
from mobyshell.core.runtime.choose import choose
from mobyshell.core.runtime.native import image
from mobyshell.core.runtime.native.executor import NativeExecutor
from mobyshell.core.runtime.portable import PortableExecutor
from mobyshell.core.runtime.runtime import Runtime
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House, descriptors


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(choosing.VARIABLE, raising=False)


def test_the_machine_decides_unless_the_variable_does(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(choose(), NativeExecutor)
    monkeypatch.setenv(choosing.VARIABLE, "portable")
    assert isinstance(choose(), PortableExecutor)
    monkeypatch.setenv(choosing.VARIABLE, "quick")
    with pytest.raises(UsageError, match="'quick'") as caught:
        choose()
    assert "native or portable" in caught.value.hint


def test_other_machines_are_portable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "MACHINE", "aarch64")
    assert isinstance(choose(), PortableExecutor)
    monkeypatch.setenv(choosing.VARIABLE, "native")
    with pytest.raises(MobyshellError, match="this machine is aarch64"):
        choose()


def test_a_machine_that_refuses_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, content: bytes) -> int:
        raise SyscallFailed("memfd_create", 13)

    monkeypatch.setattr(image, "sealed", refused)
    heard: list[str] = []
    assert isinstance(choose(heard.append), PortableExecutor)
    assert "does not run here" in heard[0]
    assert "Permission denied" in heard[0]
    monkeypatch.setenv(choosing.VARIABLE, "native")
    with pytest.raises(SyscallFailed):
        choose()


@pytest.mark.root
@pytest.mark.parametrize("name", ["native", "portable"])
def test_both_run_containers(house: House, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(choosing.VARIABLE, name)
    runtime = Runtime(house.runtime.root)
    here = House(runtime, house.bundle, house.directory)
    result = here.run("sh", "-c", "echo $$; exit 3")
    assert (result.status, result.output) == (3, "1\n")


@pytest.mark.root
def test_no_descriptor_left_at_any_point(house: House) -> None:
    """The limit of open files is reached at every step of a create in turn."""
    spec = house.spec(None, "true")
    assert house.run("true").status == 0
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = 0
    for limit in range(4, 44, 2):  # of numbers: those that are taken already stay
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        try:
            container = house.create("c", spec)
        except (MobyshellError, OSError):
            refused += 1
        else:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.close(container.pidfd)
            run(house.runtime.delete("c", force=True))
            os.waitid(os.P_PID, container.pid, os.WEXITED)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert descriptors() == before, limit
    assert refused > 3

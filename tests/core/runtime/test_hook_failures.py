"""What becomes of a container when one of its hooks fails (runtime.md#lifecycle)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import HookFailed, MobyshellError
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]


def hook(script: str) -> Document:
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin"]}


def with_hooks(log: Path, **scripts: str) -> Any:
    """A hook of each kind given, and poststop hooks that leave a line each; the first fails."""

    def change(document: Document) -> None:
        document["hooks"] = {kind: [hook(script)] for kind, script in scripts.items()}
        say = f'grep -o \'"status": "[a-z]*"\' >> {log}'
        document["hooks"]["poststop"] = [hook(f"{say}; exit 5"), hook(say)]

    return change


STOPPED = '"status": "stopped"\n'


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_container_that_is_not_created_has_its_poststop_hooks(
    house: House, tmp_path: Path, kind: str
) -> None:
    log = tmp_path / "log"
    with pytest.raises(HookFailed, match=f"error running {kind} hook #0: exit status 3"):
        house.create("c", house.spec(with_hooks(log, **{kind: "exit 3"}), "true"))
    assert log.read_text() == STOPPED * 2
    assert house.runtime.list() == []


def test_a_hook_that_is_killed_says_by_what(house: House, tmp_path: Path) -> None:
    said = "error running createRuntime hook #0: signal: bad system call"
    spec = house.spec(with_hooks(tmp_path / "log", createRuntime="kill -SYS $$"), "true")
    with pytest.raises(HookFailed, match=said):
        house.create("c", spec)


def test_nobody_is_told_of_a_container_that_never_was(house: House, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def change(document: Document) -> None:
        with_hooks(log)(document)
        document["mounts"].append({"destination": "/x", "type": "nosuchfs"})

    with pytest.raises(MobyshellError):
        house.create("c", house.spec(change, "true"))
    assert not log.exists()


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
@pytest.mark.parametrize("how", ["exit 3", "/nosuch"])
def test_a_container_whose_start_fails_is_stopped(
    house: House, tmp_path: Path, kind: str, how: str
) -> None:
    log = tmp_path / "log"

    def change(document: Document) -> None:
        with_hooks(log)(document)
        failing = hook(how) if how == "exit 3" else {"path": how}
        document["hooks"][kind] = [failing]

    container = house.create("c", house.spec(change, "sleep", "1000"))
    with pytest.raises(MobyshellError, match=r"hook #0|/nosuch"):
        run(house.runtime.start("c"))
    assert house.runtime.state("c")[1] is Status.STOPPED
    done = os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED)
    assert done is not None
    assert done.si_status == 9
    assert not log.exists()
    os.close(container.pidfd)
    run(house.runtime.delete("c"))
    assert log.read_text() == STOPPED * 2


@pytest.mark.parametrize("state", ["created", "running", "stopped"])
def test_poststop_hooks_run_whatever_it_was_when_deleted(
    house: House, tmp_path: Path, state: str
) -> None:
    log = tmp_path / "log"
    container = house.create("c", house.spec(with_hooks(log), "sleep", "1000"))
    if state != "created":
        run(house.runtime.start("c"))
    if state == "stopped":
        run(house.runtime.kill("c", 9))
        os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED)
    os.close(container.pidfd)
    run(house.runtime.delete("c", force=True))
    assert log.read_text() == STOPPED * 2

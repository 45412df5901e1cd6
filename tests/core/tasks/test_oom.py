"""Tasks that run out of memory, and those that are killed for another reason."""

from __future__ import annotations

import signal
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mobyshell.core.oci import Spec
from mobyshell.core.oci.resources import Memory, Resources
from mobyshell.core.runtime.out_of_memory import V2
from mobyshell.core.tasks import oom
from mobyshell.core.tasks.oom import OutOfMemory
from tests.core.tasks.conftest import House, kill_now, make_bundle
from tests.runtimes import runtime_path
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("undertaker")]

TOO_MUCH = "dd if=/dev/zero of=/dev/null bs=64M count=1"


def limited(spec: Spec) -> Spec:
    assert spec.linux is not None
    limits = Resources(memory=Memory(limit=16 << 20, swap=16 << 20))
    return replace(spec, linux=replace(spec.linux, resources=limits))


def run(house: House, script: str, runtime: str = "mobyshell") -> str:
    """A task with 16 MiB of memory."""
    id = house.id()
    make_bundle(house.path / id, limited)
    house.client.create(
        id, str(house.path / id), args=("sh", "-c", script), runtime=runtime, stdin=True
    )
    house.client.start(id)
    return id


def told(house: House, id: str) -> list[str]:
    topics = ("/tasks/oom", "/tasks/exit")
    return [e.topic for e in house.client.recent_events() if e.id == id and e.topic in topics]


def at_once(house: House) -> None:
    id = run(house, f"exec {TOO_MUCH}")
    assert house.client.wait(id, timeout=60) == 137
    eventually(lambda: told(house, id) == ["/tasks/oom", "/tasks/exit"])


def while_it_goes_on(house: House, runtime: str) -> None:
    which = runtime if runtime == "mobyshell" else runtime_path(runtime, house.path)
    id = run(house, f"read line; {TOO_MUCH}; echo $?; read line", which)
    heard_of(house)
    with closing(house.client.attach(id)) as attached:
        attached.write(b"now\n")
        eventually(lambda: told(house, id) == ["/tasks/oom"])
        eventually(lambda: house.output(id) == b"137\n")
    house.client.kill(id, signal.SIGKILL)
    house.client.wait(id, timeout=60)
    eventually(lambda: told(house, id) == ["/tasks/oom", "/tasks/exit"])


def test_one_that_has_been_adopted(house: House) -> None:
    id = run(house, f"read line; {TOO_MUCH}; read line")
    kill_now(house.pids()[1])
    house.pids()
    heard_of(house)
    with closing(house.client.attach(id)) as attached:
        attached.write(b"now\n")
        eventually(lambda: told(house, id) == ["/tasks/oom"])


def by_somebody(house: House) -> None:
    ids = [run(house, "sleep 1000") for _ in range(2)]
    house.client.kill(ids[0], signal.SIGKILL)
    heard_of(house)
    house.client.kill(ids[1], signal.SIGKILL)
    for id in ids:
        assert house.client.wait(id, timeout=60) == 137
    eventually(lambda: [told(house, id) for id in ids] == [["/tasks/exit"]] * 2)


def heard_of(house: House) -> None:
    """The shim has begun to listen to the tasks that live: by its descriptors."""
    pid = house.pids()[1]

    def listens() -> bool:
        with suppress(FileNotFoundError):
            links = [one.readlink().name for one in Path(f"/proc/{pid}/fd").iterdir()]
            return any(name in ("anon_inode:[eventfd]", "anon_inode:inotify") for name in links)
        return False

    eventually(listens)


def test_a_task_that_is_killed_at_once(house: House) -> None:
    at_once(house)


@pytest.mark.parametrize("runtime", ["mobyshell", pytest.param("runc", marks=pytest.mark.peer)])
def test_a_process_of_a_task_that_goes_on(house: House, runtime: str) -> None:
    while_it_goes_on(house, runtime)


def test_what_was_killed_before_anybody_listened_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment is long on a loaded machine: the kernel may have killed, and nobody yet have looked at
    who ended. What a task that is adopted has lost, its first shim has told."""
    later: list[Callable[[], None]] = []
    house = SimpleNamespace(
        endings=[], loop=SimpleNamespace(call_later=lambda _, what: later.append(what))
    )
    monkeypatch.setattr(OutOfMemory, "_place", lambda *_: ("/group", V2))
    monkeypatch.setattr(OutOfMemory, "_by_inotify", lambda *_: lambda: None)
    monkeypatch.setattr(oom, "kills", lambda *_: 1)
    for adopted, events in ((False, ["/tasks/oom"]), (True, [])):
        heard: list[str] = []
        process = SimpleNamespace(
            namespace="n", record=SimpleNamespace(id=f"c{adopted}"), alive=True,
            announce=lambda event, heard=heard: heard.append(event.topic),
        )  # fmt: skip
        memory = OutOfMemory(cast(Any, house))
        memory.begin(cast(Any, process), adopted=adopted)
        later.pop()()
        assert heard == events


def test_who_is_killed_by_somebody_has_not_run_out_of_memory(house: House) -> None:
    by_somebody(house)

"""What a runtime that is killed with -9 leaves: nothing that the next one does not clear away."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import AlreadyExists, WrongState
from mobyshell.core.linux import procfs
from mobyshell.core.oci import spec_to_json
from mobyshell.core.runtime import State
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import House, cgroups_left
from tests.waiting import eventually

pytestmark = pytest.mark.root

CREATE = """
import json, os, sys
from pathlib import Path
from mobyshell.core.oci import parse_spec
from mobyshell.core.runtime import Runtime, Stdio
from mobyshell.core.runtime.steps import run
null = os.open("/dev/null", os.O_RDWR)
runtime = Runtime(Path(sys.argv[1]))
run(runtime.create("c", sys.argv[2], stdio=Stdio(null, null, null), spec=parse_spec(sys.stdin.read())))
print("created", flush=True)
signal = __import__("signal"); signal.pause()
"""


def creator(house: House, hook: str | None = None) -> subprocess.Popen[str]:
    """A process that creates a container, with `hook` as its createRuntime hook."""

    def change(document: dict[str, Any]) -> None:
        if hook is not None:
            script = {"path": "/bin/sh", "args": ["sh", "-c", hook]}
            document["hooks"] = {"createRuntime": [script]}

    process = subprocess.Popen(
        [sys.executable, "-c", CREATE, str(house.runtime.root), str(house.bundle)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(spec_to_json(house.spec(change, "sleep", "1000"))))
    process.stdin.close()
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def text_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def until_dead(init: State) -> None:
    """It finds its parent gone, at the gate where it waits for the next word."""
    while procfs.alive(init.pid, init.pid_start):
        time.sleep(0.005)


def test_killed_in_the_middle_of_a_create(house: House) -> None:
    mark = house.directory / "hook"
    process = creator(house, f"echo $$ > {mark}; exec sleep 1000")
    hook = int(eventually(partial(text_of, mark)))
    try:
        (_, status), *_ = house.runtime.list()
        assert status is Status.CREATING
        for verb in (house.runtime.pause, house.runtime.start, house.runtime.delete):
            with pytest.raises(WrongState):
                run(verb("c"))
        with pytest.raises(AlreadyExists):
            house.create("c", house.spec(None, "true"))
        assert cgroups_left(house.runtime.root) != []
        init = house.runtime.state("c")[0]
        kill(process)
        until_dead(init)
        assert house.runtime.list() == []
        assert cgroups_left(house.runtime.root) == []
        assert os.listdir(house.runtime.root) == []
        assert house.run("echo", "again").output == "again\n"
    finally:
        os.kill(hook, signal.SIGKILL)


def test_the_next_create_clears_it_as_well(house: House) -> None:
    mark = house.directory / "hook"
    process = creator(house, f"echo $$ > {mark}; exec sleep 1000")
    hook = int(eventually(partial(text_of, mark)))
    try:
        init = house.runtime.state("c")[0]
        kill(process)
        until_dead(init)
        assert house.run("echo", "again").output == "again\n"
    finally:
        os.kill(hook, signal.SIGKILL)


def test_a_created_container_outlives_its_creator(house: House) -> None:
    process = creator(house)
    assert process.stdout is not None
    assert process.stdout.readline() == "created\n"
    kill(process)
    assert [status for _, status in house.runtime.list()] == [Status.CREATED]
    run(house.runtime.start("c"))
    assert house.runtime.state("c")[1] is Status.RUNNING
    assert all(one.agrees is not False for one in house.runtime.diff("c"))
    run(house.runtime.kill("c", signal.SIGKILL))
    # its parent is whoever reaps for the dead: the kernel tells us all the same, if it can
    assert run(house.runtime.wait("c", timeout=60)) in (137, -1)
    run(house.runtime.delete("c"))


ATTEMPT = """
import os, signal, sys
from pathlib import Path
from mobyshell.core.runtime import Runtime, delete
from mobyshell.core.runtime.steps import run
delete.cgroups.remove = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
run(Runtime(Path(sys.argv[1])).delete("c", force=True))
"""


def test_a_killed_delete_is_repeated(house: House) -> None:
    container = house.create("c", house.spec(None, "sleep", "1000"))
    run(house.runtime.start("c"))
    done = subprocess.run([sys.executable, "-c", ATTEMPT, str(house.runtime.root)], check=False)
    assert done.returncode == -signal.SIGKILL
    os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED)
    os.close(container.pidfd)
    assert [status for _, status in house.runtime.list()] == [Status.STOPPED]
    run(house.runtime.delete("c"))
    assert os.listdir(house.runtime.root) == []

"""Tasks that another runtime runs: the shim is their parent all the same, and outlives nothing less."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    RuntimeFailed,
    Unsupported,
    WrongState,
)
from mobyshell.core.tasks.runtimes import find_program
from tests.core.tasks.conftest import House, kill_now, parent_of
from tests.runtimes import NAMES, runtime_path
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]

PATIENCE = 90.0


@dataclass
class Yard:
    """A house whose tasks are run by another runtime."""

    house: House
    runtime: str

    def create(self, *args: str, **more: object) -> str:
        id = self.house.id()
        self.house.client.create(
            id, str(self.house.bundle), args=args, runtime=self.runtime, **more,  # type: ignore[arg-type]
        )  # fmt: skip
        return id

    def run(self, *args: str, **more: object) -> str:
        id = self.create(*args, **more)
        self.house.client.start(id)
        return id

    def wait(self, id: str, exec_id: str = "") -> int:
        return self.house.client.wait(id, exec_id=exec_id, timeout=PATIENCE)

    def text(self, id: str, exec_id: str = "") -> str:
        lines = self.house.client.logs(id, exec_id=exec_id)
        return "\n".join(line.data.decode() for line in lines)


@pytest.fixture(params=NAMES)
def yard(request: pytest.FixtureRequest, house: House, tmp_path: Path) -> Iterator[Yard]:
    yield Yard(house, runtime_path(request.param, tmp_path))
    left = [
        line for line in subprocess.run(["ps", "axo", "pid,args"], capture_output=True, text=True,
                                        check=True).stdout.splitlines()
        if str(tmp_path) in line and "mobyshell/core/tasks/shim.py" not in line
    ]  # fmt: skip
    assert left == []


def test_output_and_exit_code(yard: Yard) -> None:
    id = yard.run("sh", "-c", "echo out; echo err >&2; exit 7")
    assert yard.wait(id) == 7
    assert sorted(yard.text(id).split()) == ["err", "out"]
    info = yard.house.client.get(id)
    assert (info.status, info.exit_status, info.runtime) == ("stopped", 7, yard.runtime)
    assert yard.house.client.delete(id) == 7
    assert not (yard.house.state / "default" / id).exists()


def test_created_then_started_and_killed(yard: Yard) -> None:
    client = yard.house.client
    id = yard.create("sleep", "1000")
    assert client.get(id).status == "created"
    client.start(id)
    assert client.get(id).status == "running"
    # crun leaves a process in between, which takes a moment to go
    eventually(lambda: parent_of(client.get(id).pid) == yard.house.pids()[1], PATIENCE)
    with pytest.raises(WrongState):
        client.start(id)
    with pytest.raises(WrongState):
        client.delete(id)
    client.kill(id, signal.SIGKILL)
    assert yard.wait(id) == 137
    with pytest.raises(MobyshellError):
        client.kill(id, signal.SIGTERM)


def test_at_a_terminal(yard: Yard) -> None:
    script = "stty size; read x; test -t 1 && echo got-$x; exit 4"
    id = yard.create("sh", "-c", script, terminal=True, stdin=True, rows=31, columns=99)
    attachment = yard.house.client.attach(id)
    yard.house.client.start(id)
    attachment.resize(31, 99)  # not every runtime sets the size that the spec asks for
    attachment.write(b"word\n")
    seen = b""
    while (piece := attachment.read()) is not None:
        seen += piece[1]
    attachment.close()
    assert b"got-word" in seen
    assert yard.wait(id) == 4


def test_input_without_a_terminal(yard: Yard) -> None:
    id = yard.create("wc", "-c", stdin=True)
    attachment = yard.house.client.attach(id)
    yard.house.client.start(id)
    attachment.write(b"x" * 70_000)
    attachment.close_stdin()
    assert yard.wait(id) == 0
    attachment.close()
    assert yard.text(id).strip() == "70000"


def test_exec_with_everything(yard: Yard) -> None:
    client = yard.house.client
    id = yard.run("sleep", "1000")
    script = "echo $MORE; pwd; id -u; id -g; exit 5"
    made = client.exec(
        id, ["sh", "-c", script], env=["MORE=x"], cwd="/tmp", user="moby", exec_id="one"
    )
    assert yard.wait(id, "one") == 5
    assert yard.text(id, "one").split() == ["x", "/tmp", "1000", "1001"]
    assert made.pid > 0
    client.exec(id, ["sh", "-c", "kill -9 $$"], exec_id="two")
    assert yard.wait(id, "two") == 137
    client.exec(id, ["sleep", "1000"], exec_id="three")
    client.kill(id, signal.SIGTERM, exec_id="three")
    assert yard.wait(id, "three") == 143
    with pytest.raises(RuntimeFailed, match="nosuch"):
        client.exec(id, ["nosuch"], exec_id="four")


def test_exec_at_a_terminal(yard: Yard) -> None:
    id = yard.run("sleep", "1000")
    yard.house.client.exec(
        id, ["sh", "-c", "read x; test -t 0 && echo got-$x; exit 6"], exec_id="e", terminal=True
    )
    attachment = yard.house.client.attach(id, exec_id="e")
    attachment.write(b"word\n")
    seen = b""
    while (piece := attachment.read()) is not None:
        seen += piece[1]
    attachment.close()
    assert b"got-word" in seen
    assert yard.wait(id, "e") == 6


def test_pause_resume_update_stats_and_processes(yard: Yard) -> None:
    client = yard.house.client
    id = yard.run("sleep", "1000")
    client.pause(id)
    assert client.get(id).status == "paused"
    client.resume(id)
    assert client.get(id).status == "running"
    client.update(id, {"memory": {"limit": 64 << 20}})
    stats = client.stats(id)
    assert stats.memory_limit == 64 << 20
    assert stats.pids == 1
    made = client.exec(id, ["sleep", "1000"], exec_id="more")
    assert [one.pid for one in client.ps(id)] == sorted([client.get(id).pid, made.pid])
    client.kill(id, signal.SIGKILL, all_processes=True)
    assert (yard.wait(id), yard.wait(id, "more")) == (137, 137)


def test_what_fails_is_told_and_leaves_nothing(yard: Yard) -> None:
    client = yard.house.client
    id = yard.house.id()
    bundle = str(yard.house.bundle)
    try:
        client.create(id, bundle, args=["/nosuch"], runtime=yard.runtime)
        with pytest.raises(RuntimeFailed, match="nosuch"):  # some find out when it starts only
            client.start(id)
        client.delete(id, force=True)
    except RuntimeFailed as error:
        assert "nosuch" in str(error)
    assert not (yard.house.state / "default" / id).exists()
    client.create(id, bundle, args=["sleep", "1000"], runtime=yard.runtime)
    with pytest.raises(AlreadyExists):
        client.create(id, bundle, args=["true"], runtime=yard.runtime)
    client.delete(id, force=True)
    with pytest.raises(NotFound):
        client.get(id)


def test_the_shims_death_is_harmless(yard: Yard) -> None:
    """Killed in the middle: output, exec, kill and the exit status go on with the next shim."""
    client = yard.house.client
    first = yard.run(
        "sh", "-c", "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done"
    )
    second = yard.run("sleep", "1000")
    client.exec(second, ["sh", "-c", "trap 'exit 8' TERM; echo on; while :; do sleep 0.05; done"],
                exec_id="e")  # fmt: skip
    eventually(lambda: "up" in yard.text(first) and "on" in yard.text(second, "e"), PATIENCE)
    _, shim = yard.house.pids()
    kill_now(shim)
    eventually(lambda: yard.house.pids()[1] != shim, PATIENCE)
    assert {client.get(one).status for one in (first, second)} == {"running"}
    client.kill(first, signal.SIGTERM)
    assert yard.wait(first) == 9
    assert yard.text(first).split() == ["up", "bye"]
    client.kill(second, signal.SIGTERM, exec_id="e")
    assert yard.wait(second, "e") == 8
    assert len(client.ps(second)) == 1
    client.pause(second)
    client.resume(second)
    assert client.delete(second, force=True) == 137


def test_what_ends_while_no_shim_lives_has_its_status(yard: Yard) -> None:
    id = yard.run("sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    eventually(lambda: "up" in yard.text(id), PATIENCE)
    pid = yard.house.client.get(id).pid
    keeper, shim = yard.house.pids()
    os.kill(keeper, signal.SIGSTOP)  # so that no other shim comes in between
    try:
        kill_now(shim)
        os.kill(pid, signal.SIGTERM)
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert yard.wait(id) == 9


def test_the_keepers_death_is_harmless_too(yard: Yard) -> None:
    id = yard.run("sh", "-c", "trap 'exit 9' TERM; echo up; while :; do sleep 0.05; done")
    eventually(lambda: "up" in yard.text(id), PATIENCE)
    keeper, shim = yard.house.pids()
    kill_now(keeper)
    eventually(lambda: yard.house.pids()[1] != shim, PATIENCE)
    other = yard.run("sh", "-c", "exit 3")  # the new shim is a subreaper, too
    assert yard.wait(other) == 3
    yard.house.client.kill(id, signal.SIGTERM)
    assert yard.wait(id) == 9


def test_a_shim_killed_in_a_create_leaves_nothing(yard: Yard, tmp_path: Path) -> None:
    """The runtime goes on by itself; what it makes is taken back by the next shim."""
    slow = tmp_path / "slow"
    flag = tmp_path / "began"
    slow.write_text(
        f'#!/bin/sh\ncase "$*" in *" create "*) echo > {flag}; sleep 0.3;; esac\n'
        f'exec {yard.runtime} "$@"\n'
    )
    slow.chmod(0o755)
    house = yard.house
    id = house.id()
    program = (
        "import sys; from mobyshell.core.tasks.client import TaskClient\n"
        "TaskClient(sys.argv[1]).create(sys.argv[2], sys.argv[3], args=['sleep', '1000'],"
        " runtime=sys.argv[4])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(house.state), id, str(house.bundle), str(slow)],
        stderr=subprocess.DEVNULL,
    ) as asking:
        eventually(flag.exists, PATIENCE)
        _, shim = house.pids()
        kill_now(shim)
        asking.wait(PATIENCE)
    assert asking.returncode != 0
    eventually(lambda: house.pids()[1] != shim, PATIENCE)
    eventually(lambda: not (house.state / "default" / id).exists(), PATIENCE)
    house.client.create(id, str(house.bundle), args=["true"], runtime=yard.runtime)
    house.client.start(id)
    assert yard.wait(id) == 0


def test_a_runtime_that_is_gone_does_not_keep_its_tasks(house: House, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    moved.write_text(f'#!/bin/sh\nexec {runtime_path("runc", tmp_path)} "$@"\n')
    moved.chmod(0o755)
    yard = Yard(house, str(moved))
    id = yard.run("sleep", "1000")
    pid = house.client.get(id).pid
    moved.unlink()
    with pytest.raises(Unsupported, match="no runtime at"):
        house.client.pause(id)
    assert house.client.delete(id, force=True) == 137
    assert not Path(f"/proc/{pid}").exists()


def test_orphans_are_buried(house: House, tmp_path: Path) -> None:
    """In the host's pid namespace a container's orphans come to the shim."""
    config = house.bundle / "config.json"
    document = json.loads(config.read_text())
    document["linux"]["namespaces"] = [
        one for one in document["linux"]["namespaces"] if one["type"] != "pid"
    ]
    config.write_text(json.dumps(document))
    yard = Yard(house, runtime_path("runc", tmp_path))
    id = yard.run("sh", "-c", "sh -c 'sleep 0.2 & echo $!'; sleep 1000")
    eventually(lambda: yard.text(id).strip(), PATIENCE)
    orphan = int(yard.text(id))
    _, shim = house.pids()
    eventually(lambda: not Path(f"/proc/{orphan}").exists() or parent_of(orphan) == shim, PATIENCE)
    eventually(lambda: not Path(f"/proc/{orphan}").exists(), PATIENCE)
    assert house.client.get(id).status == "running"
    house.client.kill(id, signal.SIGKILL, all_processes=True)
    assert yard.wait(id) == 137


def test_relative_paths_of_the_bundle_still_mean_the_bundle(house: House, tmp_path: Path) -> None:
    (house.bundle / "shared").mkdir()
    (house.bundle / "shared" / "note").write_text("from the bundle\n")
    config = house.bundle / "config.json"
    document = json.loads(config.read_text())
    document["mounts"].append(
        {"destination": "/mnt", "type": "bind", "source": "shared", "options": ["rbind", "ro"]}
    )
    config.write_text(json.dumps(document))
    yard = Yard(house, runtime_path("runc", tmp_path))
    id = yard.run("cat", "/mnt/note")
    assert yard.wait(id) == 0
    assert yard.text(id).strip() == "from the bundle"


def test_programs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_program("mobyshell") == ""
    monkeypatch.setenv("PATH", "/nowhere:relative")
    assert find_program("runc").endswith("/runc")
    assert find_program("mobyshell-runc") == str(Path(sys.executable).parent / "mobyshell-runc")
    with pytest.raises(Unsupported, match="no runtime 'nosuch-runtime'"):
        find_program("nosuch-runtime")
    with pytest.raises(Unsupported, match="no runtime at"):
        find_program(str(tmp_path))
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find_program("./mine") == str(program)
    for name in ("", "--root", "a\0b"):
        with pytest.raises(MobyshellError):
            find_program(name)

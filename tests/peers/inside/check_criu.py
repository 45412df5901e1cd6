"""Containers through a real criu: Debian's, which works on Debian's kernel."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.checkpoint.criu import program
from mobyshell.core.checkpoint.criu.settings import Settings
from mobyshell.core.errors import CheckpointFailed, NotFound
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.steps import run
from mobyshell.core.runtime.values import Status
from tests.core.runtime.conftest import House
from tests.waiting import eventually

# It appends: a file written anew is empty for a moment, which a checkpoint or a reader can meet.
COUNT = "i=0; while :; do i=$((i+1)); echo $i >> /dev/shm/count; usleep 20000; done"
Change = Callable[[dict[str, Any]], object]


@dataclass
class Counter:
    """A container that counts, and where its images are."""

    house: House
    images: Path

    def start(self, *args: str, change: Change | None = None) -> None:
        house = self.house
        spec = house.spec(change, *(args or ("sh", "-c", COUNT)))
        with open("/dev/null", "r+") as null:
            stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
            made = run(house.runtime.create("c", str(house.bundle), stdio=stdio, spec=spec))
        os.close(made.pidfd)
        run(house.runtime.start("c"))
        self.spec = spec

    def save(self, **more: Any) -> None:
        run(self.house.runtime.checkpoint("c", Settings(str(self.images), **more), note=print))

    def restore(self, id: str) -> int:
        with open("/dev/null", "r+") as null:
            stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
            made = run(
                self.house.runtime.restore(
                    id, str(self.house.bundle), Settings(str(self.images)), stdio=stdio,
                    spec=self.spec, note=print,
                )
            )  # fmt: skip
        os.close(made.pidfd)
        return made.pid

    def count(self, id: str) -> int:
        return int(self.house.exec(id, "tail", "-n", "1", "/dev/shm/count").output or 0)


@pytest.fixture
def counter(house: House, tmp_path: Path) -> Counter:
    return Counter(house, tmp_path / "images")


def test_it_works_here() -> None:
    assert program.complaint(program.find()) == ""


def test_away_and_back(counter: Counter) -> None:
    runtime = counter.house.runtime

    def change(document: dict[str, Any]) -> None:
        document["linux"]["resources"].update(pids={"limit": 50})
        document["hostname"] = "kept"
        document["mounts"].append(
            {"destination": "/mnt", "type": "bind", "source": str(counter.images.parent),
             "options": ["bind", "ro"]}
        )  # fmt: skip

    counter.start(change=change)
    eventually(lambda: counter.count("c") > 5)
    counter.save()
    with pytest.raises(NotFound):
        runtime.state("c")
    mounts = Path("/proc/self/mountinfo").read_text()
    pid = counter.restore("d")
    assert Path("/proc/self/mountinfo").read_text() == mounts
    state, now = runtime.state("d")
    assert (now, state.pid) == (Status.RUNNING, pid)
    assert "time" in state.namespaces
    first = counter.count("d")
    assert first > 5
    eventually(lambda: counter.count("d") > first)
    found = counter.house.exec("d", "sh", "-c", "hostname; ls /mnt; ip a show lo | grep -c UP")
    assert found.output.split()[0] == "kept"
    assert "images" in found.output.split()
    assert found.output.split()[-1] == "1"
    group = Path(state.cgroups[""])
    assert group.name.endswith("-d")
    assert (group / "pids.max").read_text().strip() == "50"
    assert str(pid) in (group / "cgroup.procs").read_text().split()
    run(runtime.pause("d"))
    run(runtime.resume("d"))
    run(runtime.delete("d", force=True))


def test_it_goes_on_and_memory_first(counter: Counter) -> None:
    runtime = counter.house.runtime
    counter.start()
    eventually(lambda: counter.count("c") > 0)
    images = counter.images
    counter.images = images / "first"
    counter.save(pre_dump=True)
    assert runtime.state("c")[1] is Status.RUNNING
    counter.images = images / "second"
    counter.save(leave_running=True, parent_path="../first")
    assert runtime.state("c")[1] is Status.RUNNING
    assert (counter.images / "parent").is_symlink()
    before = counter.count("c")
    eventually(lambda: counter.count("c") > before)
    run(runtime.delete("c", force=True))
    counter.restore("d")
    assert counter.count("d") > 0
    run(runtime.delete("d", force=True))


def test_in_a_user_namespace(counter: Counter) -> None:
    def change(document: dict[str, Any]) -> None:
        ids = [{"containerID": 0, "hostID": 100000, "size": 1000}]
        document["linux"]["namespaces"] += [{"type": "user"}, {"type": "cgroup"}]
        document["linux"].update(uidMappings=ids, gidMappings=ids)

    counter.start(change=change)
    eventually(lambda: counter.count("c") > 5)
    counter.save()
    counter.restore("d")
    found = counter.house.exec("d", "sh", "-c", "cat /proc/self/uid_map /dev/shm/count")
    assert found.output.split()[:3] == ["0", "100000", "1000"]
    assert int(found.output.split()[-1]) > 5
    # others than who restores it still cannot read what was in memory
    assert counter.images.stat().st_mode & 0o007 == 0
    run(counter.house.runtime.delete("d", force=True))


def test_a_terminal_comes_back(counter: Counter) -> None:
    house = counter.house
    counter.spec = house.spec(lambda d: d["process"].update(terminal=True), "sh")
    with open("/dev/null", "r+") as null:
        stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
        made = run(house.runtime.create("c", str(house.bundle), stdio=stdio, spec=counter.spec))
    os.close(made.pidfd)
    run(house.runtime.start("c"))
    counter.save()
    assert made.master is not None
    os.close(made.master)
    with open("/dev/null", "r+") as null:
        stdio = Stdio(null.fileno(), null.fileno(), null.fileno())
        back = run(
            house.runtime.restore(
                "d", str(house.bundle), Settings(str(counter.images)), stdio=stdio,
                spec=counter.spec, note=print,
            )
        )  # fmt: skip
    os.close(back.pidfd)
    assert back.master is not None
    os.write(back.master, b"echo it is $((6 * 7))\n")
    os.set_blocking(back.master, False)
    told = b""

    def answered() -> bool:
        nonlocal told
        try:
            told += os.read(back.master or -1, 4096)
        except BlockingIOError:
            pass
        return b"it is 42" in told

    eventually(answered)
    run(house.runtime.delete("d", force=True))
    os.close(back.master)


def test_what_cannot_be_saved(counter: Counter) -> None:
    """A file of the host is the program's output: no path of the container leads to it."""
    house = counter.house
    container = house.create("c", house.spec(None, "sleep", "1000"))
    os.close(container.pidfd)
    run(house.runtime.start("c"))
    with pytest.raises(CheckpointFailed, match="type DUMP errno 0: Can't lookup mount") as caught:
        counter.save()
    assert str(counter.images / "dump.log") in caught.value.hint
    assert house.runtime.state("c")[1] is Status.RUNNING
    run(house.runtime.delete("c", force=True))

"""The client of OCI runtimes, against each of them: one suite, three runtimes."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    RuntimeFailed,
    TimedOut,
    Unsupported,
    UsageError,
    WrongState,
)
from mobyshell.core.oci import Memory, Pids, Process, Resources, User
from mobyshell.core.runtime import Stdio
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.runtime.client import (
    ConsoleSocket,
    CreateOptions,
    ExecOptions,
    GlobalOptions,
    Limits,
    Runc,
    RunOptions,
)
from tests.runtimes import NAMES, runtime_path
from tests.undertaker import bury, subreaper
from tests.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.peer]

PATIENCE = 90.0


@dataclass
class Dock:
    """A runtime below a root of the test's own, and a bundle."""

    name: str
    runtime: Runc
    bundle: Path
    directory: Path
    id: str

    def shape(self, *args: str, terminal: bool = False) -> str:
        """The bundle, with this command; its path."""
        path = self.bundle / "config.json"
        document = json.loads(path.read_text())
        document["ociVersion"] = "1.0.2"  # crun 1.8 refuses what is later
        document["process"].update(args=list(args), terminal=terminal)
        path.write_text(json.dumps(document))
        return str(self.bundle)

    def up(self, *args: str) -> int:
        """A running container; its pid."""
        pid = self.runtime.create(self.id, self.shape(*(args or ("sleep", "1000"))))
        self.runtime.start(self.id)
        return pid


@pytest.fixture(scope="module", autouse=True)
def _subreaper() -> Iterator[None]:
    """Orphans come to this process, as they come to a shim."""
    with subreaper():
        yield


@pytest.fixture(params=NAMES)
def dock(request: pytest.FixtureRequest, tmp_path: Path, first_bundle: Path) -> Iterator[Dock]:
    """Each runtime; afterwards its container is gone, and nothing else is there."""
    path = runtime_path(request.param, tmp_path)
    runtime = Runc(path, options=GlobalOptions(root=str(tmp_path / "root")), timeout=PATIENCE)
    (tmp_path / "root").mkdir()  # some say it is empty where it is not there, some complain
    id = f"client-{os.getpid()}-{time.monotonic_ns() & 0xFFFFFFFF:x}"
    bundle = new_bundle(tmp_path / "bundle")
    found = Dock(request.param, runtime, bundle, tmp_path, id)
    try:
        yield found
    finally:
        bury()
        for one in runtime.list():
            runtime.delete(one.id, force=True)
        bury()
    assert runtime.list() == ()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


def exit_of(pid: int) -> int:
    """How an orphan of ours ended. A container's init is the last: it waits until we have taken
    all its others."""
    fd = os.pidfd_open(pid)
    ended = select.select([fd], [], [], PATIENCE)[0]
    os.close(fd)
    assert ended, f"{pid} has not ended"
    # crun leaves a process between itself and the container, which takes a moment to go
    eventually(lambda: parent_of(pid) == os.getpid())
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def read_until(master: int, wanted: bytes) -> bytes:
    """What a terminal shows, up to `wanted` or its end."""
    seen = b""
    while wanted not in seen:
        if not select.select([master], [], [], PATIENCE)[0]:
            break
        try:
            seen += os.read(master, 4096)
        except OSError:  # EIO: nobody has it open any more
            break
    return seen


class Pipe:
    """Streams for a container whose output the test wants."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.null = os.open("/dev/null", os.O_RDONLY)
        self.stdio = Stdio(self.null, self.writing, self.writing)

    def text(self) -> str:
        """All of it, once the writers are gone."""
        os.close(self.writing)
        os.close(self.null)
        with open(self.reading, "rb") as file:
            return file.read().decode()


def test_who_it_is(dock: Dock) -> None:
    found = dock.runtime.version()
    assert found.program == ("crun" if dock.name == "crun" else "runc")
    assert found.version[0].isdigit()
    assert found.spec.startswith("1.")


def test_life_and_states(dock: Dock) -> None:
    runtime, id = dock.runtime, dock.id
    pid = runtime.create(id, dock.shape("sleep", "1000"))
    state = runtime.state(id)
    assert (state.id, state.status, state.pid) == (id, "created", pid)
    assert state.bundle == str(dock.bundle)
    runtime.start(id)
    assert runtime.state(id).status == "running"
    assert [(one.id, one.pid) for one in runtime.list()] == [(id, pid)]
    runtime.kill(id, signal.SIGKILL)
    assert exit_of(pid) == 137
    eventually(lambda: runtime.state(id).status == "stopped")
    runtime.delete(id)
    assert runtime.list() == ()


def test_run_passes_output_and_status_on(dock: Dock) -> None:
    pipe = Pipe()
    bundle = dock.shape("sh", "-c", "echo out; exit 7")
    assert dock.runtime.run(dock.id, bundle, stdio=pipe.stdio, timeout=PATIENCE) == 7
    assert pipe.text() == "out\n"
    assert dock.runtime.list() == ()


def test_run_detached_leaves_it_to_the_subreaper(dock: Dock) -> None:
    pid = dock.runtime.run_detached(dock.id, dock.shape("sh", "-c", "exit 3"))
    assert exit_of(pid) == 3


def test_run_over_its_time_is_killed(dock: Dock) -> None:
    with pytest.raises(TimedOut):
        dock.runtime.run(dock.id, dock.shape("sleep", "1000"), timeout=0.5)
    dock.runtime.delete(dock.id, force=True)


def test_exec_by_arguments(dock: Dock) -> None:
    dock.up()
    options = ExecOptions(cwd="/tmp", env=("PATH=/bin", "MORE=x"), user="1000:1001")
    pipe = Pipe()
    script = "pwd; echo $MORE; id -u; id -g; exit 5"
    assert dock.runtime.exec(dock.id, ["sh", "-c", script], options, stdio=pipe.stdio) == 5
    assert pipe.text().split() == ["/tmp", "x", "1000", "1001"]


def test_exec_by_a_process(dock: Dock) -> None:
    dock.up()
    process = Process(
        args=("sh", "-c", "echo $A; pwd; id -u; exit 6"), env=("PATH=/bin", "A=a"), cwd="/tmp",
        user=User(uid=7, gid=8),
    )  # fmt: skip
    pipe = Pipe()
    assert dock.runtime.exec(dock.id, process, stdio=pipe.stdio) == 6
    assert pipe.text().split() == ["a", "/tmp", "7"]
    pid = dock.runtime.exec_detached(dock.id, process)
    assert exit_of(pid) == 6


def test_a_terminal_comes_over_the_console_socket(dock: Dock) -> None:
    script = "read line; test -t 0 && echo got-$line; exit 4"
    with ConsoleSocket(str(dock.directory)) as console:
        options = CreateOptions(console_socket=console.path)
        pid = dock.runtime.create(dock.id, dock.shape("sh", "-c", script, terminal=True), options)
        master = console.receive(PATIENCE)
    try:
        dock.runtime.start(dock.id)
        os.write(master, b"word\n")
        assert b"got-word" in read_until(master, b"got-word")
        assert exit_of(pid) == 4
    finally:
        os.close(master)


def test_a_terminal_for_an_exec(dock: Dock) -> None:
    dock.up()
    with ConsoleSocket() as console:
        options = ExecOptions(console_socket=console.path, tty=True)
        pid = dock.runtime.exec_detached(dock.id, ["sh", "-c", "test -t 1"], options)
        master = console.receive(PATIENCE)
    assert exit_of(pid) == 0
    os.close(master)  # not earlier: that would be a hang-up


def test_pause_resume_and_processes(dock: Dock) -> None:
    runtime, id = dock.runtime, dock.id
    pid = dock.up()
    runtime.pause(id)
    assert runtime.state(id).status == "paused"
    runtime.resume(id)
    assert runtime.state(id).status == "running"
    other = runtime.exec_detached(id, ["sleep", "1000"])
    assert sorted(runtime.ps(id)) == sorted([pid, other])
    runtime.kill(id, signal.SIGKILL, all_processes=True)
    assert (exit_of(other), exit_of(pid)) == (137, 137)


def limit_of(pid: int, controller: str, v1: str, v2: str) -> int:
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return int(Path(f"/sys/fs/cgroup/{controller}{path}/{v1}").read_text())
    return int(Path(f"/sys/fs/cgroup{path}/{v2}").read_text())


def test_update_in_every_form(dock: Dock) -> None:
    pid, runtime, id = dock.up(), dock.runtime, dock.id
    runtime.update(id, Limits(memory=96 << 20))
    assert limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max") == 96 << 20
    runtime.update(id, Resources(memory=Memory(limit=64 << 20), pids=Pids(limit=33)))
    assert limit_of(pid, "memory", "memory.limit_in_bytes", "memory.max") == 64 << 20
    assert limit_of(pid, "pids", "pids.max", "pids.max") == 33
    runtime.update(id, {"pids": {"limit": 44}})
    assert limit_of(pid, "pids", "pids.max", "pids.max") == 44


def test_events_and_features_or_that_there_are_none(dock: Dock) -> None:
    dock.up()
    if dock.name == "crun" and dock.runtime.version().version.startswith("1.8"):
        for ask in (lambda: dock.runtime.stats(dock.id), dock.runtime.features):
            with pytest.raises(Unsupported, match="unknown command"):
                ask()
        return
    stats = dock.runtime.stats(dock.id)
    assert (stats.kind, stats.id) == ("stats", dock.id)
    assert stats.data["pids"]["current"] >= 1
    events = dock.runtime.events(dock.id, interval=0.05)
    assert [next(events).kind, next(events).kind] == ["stats", "stats"]
    events.close()
    features = dock.runtime.features()
    assert features.oci_version_min.startswith("1.0")
    assert {"pid", "mount"} <= set(features.namespaces)
    assert "createRuntime" in features.hooks


def test_errors_say_what_the_runtime_said(dock: Dock) -> None:
    runtime, id = dock.runtime, dock.id
    for ask in (lambda: runtime.state(id), lambda: runtime.kill(id), lambda: runtime.start(id),
                lambda: runtime.delete(id), lambda: runtime.exec(id, ["true"])):  # fmt: skip
        with pytest.raises(NotFound):
            ask()
    runtime.delete(id, force=True)
    dock.up()
    with pytest.raises(AlreadyExists):
        runtime.create(id, str(dock.bundle))
    with pytest.raises(WrongState):
        runtime.start(id)
    with pytest.raises(WrongState):
        runtime.delete(id)
    with pytest.raises(RuntimeFailed, match=r"nosuch.* not found in \$PATH") as caught:
        runtime.exec(id, ["nosuch"])
    assert caught.value.exit_status in (1, 127, 255)
    runtime.pause(id)
    with pytest.raises(WrongState, match="paused"):
        runtime.exec(id, ["true"])


def test_a_command_that_cannot_run_is_told(dock: Dock) -> None:
    with pytest.raises(RuntimeFailed, match="nosuch"):
        dock.runtime.run(dock.id, dock.shape("/nosuch"), RunOptions())
    with pytest.raises(MobyshellError):
        dock.runtime.create(dock.id, str(dock.directory / "nowhere"))


def test_checkpoint_needs_criu(dock: Dock, tmp_path: Path) -> None:
    dock.up()
    with pytest.raises(Unsupported):
        dock.runtime.checkpoint(dock.id, str(tmp_path / "image"))
    assert dock.runtime.state(dock.id).status == "running"


def test_ids_and_arguments_are_no_options(dock: Dock) -> None:
    for id in ("--help", "../x", "", "a/b"):
        with pytest.raises(UsageError):
            dock.runtime.kill(id)
        with pytest.raises(UsageError):
            dock.runtime.create(id, str(dock.bundle))
    with pytest.raises(UsageError):
        dock.runtime.exec(dock.id, [])


def test_descriptors_are_preserved(dock: Dock) -> None:
    """--preserve-fds hands on 3 and the next ones of this process."""
    reading, writing = os.pipe()
    kept = os.dup(3) if os.path.exists("/proc/self/fd/3") else -1
    inheritable = os.get_inheritable(3) if kept >= 0 else False
    try:
        os.dup2(writing, 3, inheritable=False)
        options = RunOptions(preserve_fds=1)
        bundle = dock.shape("sh", "-c", "echo through >&3")
        assert dock.runtime.run(dock.id, bundle, options, timeout=PATIENCE) == 0
    finally:
        if kept >= 0:
            os.dup2(kept, 3, inheritable=inheritable)
            os.close(kept)
        else:
            os.close(3)
        os.close(writing)
    assert os.read(reading, 100) == b"through\n"
    os.close(reading)

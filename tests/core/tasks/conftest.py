"""A state root, a bundle, a client: real containers below a temporary directory.

Every test ends with no process left: neither of its tasks nor of its shim.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound
from mobyshell.core.oci import Spec, default_spec, dump_spec
from mobyshell.core.tasks.client import TaskClient
from mobyshell.core.tasks.connect import connect, dial
from tests.undertaker import bury, subreaper
from tests.waiting import eventually

BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh", "true", "false", "echo", "sleep", "cat", "stty", "id", "ls", "kill", "dd", "yes", "head",
    "seq", "tr", "fold", "pwd", "readlink", "grep", "wc", "tail",
)  # fmt: skip


@dataclass
class House:
    """What a test of tasks works with."""

    path: Path
    state: Path
    bundle: Path
    client: TaskClient
    _count: int = field(default=0)

    def id(self) -> str:
        """A fresh id, which no other test uses (cgroups are named by it)."""
        self._count += 1
        return f"tt-{os.getpid()}-{time.monotonic_ns() & 0xFFFFFFFF:x}-{self._count}"

    def run(
        self, *args: str, terminal: bool = False, stdin: bool = False, start: bool = True,
        rows: int = 0, columns: int = 0, client: TaskClient | None = None,
    ) -> str:  # fmt: skip
        """Create and start a task; its id."""
        id = self.id()
        client = client or self.client
        client.create(
            id, str(self.bundle), args=args, terminal=terminal, stdin=stdin, rows=rows,
            columns=columns,
        )  # fmt: skip
        if start:
            client.start(id)
        return id

    def sh(self, script: str, **options: object) -> str:
        """`run` with a shell script."""
        return self.run("sh", "-c", script, **options)  # type: ignore[arg-type]

    def output(self, id: str, stream: str = "stdout", client: TaskClient | None = None) -> bytes:
        """What the log has of `stream`."""
        return b"".join(
            line.data + (b"" if line.partial else b"\n")
            for line in (client or self.client).logs(id)
            if line.stream == stream
        )

    def pids(self) -> tuple[int, int]:
        """The keeper's and the shim's pid; a shim is started if there is none."""
        connection = connect(str(self.state))
        connection.close()
        return parent_of(connection.shim_pid), connection.shim_pid

    def task_pid(self, id: str) -> int:
        return self.client.get(id).pid


def parent_of(pid: int) -> int:
    """The parent of `pid`."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _stands_still(pid: int) -> bool:
    return state_of(pid) in "TZ"


def stand_still(pid: int) -> None:
    """SIGSTOP, and that it has taken effect."""
    os.kill(pid, signal.SIGSTOP)
    eventually(partial(_stands_still, pid))


def kill_now(*pids: int) -> None:
    """SIGKILL, to all of them before one can notice that another is dead: they stand still first."""
    for pid in pids if len(pids) > 1 else ():
        os.kill(pid, signal.SIGSTOP)
    for pid in pids if len(pids) > 1 else ():
        eventually(partial(_stands_still, pid))
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


def state_of(pid: int) -> str:
    """The letter of proc_pid_stat(5)."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(") ")[2][:1]


def processes_of(state: Path) -> list[int]:
    """Keepers and shims of a state root, by their command line."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as file:
                    words = file.read().split(b"\0")
            except OSError:
                continue
            if os.fsencode(state) in words:
                found.append(int(name))
    return found


def nobody_left(state: Path) -> bool:
    """Whether keeper and shim of a state root are gone, once those that are this one's are reaped."""
    bury()
    return not processes_of(state)


@pytest.fixture(scope="package", autouse=True)
def _subreaper() -> Iterator[None]:
    """Orphans come to this process, which buries them: the machine's init may not."""
    with subreaper():
        yield


def buried(*pids: int) -> bool:
    """Whether nothing is left of processes, once those that are this one's are reaped."""
    bury()
    return not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def make_bundle(path: Path, change: Callable[[Spec], Spec] | None = None) -> Path:
    """A bundle with a static busybox."""
    (path / "rootfs" / "bin").mkdir(parents=True)
    for name in ("proc", "dev", "sys", "tmp", "etc"):
        (path / "rootfs" / name).mkdir()
    shutil.copy2(BUSYBOX, path / "rootfs" / "bin" / "busybox")
    for name in APPLETS:
        (path / "rootfs" / "bin" / name).symlink_to("busybox")
    (path / "rootfs" / "etc" / "passwd").write_text(
        "root:x:0:0::/:/bin/sh\nmoby:x:1000:1001::/:/bin/sh\n"
    )
    (path / "rootfs" / "etc" / "group").write_text("root:x:0:\nmoby:x:1001:\ndocks:x:50:moby,x\n")
    spec = default_spec()
    assert spec.process is not None
    spec = replace(spec, process=replace(spec.process, terminal=False, args=("true",)))
    (path / "config.json").write_text(dump_spec(change(spec) if change else spec))
    return path


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    """A state root of its own. Afterwards everything in it is ended, and that is checked."""
    monkeypatch.setenv("MOBYSHELL_LINGER", "0.2")
    state = tmp_path / "state"
    found = House(tmp_path, state, make_bundle(tmp_path / "bundle"), TaskClient(state))
    yield found
    _clear(found)


@pytest.fixture
def undertaker(house: House) -> Iterator[None]:
    """Bury what comes to this process as a subreaper: as an init would, and only keepers and
    shims. A task that comes here must stay a zombie until its shim has looked at it... or not:
    the kernel tells how it ended whoever holds a pidfd."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.01):
            bury()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join()


def _clear(house: House) -> None:
    leftovers: Sequence[str] = ()
    try:
        for namespace in sorted(p.name for p in house.state.glob("[!.]*") if p.is_dir()):
            with TaskClient(house.state, namespace) as client:
                for task in client.ls():
                    try:
                        client.delete(task.id, force=True)
                    except NotFound:
                        pass
                leftovers = [*leftovers, *(task.id for task in client.ls())]
    finally:
        house.client.close()
    eventually(lambda: nobody_left(house.state))
    assert not leftovers
    assert dial(str(house.state)) is None
    diary = house.state / "shim.log"
    assert not diary.exists() or diary.read_text() == "", "the shim complained"

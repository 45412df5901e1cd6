"""Real containers for the runtime's tests: a busybox root, a runtime in a temporary root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError
from mobyshell.core.events import Payload
from mobyshell.core.linux import cgroups
from mobyshell.core.oci import Process, Spec, User, default_spec, parse_spec, spec_to_json
from mobyshell.core.runtime import Container, Runtime, Stdio
from mobyshell.core.runtime import state as states
from mobyshell.core.runtime.bundle import new_bundle
from mobyshell.core.runtime.state import State
from mobyshell.core.runtime.steps import run
from tests.waiting import eventually

Change = Callable[[dict[str, Any]], object]
"""What is changed in a spec, as JSON."""


@pytest.fixture(scope="session")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the machine's busybox; tests must not write into its rootfs."""
    return new_bundle(tmp_path_factory.mktemp("bundles") / "busybox", "busybox")


@dataclass
class Result:
    """How a container's program ended, and what it said."""

    status: int
    output: str
    errors: str = ""


@dataclass
class House:
    """A runtime with a bundle, and shortcuts to run things in it."""

    runtime: Runtime
    bundle: Path
    directory: Path
    events: list[Payload] = field(default_factory=list)

    def spec(self, change: Change | None = None, *args: str) -> Spec:
        """The default spec without a terminal, changed as JSON, running `args`."""
        document = spec_to_json(default_spec())
        document["process"]["terminal"] = False
        document["root"]["path"] = str(self.bundle / "rootfs")
        if args:
            document["process"]["args"] = list(args)
        if change is not None:
            change(document)
        import json

        return parse_spec(json.dumps(document))

    def create(self, id: str, spec: Spec, stdin: str = "/dev/null") -> Container:
        """Create a container whose output goes to files in the house."""
        with (
            open(stdin) as source,
            open(self.directory / f"{id}.out", "w") as out,
            open(self.directory / f"{id}.err", "w") as err,
        ):
            stdio = Stdio(source.fileno(), out.fileno(), err.fileno())
            return run(self.runtime.create(id, str(self.bundle), stdio=stdio, spec=spec))

    def finish(self, container: Container) -> Result:
        """Wait for a started container, delete it."""
        status = run(self.runtime.wait(container.id, timeout=30))
        os.close(container.pidfd)
        if container.master is not None:
            os.close(container.master)
        run(self.runtime.delete(container.id))
        return self.result(container.id, status)

    def result(self, id: str, status: int) -> Result:
        output = (self.directory / f"{id}.out").read_text()
        return Result(status, output, (self.directory / f"{id}.err").read_text())

    def run(self, *args: str, change: Change | None = None, id: str = "c") -> Result:
        """Run `args` in a container to its end."""
        container = self.create(id, self.spec(change, *args))
        try:
            run(self.runtime.start(id))
        except MobyshellError:
            os.close(container.pidfd)
            run(self.runtime.delete(id, force=True))
            raise
        return self.finish(container)

    def sh(self, script: str, change: Change | None = None) -> list[str]:
        """The lines that a shell script prints inside; it must succeed."""
        result = self.run("sh", "-c", script, change=change)
        assert result.status == 0, result.errors
        return result.output.splitlines()

    def exec(self, id: str, *args: str, **changes: Any) -> Result:
        """Run one more process in container `id` to its end."""
        process = Process(user=User(uid=0, gid=0), cwd="/", args=args,
                          env=("PATH=/bin:/sbin:/usr/bin",), no_new_privileges=True)  # fmt: skip
        process = replace(process, **changes)
        name = f"{id}-exec"
        with (
            open("/dev/null") as source,
            open(self.directory / f"{name}.out", "w") as out,
            open(self.directory / f"{name}.err", "w") as err,
        ):
            stdio = Stdio(source.fileno(), out.fileno(), err.fileno())
            made = run(self.runtime.exec(id, process, stdio=stdio))
        done = os.waitid(os.P_PIDFD, made.pidfd, os.WEXITED)
        os.close(made.pidfd)
        assert done is not None
        return self.result(name, done.si_status)


@contextmanager
def running(house: House, *args: str, change: Change | None = None) -> Iterator[State]:
    """A container that runs `args` (else it sleeps), and is gone afterwards."""
    container = house.create("c", house.spec(change, *(args or ("sleep", "1000"))))
    try:
        run(house.runtime.start("c"))
        yield house.runtime.state("c")[0]
    finally:
        run(house.runtime.delete("c", force=True))
        try:
            os.waitid(os.P_PIDFD, container.pidfd, os.WEXITED)
        except ChildProcessError:
            pass  # a test has waited for it
        os.close(container.pidfd)


def places_of(text: str, known: Collection[str]) -> list[str]:
    """The lines of a /proc/PID/cgroup for the controllers in `known`: there may be a hierarchy that
    nobody has mounted here."""
    return [
        line for line in text.splitlines() if set(line.split(":", 2)[1].split(",")) & set(known)
    ]


def freeze(house: House, id: str) -> None:
    """Pause a container as a stranger does."""
    groups = states.read(house.runtime.root, id).cgroups
    found = cgroups.freezer(groups)
    assert found is not None
    cgroups.write(*found[:3])
    eventually(lambda: cgroups.frozen(groups))


def cgroups_left(root: Path) -> list[str]:
    """Cgroups that carry the mark of containers of `root`."""
    from zlib import crc32

    mark = f"mobyshell-{crc32(bytes(root)):08x}-"
    found = []
    for top, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"{top}/{name}" for name in names if name.startswith(mark)]
    return found


def mounts_of(directory: Path) -> list[str]:
    """The mounts of this machine, without those of other programs at the same time.

    Engines and other runs of tests mount and unmount in their own places, which are below these.
    """
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    theirs = [f" {place}/" for place in ("/tmp", "/run", "/var", "/root", "/dev/shm")]
    return [
        line for line in lines
        if str(directory) in line or not any(place in line for place in theirs)
    ]  # fmt: skip


def descriptors() -> list[str]:
    """Our open descriptors, but for the memory of programs, which are kept with their plans."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            name = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # the one that the listing itself has used
            continue
        if not name.startswith("/memfd:mobyshell"):
            found.append(f"{fd} {name}")
    return sorted(found)


@pytest.fixture
def material(tmp_path: Path) -> Iterator[Path]:
    """A tree with something mounted in it."""
    place = tmp_path / "material"
    (place / "inner").mkdir(parents=True)
    (place / "file").write_text("said\n")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(place / "inner")], check=True)
    (place / "inner" / "deep").write_text("deep\n")
    yield place
    subprocess.run(["umount", str(place / "inner")], check=True)


@pytest.fixture
def house(tmp_path: Path, busybox: Path) -> Iterator[House]:
    """A runtime of one's own; afterwards nothing of it may be left."""
    events: list[Payload] = []
    root = tmp_path / "root"
    runtime = Runtime(root, sink=lambda _, payload: events.append(payload))
    mounts = mounts_of(tmp_path)
    yield House(runtime, busybox, tmp_path, events)
    for state, _ in runtime.list():
        run(runtime.delete(state.id, force=True))
    assert not root.exists() or os.listdir(root) == []
    assert cgroups_left(root) == []
    assert mounts_of(tmp_path) == mounts

"""The runtime as a process: a root and a bundle of one's own, and nothing left afterwards."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.oci import default_spec, spec_to_json
from mobyshell.core.runtime.bundle import new_bundle
from tests.core.runtime.conftest import cgroups_left
from tests.undertaker import undertaker

PROGRAM = [sys.executable, "-m", "mobyshell.runc"]
PATIENCE = 60.0
SCRIPTS = Path(__file__).parents[2] / "scripts"

Done = subprocess.CompletedProcess[str]


class Machine:
    """One runtime binary with a root, and a bundle to change."""

    def __init__(self, directory: Path, rootfs: Path, program: list[str]) -> None:
        self.directory, self.program = directory, program
        self.root = directory / "root"
        self.bundle = directory / "bundle"
        self.bundle.mkdir()
        self.rootfs = rootfs
        self.environment = {
            key: value
            for key, value in os.environ.items()
            if key not in ("LISTEN_FDS", "NOTIFY_SOCKET", "XDG_RUNTIME_DIR")
        }
        self.spec()

    def with_program(self, program: list[str]) -> Machine:
        """The same root and bundle, for another program."""
        other = copy.copy(self)
        other.program = program
        return other

    def spec(
        self, *args: str, change: Callable[[dict[str, Any]], object] | None = None
    ) -> dict[str, Any]:
        """Write the bundle's config.json: the default without a terminal, running `args`."""
        document: dict[str, Any] = copy.deepcopy(spec_to_json(default_spec()))
        document["process"]["terminal"] = False
        document["process"]["args"] = list(args or ("true",))
        document["root"]["path"] = str(self.rootfs)
        if change is not None:
            change(document)
        (self.bundle / "config.json").write_text(json.dumps(document))
        return document

    def words(self, *words: str) -> list[str]:
        return [*self.program, "--root", str(self.root), *words]

    def call(self, *words: str, **options: Any) -> Done:
        """One call to its end, at the bundle."""
        given = {"cwd": self.bundle, "env": self.environment, "stdin": subprocess.DEVNULL,
                 "capture_output": True, "text": True, "timeout": PATIENCE}  # fmt: skip
        if "input" in options:
            del given["stdin"]
        return subprocess.run(self.words(*words), check=False, **{**given, **options})

    def ok(self, *words: str, **options: Any) -> str:
        """Its output; it must succeed."""
        done = self.call(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def quiet(self, *words: str) -> None:
        """It must succeed; for those whose container keeps the streams open."""
        null = subprocess.DEVNULL
        done = subprocess.run(
            self.words(*words), cwd=self.bundle, env=self.environment, stdin=null, stdout=null,
            stderr=null, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, words

    def fails(self, *words: str, status: int = 1, **options: Any) -> str:
        """The message of its last error; it must fail with `status`."""
        done = self.call(*words, **options)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return message(done.stderr)

    def state(self, id: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.ok("state", id))
        return found

    def status(self, id: str) -> str:
        return str(self.state(id)["status"])

    def background(self, id: str = "c", *args: str) -> int:
        """A running container, with its streams on /dev/null; its pid."""
        self.spec(*(args or ("sleep", "1000")))
        self.quiet("run", "--detach", id)
        return int(self.state(id)["pid"])

    def clear(self) -> None:
        if not self.root.exists():
            return
        for one in json.loads(self.ok("list", "--format", "json")) or ():
            self.ok("delete", "--force", one["id"])


def message(stderr: str) -> str:
    """What the last line of the log says."""
    line = stderr.strip().splitlines()[-1]
    assert " level=" in line, stderr
    text = line.split(" msg=", 1)[1]
    return str(json.loads(text)) if text.startswith('"') else text


def containers(root: Path) -> list[str]:
    """What lies in a root, but for stored plans."""
    return [name for name in os.listdir(root) if name != ".plans"] if root.exists() else []


@pytest.fixture(scope="package", autouse=True)
def _init() -> Iterator[None]:
    with undertaker():
        yield


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A busybox root; read-only for the tests."""
    bundle = new_bundle(tmp_path_factory.mktemp("bundles") / "busybox", "busybox")
    return bundle / "rootfs"


@pytest.fixture
def ours(tmp_path: Path, rootfs: Path) -> Iterator[Machine]:
    """mobyshell-runc; afterwards no container, mount, cgroup or process of it may be left."""
    place = tmp_path / "ours"
    place.mkdir()
    machine = Machine(place, rootfs, PROGRAM)
    yield machine
    machine.clear()
    assert containers(machine.root) == []
    assert cgroups_left(machine.root) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture
def theirs(tmp_path: Path, rootfs: Path) -> Iterator[Machine]:
    """The machine's own runc, to compare with."""
    found = shutil.which("runc", path="/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin")
    assert found, "runc is missing: see .ci/packages"
    place = tmp_path / "theirs"
    place.mkdir()
    machine = Machine(place, rootfs, [found])
    yield machine
    machine.clear()


def as_installed(machine: Machine, place: Path, python: str) -> Machine:
    """The same machine with the program as it is installed, of the tree that is tested, in the new
    directory `place`; beside it, in Python's place, this script of sh."""
    place.mkdir()
    for name in ("mobyshell-runc", "mobyshell-runc-x86_64", "mobyshell-runc-verbs-x86_64"):
        shutil.copy(SCRIPTS / name, place / name)
    (place / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (place / "python3").chmod(0o755)
    return machine.with_program([str(place / "mobyshell-runc")])

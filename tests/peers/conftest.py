"""Real engines, one of each for this directory; each test gets one without containers."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.peers import engines
from tests.peers.engines import Engine
from tests.waiting import eventually


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker-archive of busybox."""
    return engines.write_image(tmp_path_factory.mktemp("image") / "image.tar")


@contextmanager
def _place(name: str) -> Iterator[tuple[Path, str]]:
    """A directory and a cgroup of its own. podman takes no more than 50 characters of a path, and
    sockets no more than 107, so it lies as high as can be."""
    directory = Path(tempfile.mkdtemp(prefix="moby-", dir="/tmp"))
    try:
        yield directory / name[0], f"moby-test-{os.getpid()}-{name}"
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="package")
def containerd_daemon(archive: Path) -> Iterator[Engine]:
    with _place("containerd") as place, engines.containerd(*place) as engine:
        engines.load(engine, archive)
        yield engine


@pytest.fixture(scope="package")
def docker_daemon(archive: Path, containerd_daemon: Engine) -> Iterator[Engine]:
    with _place("docker") as place, engines.docker(*place, containerd_daemon) as engine:
        engines.load(engine, archive)
        yield engine


@pytest.fixture(scope="package")
def podman_home(archive: Path) -> Iterator[Engine]:
    with _place("podman") as place, engines.podman(*place) as engine:
        engines.load(engine, archive)
        yield engine


@pytest.fixture
def ctr(containerd_daemon: Engine) -> Iterator[Engine]:
    """containerd; afterwards its containers are removed, running or not."""
    with _emptied(containerd_daemon):
        yield containerd_daemon


@pytest.fixture
def docker(docker_daemon: Engine) -> Iterator[Engine]:
    """docker; likewise."""
    with _emptied(docker_daemon):
        yield docker_daemon


@pytest.fixture
def podman(podman_home: Engine) -> Iterator[Engine]:
    """podman; likewise."""
    with _emptied(podman_home):
        yield podman_home


@contextmanager
def _emptied(engine: Engine) -> Iterator[None]:
    try:
        yield
    finally:
        if engine.name == "containerd":
            for id in engine.ok("tasks", "ls", "-q").split():
                engine.call("tasks", "kill", "--all", "-s", "KILL", id)
                eventually(partial(_gone, engine, id))
            for id in engine.ok("containers", "ls", "-q").split():
                engine.ok("containers", "rm", id)
        else:
            eventually(partial(_empty, engine))


def _empty(engine: Engine) -> bool:
    """Whether docker or podman has no container; what it has is removed (some is on its way)."""
    ids = engine.call("ps", "-aq").stdout.split()
    if ids:
        engine.call("rm", "-f", *(("-t", "0") if engine.name == "podman" else ()), *ids)
    done = engine.call("ps", "-aq")
    return done.returncode == 0 and not done.stdout.strip()


def _gone(engine: Engine, id: str) -> bool:
    """Whether a task is deleted; a deletion is tried, as ctr does not do it with its end."""
    done = engine.call("tasks", "rm", "-f", id)
    return done.returncode == 0 or "not found" in done.stderr


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each of the two whose clients speak the same language."""
    found: Engine = request.getfixturevalue(request.param)
    return found

"""Real engines, one of each for this directory; each test gets one without containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from tests.peers import engines
from tests.peers.engines import Engine
from tests.peers.tools import eventually


@pytest.fixture(scope="package")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A docker-archive of busybox."""
    return engines.write_image(tmp_path_factory.mktemp("image") / "image.tar")


def _place(factory: pytest.TempPathFactory, name: str) -> tuple[Path, str]:
    """A directory and a cgroup of its own."""
    return factory.mktemp(name) / name[0], f"moby-test-{os.getpid()}-{name}"


@pytest.fixture(scope="package")
def containerd_daemon(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Engine]:
    with engines.containerd(*_place(tmp_path_factory, "containerd")) as engine:
        engines.load(engine, archive)
        yield engine


@pytest.fixture(scope="package")
def docker_daemon(
    tmp_path_factory: pytest.TempPathFactory, archive: Path, containerd_daemon: Engine
) -> Iterator[Engine]:
    with engines.docker(*_place(tmp_path_factory, "docker"), containerd_daemon) as engine:
        engines.load(engine, archive)
        yield engine


@pytest.fixture(scope="package")
def podman_home(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Iterator[Engine]:
    with engines.podman(*_place(tmp_path_factory, "podman")) as engine:
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

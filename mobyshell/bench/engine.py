"""A containerd and a registry of one's own, in private directories; ended, and nothing left of
them, at the end."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import psutil

from mobyshell.bench.workshop import program
from mobyshell.core.errors import TimedOut
from mobyshell.core.linux import cgroups


@dataclass(frozen=True, slots=True)
class Containerd:
    """A running one. `words`: its ctr, with address and namespace."""

    words: tuple[str, ...]
    pid: int

    def cpu(self) -> float:
        """Seconds of processor time that it and its helpers have taken so far."""
        told = psutil.Process(self.pid).cpu_times()
        return float(told.user + told.system + told.children_user + told.children_system)

    @property
    def address(self) -> str:
        """Its socket, which stands in the command lines of its shims."""
        return self.words[2]

    def remove(self, id: str) -> None:
        """Kill and delete a task and its container; whatever of them there is."""
        for tail in (["task", "rm", "--force", id], ["containers", "rm", id]):
            subprocess.run([*self.words, *tail], capture_output=True, check=False)


@contextmanager
def containerd(home: Path) -> Iterator[Containerd]:
    """Start one whose files are below `home`. Unsupported where it is not installed."""
    daemon, ctr = program("containerd"), program("ctr")
    home.mkdir()
    config, address = home / "config.toml", str(home / "c.sock")
    config.write_text(
        f'version = 2\nroot = "{home}/root"\nstate = "{home}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
        f'[grpc]\n  address = "{address}"\n[ttrpc]\n  address = "{address}.ttrpc"\n'
    )
    with open(home / "log", "wb") as log:
        server = subprocess.Popen(
            [daemon, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            process_group=0,  # Ctrl-C is for the bench, which needs it to take away what there is
        )
    name = f"mobyshell-bench-{os.getpid()}"
    words = (ctr, "--address", address, "--namespace", name)
    try:
        ask = [*words, "version"]
        _await(lambda: not subprocess.run(ask, capture_output=True, check=False).returncode,
               "containerd")  # fmt: skip
        yield Containerd(words, server.pid)
    finally:
        server.terminate()
        server.wait(10)
        # containerd's namespace is a level above its containers' cgroups, and nobody's to remove
        cgroups.remove_empty([*glob(f"/sys/fs/cgroup/*/{name}"), f"/sys/fs/cgroup/{name}"])


@dataclass(frozen=True, slots=True)
class Podman:
    """One that is ready. `options`: what its containers need besides."""

    words: tuple[str, ...]
    options: tuple[str, ...]
    environment: dict[str, str]


@contextmanager
def podman(home: Path) -> Iterator[Podman]:
    """A podman whose files are below `home`, with runc where there is one. Unsupported where it is
    not installed."""
    words = [program("podman")]
    runtime = shutil.which("runc", path=f"/usr/sbin:/usr/bin:{os.defpath}")
    group = f"mobyshell-bench-{os.getpid()}"
    tops = set(os.listdir("/sys/fs/cgroup"))
    for name in ("home", "tmp", "xdg"):
        (home / name).mkdir(parents=True)
    (home / "containers.conf").write_text(
        '[containers]\nnetns = "none"\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
        f'[engine]\nlock_type = "file"\ntmp_dir = "{home}/tmp"\nvolume_path = "{home}/volumes"\n'
        f'[network]\nnetwork_config_dir = "{home}/net"\n'
    )
    (home / "storage.conf").write_text(
        f'[storage]\ndriver = "vfs"\ngraphroot = "{home}/root"\nrunroot = "{home}/run"\n'
    )
    words += ["--root", f"{home}/root", "--runroot", f"{home}/run", "--tmpdir", f"{home}/tmp",
              "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none",
              *(["--runtime", runtime] if runtime else [])]  # fmt: skip
    try:
        yield Podman(tuple(words), ("--cgroup-parent", f"/{group}"), {
            "HOME": f"{home}/home", "CONTAINERS_CONF": f"{home}/containers.conf",
            "CONTAINERS_STORAGE_CONF": f"{home}/storage.conf", "TMPDIR": f"{home}/tmp",
            "XDG_RUNTIME_DIR": f"{home}/xdg",
        })  # fmt: skip
    finally:
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{home}/"):  # it mounts its own root onto itself
                subprocess.run(["umount", "-l", line.split()[1]], check=False)
        _remove_groups(group, tops)


def _remove_groups(group: str, tops: set[str]) -> None:
    """Podman's own, with the one of its monitors, which take a moment to leave; and the directories
    that it makes for controllers that are not mounted. TimedOut if they stay."""

    def left() -> list[str]:
        return [*glob(f"/sys/fs/cgroup/*/{group}"), *glob(f"/sys/fs/cgroup/{group}")]

    def gone() -> bool:
        for path in left():
            cgroups.remove_empty([*glob(f"{path}/*/"), path])
        return not left()

    _await(gone, "podman's monitors", "leave")
    found = set(os.listdir("/sys/fs/cgroup"))
    cgroups.remove_empty(f"/sys/fs/cgroup/{name}" for name in found - tops)


@contextmanager
def distribution(home: Path) -> Iterator[str]:
    """A registry that keeps its files below `home`: its host and port on 127.0.0.1. Unsupported where
    docker-registry is not installed."""
    server = program("docker-registry")
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    config = {
        "version": 0.1, "log": {"level": "error", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(home / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }  # fmt: skip
    (home / "config.yml").write_text(json.dumps(config))  # YAML has JSON in it
    with open(home / "log", "wb") as log:
        process = subprocess.Popen(
            [server, "serve", str(home / "config.yml")], stdin=subprocess.DEVNULL, stdout=log,
            stderr=log, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"}, process_group=0,
        )  # fmt: skip
    try:
        _await(lambda: _listens(port), "docker-registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _await(ready: Callable[[], bool], name: str, what: str = "come up") -> None:
    deadline = time.monotonic() + 20
    while not ready():
        if time.monotonic() > deadline:
            raise TimedOut(f"{name} did not {what}")
        time.sleep(0.05)

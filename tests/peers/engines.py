"""The real engines, each below a directory of its own, with the runtime under test in them.

An engine knows how its client is called and what its containers' cgroups are named by; `call` runs
the client, `talk` runs it at a terminal. Nothing of the machine's own configuration is read.
"""

from __future__ import annotations

import json
import os
import socket as socket_module
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.images import NAME, write_image
from tests.peers.tools import Behind, Talk, call, clear, daemon, environment, tail

RUNTIME = os.environ.get("PEER_RUNTIME") or str(Path(sys.executable).parent / "mobyshell-runc")
"""What the engines call: ours. The variable is for finding out what another one does."""


@dataclass(frozen=True)
class Engine:
    """A client that talks to one engine. `group`: the cgroup below which its containers are."""

    name: str
    words: tuple[str, ...]
    env: dict[str, str]
    directory: Path
    group: str
    log: Path | None = None

    def call(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
        """Run the client with these words, not at a terminal."""
        return call([*self.words, *words], env=self.env, stdin=stdin, cwd=self.directory)

    def ok(self, *words: str, stdin: bytes = b"") -> str:
        """What it printed; it must succeed."""
        done = self.call(*words, stdin=stdin)
        assert done.returncode == 0, f"{done.args}: {done.returncode}\n{done.stderr}{self._log()}"
        return done.stdout.strip()

    def talk(self, *words: str) -> Talk:
        """Run the client at a terminal."""
        return Talk([*self.words, *words], self.env, self.directory)

    def behind(self, directory: Path, *words: str) -> Behind:
        """Run the client beside the test, its output in `directory`."""
        return Behind([*self.words, *words], self.env, self.directory, directory)

    def _log(self) -> str:
        return f"\nthe daemon's log:\n{tail(self.log)}" if self.log is not None else ""


def group_of(pid: int, controller: str) -> Path:
    """The directory of a process's cgroup: of a v1 controller, or the unified one without it."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(","):
            return Path(f"/sys/fs/cgroup/{controller}{path}")
    return Path("/sys/fs/cgroup") / path.lstrip("/")


def limit(pid: int, v1: str, v2: str) -> str:
    """The value of a limit of a process: the v1 file `controller/name`, or its v2 name."""
    controller, _, name = v1.partition("/")
    group = group_of(pid, controller)
    return (group / (name if (group / name).exists() else v2)).read_text().strip()


@contextmanager
def containerd(directory: Path, group: str) -> Iterator[Engine]:
    """A containerd with the image loaded into namespace `group`; its client is ctr."""
    with _room(directory, group):
        socket, log = directory / "c.sock", directory / "containerd.log"
        metrics = f"127.0.0.1:{_free_port()}"
        config = directory / "config.toml"
        config.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{socket}.ttrpc"\n'
            f'[metrics]\naddress = "{metrics}"\n'
        )
        env = environment(
            CONTAINERD_NAMESPACE=group,
            CONTAINERD_SNAPSHOTTER="native",
            CONTAINERD_ADDRESS=str(socket),
            CONTAINERD_METRICS=f"http://{metrics}/v1/metrics",  # for tests, nobody else reads it
        )
        engine = Engine("containerd", ("ctr",), env, directory, group, log)

        def answers() -> bool:
            return engine.call("version").returncode == 0

        with daemon(["containerd", "-c", str(config)], env, log, answers):
            yield engine


def _free_port() -> int:
    with socket_module.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@contextmanager
def docker(directory: Path, group: str, containerd: Engine) -> Iterator[Engine]:
    """A dockerd that uses `containerd`, with the image loaded; its client is docker."""
    with _room(directory, group):
        socket, log, config = (
            directory / "d.sock",
            directory / "dockerd.log",
            directory / "daemon.json",
        )
        config.write_text(json.dumps({
            "data-root": f"{directory}/data", "exec-root": f"{directory}/exec",
            "pidfile": f"{directory}/pid", "hosts": [f"unix://{socket}"],
            "containerd": containerd.env["CONTAINERD_ADDRESS"], "containerd-namespace": group,
            "iptables": False, "ip6tables": False, "ip-forward": False, "ip-masq": False,
            "bridge": "none", "userland-proxy": False, "storage-driver": "vfs",
            "cgroup-parent": f"/{group}", "exec-opts": ["native.cgroupdriver=cgroupfs"],
            # root of a virtual machine may not raise limits
            "default-ulimits": {"nofile": {"Name": "nofile", "Hard": 1024, "Soft": 1024}},
            "runtimes": {"tested": {"path": RUNTIME}}, "default-runtime": "tested",
        }))  # fmt: skip
        env = environment(DOCKER_CONFIG=str(directory / "client"))
        words = (_docker_client(), "-H", f"unix://{socket}")
        engine = Engine("docker", words, env, directory, group, log)

        def answers() -> bool:
            return engine.call("version").returncode == 0

        arguments = ["dockerd", "--config-file", str(config)]
        with daemon(arguments, env, log, answers):
            yield engine


def _docker_client() -> str:
    """Debian's client, of dockerd's version: another in the PATH may refuse an old daemon."""
    return "/usr/bin/docker" if os.path.exists("/usr/bin/docker") else "docker"


@contextmanager
def podman(directory: Path, group: str) -> Iterator[Engine]:
    """A podman, which needs no daemon."""
    with _room(directory, group):
        (directory / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (directory / "registries.conf").write_text("unqualified-search-registries = []\n")
        (directory / "storage.conf").write_text(
            f'[storage]\ndriver = "vfs"\ngraphroot = "{directory}/root"\nrunroot = "{directory}/run"\n'
        )
        (directory / "containers.conf").write_text(
            # root of a virtual machine may not raise limits
            '[containers]\nnetns = "none"\ndefault_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]\n'
            '[engine]\nruntime_supports_json = ["mobyshell-runc", "runc", "crun"]\n'
            f'lock_type = "file"\ntmp_dir = "{directory}/tmp"\nvolume_path = "{directory}/volumes"\n'
            f'[network]\nnetwork_config_dir = "{directory}/net"\n'
        )
        env = environment(
            HOME=str(directory / "home"), CONTAINERS_CONF=f"{directory}/containers.conf",
            CONTAINERS_STORAGE_CONF=f"{directory}/storage.conf",
            CONTAINERS_REGISTRIES_CONF=f"{directory}/registries.conf", TMPDIR=str(directory / "tmp"),
            XDG_RUNTIME_DIR=str(directory / "xdg"),
        )  # fmt: skip
        for name in ("home", "tmp", "xdg"):
            (directory / name).mkdir()
        words = (
            "podman", "--root", f"{directory}/root", "--runroot", f"{directory}/run",
            "--tmpdir", f"{directory}/tmp", "--storage-driver", "vfs", "--runtime", RUNTIME,
            "--cgroup-manager", "cgroupfs", "--events-backend", "file",
            "--network-config-dir", f"{directory}/net",
        )  # fmt: skip
        yield Engine("podman", words, env, directory, group)


@contextmanager
def _room(directory: Path, group: str) -> Iterator[None]:
    """A directory for an engine. Afterwards nothing of it is left, whatever happened; what was left
    is named."""
    directory.mkdir()
    tops = set(os.listdir("/sys/fs/cgroup"))
    # in memory: engines sync each of their steps to the disk, which is nobody's concern here
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "mode=711,size=2g", "moby-test", str(directory)],
        env=environment(), check=True,
    )  # fmt: skip
    try:
        yield
    finally:
        try:
            left = clear(directory, group)
        finally:
            subprocess.run(["umount", "-l", str(directory)], env=environment(), check=True)
        for name in ("fifo", "s", "runc", "."):  # made by ctr and the shim, wherever the state is
            _remove_empty(f"/run/containerd/{name}")
        # podman makes directories for controllers that are not mounted
        for name in set(os.listdir("/sys/fs/cgroup")) - tops:
            _remove_empty(f"/sys/fs/cgroup/{name}")
    assert not left, left


def _remove_empty(directory: str) -> None:
    try:
        os.rmdir(directory)
    except OSError:
        pass  # in use, or never made


def load(engine: Engine, archive: Path) -> None:
    """Give the image to an engine."""
    if engine.name == "containerd":
        engine.ok("images", "import", "--snapshotter", "native", str(archive))
    elif engine.name == "podman":
        engine.ok(
            "load", "--signature-policy", f"{engine.directory}/policy.json", "-i", str(archive)
        )
    else:
        engine.ok("load", "-i", str(archive))


__all__ = ["NAME", "RUNTIME", "Engine", "containerd", "docker", "group_of", "limit", "load",
           "podman", "write_image"]  # fmt: skip

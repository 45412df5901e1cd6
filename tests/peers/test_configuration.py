"""What README.md and docs/engines.md tell people to write into engines' files, given to the engines.

The lines are taken out of the pages as they are; only the place of the runtime is changed.
"""

from __future__ import annotations

import json
import re
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.peers.engines import NAME, RUNTIME, Engine
from tests.peers.tools import call, daemon, environment

pytestmark = [pytest.mark.root, pytest.mark.peer]

ROOT = Path(__file__).parents[2]
PLACE = "/usr/local/bin/mobyshell-runc"

pages = pytest.mark.parametrize("page", ["README.md", "docs/engines.md"])


def block(page: str, first: str) -> str:
    """The lines of a page from one that matches `first` to the next empty one, without indentation."""
    found = re.findall(rf"^    {first}\n(?:    .+\n)+", (ROOT / page).read_text(), re.MULTILINE)
    assert len(found) == 1, found
    return textwrap.dedent(found[0])


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory: sockets' paths have an end."""
    with tempfile.TemporaryDirectory(prefix="moby-", dir="/tmp") as name:
        yield Path(name)


@pages
def test_containerd_loads_its_cri_plugin_with_both_runtimes(page: str, place: Path) -> None:
    written = block(page, "version = 2").replace(PLACE, RUNTIME)
    assert RUNTIME in written
    socket, config = place / "s", place / "config.toml"
    config.write_text(
        'disabled_plugins = ["io.containerd.internal.v1.opt"]\n'  # it makes /opt/containerd
        + written
        + f'[plugins."io.containerd.grpc.v1.cri".cni]\n  conf_dir = "{place}/net"\n'
    )
    words = ["containerd", "-c", str(config), "-a", str(socket)]
    words += ["--root", f"{place}/root", "--state", f"{place}/state"]
    env = environment(CONTAINERD_ADDRESS=str(socket))

    def plugins() -> str:
        return call(["ctr", "plugins", "ls"], env=env, cwd=place).stdout

    with daemon(words, env, place / "log", lambda: "io.containerd" in plugins()):
        rows = [line.split() for line in plugins().splitlines()]
        cri = next(row for row in rows if row[:2] == ["io.containerd.grpc.v1", "cri"])
        assert cri[-1] == "ok", (place / "log").read_text()
    dump = call(["containerd", "-c", str(config), "config", "dump"], env=env, cwd=place).stdout
    containerd = tomllib.loads(dump)["plugins"]["io.containerd.grpc.v1.cri"]["containerd"]
    assert set(containerd["runtimes"]) == {"runc", "mobyshell"}
    assert containerd["runtimes"]["mobyshell"]["options"]["BinaryName"] == RUNTIME


@pages
def test_podman_takes_the_runtime_and_reads_its_messages(page: str, podman: Engine) -> None:
    written = block(page, r"\[engine\]").replace(PLACE, RUNTIME)
    own = Path(podman.env["CONTAINERS_CONF"]).read_text()
    config = podman.directory / "documented.conf"
    config.write_text(re.sub(r"^\[engine\]\n.*", written.strip(), own, flags=re.MULTILINE))
    at = podman.words.index("--runtime")
    words = [*podman.words[:at], *podman.words[at + 2 :]]
    env = {**podman.env, "CONTAINERS_CONF": str(config)}
    info = [*words, "info", "--format", "{{.Host.OCIRuntime.Path}}"]
    assert call(info, env=env, cwd=podman.directory).stdout.strip() == RUNTIME
    run = [*words, "run", "--rm", "--network", "none", "--cgroup-parent", f"/{podman.group}"]
    done = call([*run, NAME, "nosuch"], env=env, cwd=podman.directory)
    assert done.returncode == 127
    assert 'exec: "nosuch": executable file not found in $PATH' in done.stderr
    assert "level=" not in done.stderr
    assert "time=" not in done.stderr


@pages
def test_docker_is_given_what_it_asks_for(page: str) -> None:
    written = block(page, r'\{(?: "runtimes".*)?')
    assert json.loads(written) == {"runtimes": {"mobyshell": {"path": PLACE}}}


@pages
def test_the_runtime_class_names_what_containerd_knows(page: str) -> None:
    given = yaml.safe_load(block(page, r"apiVersion: .*"))
    assert given == {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": "mobyshell"},
        "handler": "mobyshell",
    }
    plugins = tomllib.loads(block(page, "version = 2"))["plugins"]
    assert given["handler"] in plugins["io.containerd.grpc.v1.cri"]["containerd"]["runtimes"]

"""A "host" that is a network namespace of the test's own, and networks in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.network import ports
from mobyshell.core.network.attach import Networking
from mobyshell.core.network.values import Attachment, Request
from tests.netns import Netns, environment


class Home:
    """Networks of a host, and containers that are nothing but a network namespace."""

    def __init__(self, directory: Path, host: Netns) -> None:
        self.host, self.directory = host, directory
        self.root, self.state = directory / "root", directory / "state"
        self.net = Networking(str(self.root), str(self.state), "default", host=host.path)
        self.started: list[subprocess.Popen[bytes]] = []

    def attach(
        self, id: str, *networks: str, publish: tuple[str, ...] = (), **more: Any
    ) -> Attachment:
        """Attach a container that then exists."""
        mapped = tuple(one for word in publish for one in ports.parse(word))
        with self.net.attach(Request(id, networks, mapped, hostname=id, **more)) as held:
            (self.state / "default" / id).mkdir(parents=True)
        return held.attachment

    def delete(self, id: str) -> None:
        """As a task's deletion: the container, then its networks."""
        (self.state / "default" / id).rmdir()
        assert self.net.detach(id)

    def inside(self, where: Attachment, *words: str, check: bool = True) -> str:
        """Run a command in a container."""
        done = subprocess.run(
            ["nsenter", f"--net={where.netns}", *words], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, timeout=60, check=False, env=environment(),
        )  # fmt: skip
        assert not check or done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def serve(
        self, where: Attachment, port: int, *, address: str = "0.0.0.0", udp: bool = False,
        asked: bool = False,
    ) -> None:  # fmt: skip
        """Answer on a port of a container with who asked; it listens when this returns. `asked`: only
        once something was sent."""
        code = _UDP if udp else _TCP
        process = subprocess.Popen(
            ["nsenter", f"--net={where.netns}", sys.executable, "-c", code, address, str(port),
             *(["asked"] if asked else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

    def leftovers(self) -> dict[str, Any]:
        """What is in the host's network, in mounts and in the state root."""
        return {
            "links": {one["ifname"] for one in self.host.ip("link", "show")} - {"lo"},
            "rules": self.host.run("nft", "list", "ruleset").stdout,
            "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines()
                       if str(self.directory) in line],
            "records": self.net.records.ids(),
        }  # fmt: skip

    def close(self) -> None:
        """End what was started, and let everything go."""
        for process in self.started:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        self.net.reconcile(lambda *_: False)
        assert self.leftovers()["mounts"] == []


_TCP = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
with socket.socket(family) as listening:
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((sys.argv[1], int(sys.argv[2])))
    listening.listen(64)
    print("ready", flush=True)
    while True:
        line, who = listening.accept()
        with line:
            if sys.argv[3:]:
                line.recv(4096)
            line.sendall(b"from " + who[0].encode())
"""

_UDP = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind((sys.argv[1], int(sys.argv[2])))
    print("ready", flush=True)
    while True:
        data, who = sock.recvfrom(65536)
        sock.sendto(b"from " + who[0].encode() + b" " + data, who)
"""

ASK = """
import socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
kind = socket.SOCK_DGRAM if sys.argv[3] == "udp" else socket.SOCK_STREAM
with socket.socket(family, kind) as line:
    line.settimeout(20)
    line.connect((sys.argv[1], int(sys.argv[2])))
    if sys.argv[4:]:
        line.send(sys.argv[4].encode())
    print(line.recv(65536).decode())
"""


def asking(address: str, port: int, *data: str, udp: bool = False) -> list[str]:
    """The words of a command that asks a server of `Home.serve`."""
    return [sys.executable, "-c", ASK, address, str(port), "udp" if udp else "tcp", *data]


@pytest.fixture
def host() -> Iterator[Netns]:
    with Netns() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, host: Netns, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.setenv("NETCONFPATH", str(tmp_path / "net.d"))
    before = os.readlink("/proc/self/ns/net")
    made = Home(tmp_path, host)
    yield made
    made.close()
    assert os.readlink("/proc/self/ns/net") == before

"""Programs that carry packets where the kernel does not: the port proxy, pasta, slirp4netns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from mobyshell.core.errors import MobyshellError, Unsupported
from mobyshell.core.network import attach, ports
from mobyshell.core.network.values import Attachment, Request
from mobyshell.core.tasks.surroundings import Wishes
from tests.core.network.conftest import Home, asking
from tests.netns import Netns, connect_hosts
from tests.users import package_for_all, python_for

pytestmark = pytest.mark.root


@pytest.fixture
def no_nftables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attach, "has_nftables", lambda: False)


def _proxy(where: Attachment) -> int:
    return int(Path(where.directory, "proxy.pid").read_text().split()[0])


@pytest.mark.usefixtures("no_nftables")
def test_ports_without_the_kernels_help(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"], isolated=False, routed=True,
                             ipv6=True)  # fmt: skip
    one = home.attach("one", "web", publish=("8080:80", "5300:53/udp", "[::1]:8081:81"))
    home.serve(one, 80)
    home.serve(one, 53, udp=True)
    home.serve(one, 81, address="::")
    pid = _proxy(one)
    assert home.leftovers()["rules"] == ""
    for _ in range(3):
        assert home.host.run(*asking("127.0.0.1", 8080)).stdout == "from 10.33.0.1\n"
    assert home.host.run(*asking("127.0.0.1", 5300, "hi", udp=True)).stdout == "from 10.33.0.1 hi\n"
    assert home.host.run(*asking("::1", 8081)).stdout.startswith("from fd")
    home.delete("one")
    assert (
        not os.path.exists(f"/proc/{pid}/cmdline") or not Path(f"/proc/{pid}/cmdline").read_text()
    )


_ECHO = """
import socket, sys, threading
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
def serve(line):
    data = b"".join(iter(lambda: line.recv(65536), b""))
    line.sendall(data)
    line.close()
while True:
    threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()
"""


@pytest.fixture
def echo() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", _ECHO], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
    process.stdout.close()


def _start_proxy(directory: Path, *words: str) -> tuple[int, subprocess.CompletedProcess[str]]:
    pidfile = directory / "proxy.pid"
    done = subprocess.run(
        [sys.executable, "-m", "mobyshell.core.network.proxy", str(pidfile), *words],
        capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60,
    )  # fmt: skip
    return int(pidfile.read_text().split()[0]) if done.returncode == 0 else 0, done


def _free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def test_the_proxy_passes_everything_on_both_ways(tmp_path: Path, echo: int) -> None:
    port = _free()
    pid, _ = _start_proxy(tmp_path, f"tcp|127.0.0.1|{port}|127.0.0.1|{echo}")
    data = os.urandom(3 << 20)
    try:
        lines = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(5)]
        for line in lines:
            line.sendall(data)
            line.shutdown(socket.SHUT_WR)  # half closed: the answer still comes
        for line in lines:
            assert b"".join(iter(partial(line.recv, 1 << 16), b"")) == data
            line.close()
        nobody = _free()
    finally:
        os.kill(pid, 15)
    other, _ = _start_proxy(tmp_path, f"tcp|127.0.0.1|{port}|127.0.0.1|{nobody}")
    try:
        with socket.create_connection(("127.0.0.1", port), 60) as line:
            try:
                assert line.recv(10) == b""
            except ConnectionResetError:
                pass
    finally:
        os.kill(other, 15)


def test_a_port_that_cannot_be_had_is_named(tmp_path: Path, echo: int) -> None:
    _, done = _start_proxy(tmp_path, f"tcp|127.0.0.1|{echo}|127.0.0.1|1")
    assert done.returncode == 1
    assert f"port {echo}/tcp: Address already in use" in done.stderr


@pytest.fixture
def outside(home: Home) -> Iterator[Netns]:
    """A machine beside the host, which is the host's way out."""
    with Netns() as made:
        connect_hosts(home.host, made)
        yield made


@pytest.mark.peer
@pytest.mark.parametrize("program", ["pasta", "slirp4netns"])
def test_user_mode_networks(home: Home, outside: Netns, program: str) -> None:
    request = Request("one", (program,), ports.parse("8080:80"), hostname="one")
    assert program in home.net.plan(request).operations[-1].shell
    one = home.attach("one", program, publish=("8080:80",))
    server = Attachment("", "", outside.path)
    home.serve(server, 9)
    # pasta of Debian 12 lets no server speak first to who comes from outside
    home.serve(one, 80, asked=True)
    assert home.inside(one, *asking("198.51.100.2", 9)) == "from 198.51.100.1\n"
    assert outside.run(*asking("198.51.100.1", 8080, "hi")).stdout.startswith("from ")
    runs = int(Path(one.directory, "slirp.pid").read_text().split()[0])
    assert program in Path(f"/proc/{runs}/cmdline").read_text()
    home.delete("one")
    assert not os.path.exists(f"/proc/{runs}/exe") or not os.readlink(f"/proc/{runs}/exe")


@pytest.mark.peer
def test_what_a_program_says_is_passed_on(home: Home, outside: Netns) -> None:
    home.host.run("ip", "route", "del", "default")
    with pytest.raises(MobyshellError, match="pasta: External interface not usable"):
        home.net.attach(Request("one", ("pasta",)))
    assert home.leftovers()["records"] == []


def test_whoever_is_not_root_publishes_by_the_program_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mobyshell.core.network.slirp._PLACES", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert Wishes.read(publish=["8080:80"]).networks == ("bridge",)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Unsupported, match="none is installed") as failed:
        Wishes.read(publish=["8080:80"])
    assert "apt install passt" in failed.value.hint
    assert Wishes.read(networks=["none"], publish=["8080:80"]).networks == ("none",)
    assert Wishes.read().networks == ()
    for program in ("slirp4netns", "pasta"):
        (tmp_path / program).touch(0o755)
        assert Wishes.read(publish=["8080:80"]).networks == (program,)


_BIND = """
import sys
sys.path[:0] = [sys.argv.pop(1)]
from mobyshell.core.errors import Refused
from mobyshell.core.network.operations import ports
try:
    ports(None, ports=[{"hostPort": 80, "containerPort": 80, "protocol": "tcp"}])
except Refused as error:
    print(error, error.hint)
"""


def test_a_port_for_root_is_refused_with_the_way_to_have_it(host: Netns) -> None:
    def ask() -> str:
        return host.run("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                        python_for(65534), "-c", _BIND, package_for_all(), cwd="/").stdout  # fmt: skip

    assert "port 80/tcp of the host is for root" in ask()
    host.run("sysctl", "-w", "net.ipv4.ip_unprivileged_port_start=80")
    assert ask() == ""

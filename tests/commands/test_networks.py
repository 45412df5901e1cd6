"""Tasks with networks, ports and volumes by the words of the command line, on a host of the test's
own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.tasks.client import TaskClient
from tests.conftest import PROGRAM, Workplace
from tests.netns import Netns
from tests.runtimes import runtime_path
from tests.waiting import eventually

pytestmark = pytest.mark.root

SERVE = ("busybox", "sh", "-c",
         "echo hello > /www/index.html; exec busybox httpd -f -p 80 -h /www")  # fmt: skip


class Site:
    """A workplace whose host is a network namespace of its own."""

    def __init__(self, place: Workplace, host: Netns) -> None:
        self.place, self.host = place, host

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.host.words(PROGRAM, *words), cwd=self.place.directory, capture_output=True,
            env=self.place.environment, text=True, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def ok(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def fetch(self, url: str) -> str:
        return self.host.run("curl", "-sS", "--retry", "20", "--retry-connrefused",
                             "--retry-delay", "1", url).stdout  # fmt: skip

    def left(self) -> list[str]:
        """Devices, rules, mounts and records that are left."""
        state = str(self.place.state)
        mounts = [
            one for one in Path("/proc/self/mountinfo").read_text().splitlines() if state in one
        ]
        links = [one["ifname"] for one in self.host.ip("link", "show") if one["ifname"] != "lo"]
        rules = self.host.run("nft", "list", "ruleset").stdout.splitlines()
        networks = self.place.state / ".networks" / "default"
        records = os.listdir(networks) if networks.exists() else []
        return [*mounts, *links, *rules, *records]


@pytest.fixture
def site(workplace: Workplace) -> Iterator[Site]:
    workplace.environment["NETCONFPATH"] = str(workplace.directory / "net.d")
    with Netns() as host:
        made = Site(workplace, host)
        yield made
        with TaskClient(workplace.state) as tasks:
            for task in tasks.ls():
                made.run("rm", "-f", task.id)


def test_a_web_server_and_who_asks_it(site: Site) -> None:
    site.ok("network", "create", "--subnet", "10.77.0.0/24", "web")
    site.ok("run", "-d", "--name", "server", "--network", "web", "-p", "8080:80", "-v", "pages:/www",
            "first", "--", *SERVE)  # fmt: skip
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"
    asked = site.ok("run", "--rm", "--network", "web", "first", "--", "busybox", "sh", "-c",
                    "wget -qO- http://server/; wget -qO- http://10.77.0.1:8080/; hostname")  # fmt: skip
    assert asked.splitlines()[:2] == ["hello", "hello"]
    beside = site.ok("run", "--rm", "--network", "container:server", "first", "--",
                     "busybox", "wget", "-qO-", "http://127.0.0.1/")  # fmt: skip
    assert beside == "hello\n"
    told = json.loads(site.ok("task", "inspect", "server", "--json"))["network"]
    assert told["networks"][0]["addresses"] == ["10.77.0.2/24"]
    assert told["ports"] == ["*:8080->80/tcp"]
    rows = [json.loads(line) for line in site.ok("network", "ls", "--json").splitlines()]
    assert [(one["name"], one["engine"], one["tasks"]) for one in rows] == [("web", "builtin", 1)]
    for noun, name in (("network", "web"), ("volume", "pages")):
        refused = site.run(noun, "rm", name)
        assert (refused.returncode, "in use by server" in refused.stderr) == (3, True)
        assert ("network disconnect" in refused.stderr) == (noun == "network")
    site.ok("rm", "-f", "server")
    site.ok("network", "rm", "web")
    assert site.left() == []
    kept = site.ok("run", "--rm", "-v", "pages:/x:ro", "first", "--", "cat", "/x/index.html")
    assert kept == "hello\n"
    site.ok("volume", "rm", "pages")
    assert site.ok("volume", "ls") == ""


def test_none_host_and_what_the_config_says(site: Site) -> None:
    look = (
        "--",
        "busybox",
        "sh",
        "-c",
        "readlink /proc/self/ns/net; cat /sys/class/net/*/operstate",
    )
    host = site.host.run("readlink", "/proc/self/ns/net").stdout
    assert site.ok("run", "--rm", "--network", "host", "first", *look).startswith(host)
    assert not site.ok("run", "--rm", "--network", "none", "first", *look).startswith(host)
    plain = site.ok("run", "--rm", "first", "--", "cat", "/proc/mounts")
    assert "resolv.conf" not in plain
    assert not (site.place.state / ".networks").exists() or site.left() == []


def test_a_published_port_alone_means_the_default_network(site: Site) -> None:
    before = site.left()
    plan = site.ok("--plan", "run", "-p", "8080:80", "first", "--json")
    assert '"verb": "rules"' in plan or '"verb":"rules"' in plan
    assert site.left() == before
    site.ok(
        "run", "-d", "--name", "server", "-p", "8080:80", "-v", "pages:/www", "first", "--", *SERVE
    )
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"
    assert (
        json.loads(site.ok("network", "inspect", "bridge", "--json"))["tasks"][0]["id"] == "server"
    )


def test_an_image_is_run_with_the_same_words(site: Site) -> None:
    (site.place.directory / "box.yml").write_text(
        "steps:\n  - programs: [/bin/busybox]\n    links: {sh: busybox}\n  - directory: /www\n"
        "env: {PATH: /bin}\ncmd: [sh]\n"
    )
    site.ok("image", "build", "-t", "box", "box.yml")
    words = ("-p", "8080:80", "-v", "pages:/www", "box", "--", *SERVE)
    assert '"verb": "rules"' in site.ok("--plan", "run", *words, "--json").replace('":"', '": "')
    site.ok("run", "-d", "--name", "server", *words)
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"
    site.ok("task", "delete", "-f", "server")
    assert [one for one in site.left() if not one.startswith("moby")] == []
    site.ok("container", "start", "-d", "server")  # they are remembered with the container
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"


def test_a_user_namespace_has_its_own_network(site: Site) -> None:
    config = site.place.directory / "first" / "config.json"
    document = json.loads(config.read_text())
    document["linux"]["namespaces"].append({"type": "user"})
    maps = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    document["linux"]["uidMappings"] = document["linux"]["gidMappings"] = maps
    config.write_text(json.dumps(document))
    subprocess.run(["chown", "-R", "100000:100000", str(config.parent / "rootfs")], check=True)
    site.ok("network", "create", "--subnet", "10.78.0.0/24", "web")
    said = site.ok("run", "--rm", "--network", "web", "first", "--", "busybox", "sh", "-c",
                   "ip -o -4 addr show eth0; cat /etc/hosts; ls /sys/class/net")  # fmt: skip
    assert "10.78.0.2/24" in said
    assert "10.78.0.2\t" in said
    # a sysfs can be mounted by whom the network namespace belongs to
    assert "eth0" in said.splitlines()
    site.ok("network", "rm", "web")
    assert site.left() == []


@pytest.mark.peer
@pytest.mark.parametrize("runtime", ["runc", "crun"])
def test_other_runtimes_have_networks_too(site: Site, runtime: str) -> None:
    site.ok("network", "create", "--subnet", "10.79.0.0/24", "web")
    program = runtime_path(runtime, site.place.directory)
    said = site.ok("run", "--rm", "--runtime", program, "--network", "web", "first", "--",
                   "busybox", "sh", "-c", "ip -o -4 addr show eth0; cat /etc/hosts")  # fmt: skip
    assert "10.79.0.2/24" in said
    assert "10.79.0.2\t" in said
    site.ok("network", "rm", "web")
    assert site.left() == []


def test_what_fails_leaves_nothing(site: Site) -> None:
    site.ok("network", "create", "--subnet", "10.77.0.0/24", "web")
    calls: list[tuple[tuple[str, ...], int]] = [
        (("run", "--network", "nope", "first"), 3),
        (("run", "-p", "x", "first"), 2),
        (("run", "--network", "host", "-p", "80", "first"), 2),
        (("run", "--network", "web", "--network", "none", "first"), 2),
        (("run", "--network", "container:nope", "first"), 3),
        (("run", "-v", "x", "first"), 2),
        (("run", "-v", "/not/there:/x", "first"), 3),
        (("run", "-v", "a:/x:sideways", "first"), 2),
        (("network", "create", "host"), 2),
        (("network", "create", "--subnet", "10.77.0.128/25", "other"), 2),
        (("network", "create", "web"), 3),
        (("volume", "rm", "nope"), 3),
        # the network is joined already when the container cannot be made
        (("run", "--network", "web", "-p", "8080:80", "first", "--", "/not/there"), 1),
    ]
    for words, code in calls:
        done = site.run(*words)
        assert done.returncode in ((code,) if code != 1 else (1, 126, 127)), (words, done.stderr)
        assert "Traceback" not in done.stderr
    with TaskClient(site.place.state) as tasks:
        for task in tasks.ls():
            site.ok("rm", "-f", task.id)
    site.ok("network", "rm", "web")
    assert site.left() == []


def test_a_killed_command_is_cleaned_up_after(site: Site) -> None:
    site.ok("network", "create", "--subnet", "10.77.0.0/24", "web")
    go = site.place.directory / "go"
    fake = site.place.directory / "slow-runtime"
    fake.write_text(f"#!/bin/sh\nuntil [ -e {go} ]; do sleep 0.05; done\nexit 1\n")
    fake.chmod(0o755)
    process = subprocess.Popen(
        site.host.words(PROGRAM, "run", "--name", "one", "--runtime", str(fake), "--network", "web",
                        "-p", "8080:80", "first"),
        cwd=site.place.directory, env=site.place.environment, stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    record = site.place.state / ".networks" / "default" / "one" / "attachment.json"

    def joined() -> Any:
        return record.exists() and json.loads(record.read_text())["complete"]

    eventually(joined)
    process.kill()
    process.wait()
    go.touch()
    eventually(lambda: not (site.place.state / "default" / "one").exists())
    site.ok("run", "--rm", "--network", "web", "-p", "8080:80", "first", "--", "true")
    site.ok("network", "rm", "web")
    assert site.left() == []


def test_joining_and_leaving_while_it_runs(site: Site) -> None:
    for name, subnet in (("red", "10.77.0.0/24"), ("blue", "10.78.0.0/24")):
        site.ok("network", "create", "--subnet", subnet, name)
    site.ok("run", "-d", "--name", "server", "--network", "red", "-p", "8080:80", "-v", "pages:/www",
            "--restart", "always", "first", "--", *SERVE)  # fmt: skip
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"
    planned = site.ok("--plan", "network", "connect", "blue", "server", "--json")
    assert "eth1" in planned
    assert site.ok("network", "connect", "blue", "server")
    asks = ("run", "--rm", "--network", "blue", "first", "--", "busybox", "sh", "-c",
            "wget -qO- http://server/")  # fmt: skip
    assert site.ok(*asks) == "hello\n"
    # another process of the task has what it had
    os.kill(json.loads(site.ok("task", "inspect", "--json", "server"))["pid"], signal.SIGKILL)
    eventually(lambda: json.loads(site.ok("task", "inspect", "--json", "server"))["restarts"] == 1)
    eventually(lambda: site.run(*asks).stdout == "hello\n")
    found = json.loads(site.ok("task", "inspect", "--json", "server"))
    assert [one["interface"] for one in found["network"]["networks"]] == ["eth0", "eth1"]
    site.ok("network", "disconnect", "red", "server")
    assert site.fetch("http://127.0.0.1:8080/") == "hello\n"  # its port has moved on
    done = site.run("network", "disconnect", "red", "server")
    assert (done.returncode, "it is in blue" in done.stderr) == (3, True)
    assert site.run("network", "connect", "host", "server").returncode == 2
    told = [json.loads(line) for line in site.ok("events", "ls", "--json").splitlines()]
    assert [(one["topic"], one["data"]["network"]) for one in told
            if one["topic"].startswith("/networks/")] == [
        ("/networks/connect", "blue"), ("/networks/disconnect", "red"),
    ]  # fmt: skip
    site.ok("rm", "-f", "server")
    for name in ("red", "blue"):
        site.ok("network", "rm", name)
    assert site.left() == []

"""Containers on bridges of a host that the test made: who reaches whom, and what is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound, UsageError, WrongState
from mobyshell.core.network import names
from mobyshell.core.network.attach import Networking
from mobyshell.core.network.values import Attachment, Request, Users
from tests.core.network.conftest import Home, asking
from tests.netns import Netns, connect_hosts
from tests.waiting import eventually

pytestmark = pytest.mark.root


def _ip(where: Attachment, version: int = 4) -> str:
    ips = [one.partition("/")[0] for one in where.addresses]
    return next(one for one in ips if (":" in one) == (version == 6))


def test_containers_reach_each_other_and_the_host(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"], ipv6=True)
    one, two = home.attach("one", "web"), home.attach("two", "web")
    assert _ip(one) == "10.33.0.2"
    assert _ip(two) == "10.33.0.3"
    for target in (_ip(one), _ip(one, 6), "10.33.0.1"):
        home.inside(two, "ping", "-c1", "-W20", target)
    home.host.run("ping", "-c1", "-W20", _ip(two, 6))
    home.serve(one, 80)
    assert home.inside(two, *asking(_ip(one), 80)) == f"from {_ip(two)}\n"
    routes = json.loads(home.inside(one, "ip", "-j", "route", "show", "default"))
    assert routes[0]["gateway"] == "10.33.0.1"
    assert "UP" in json.loads(home.inside(one, "ip", "-j", "link", "show", "lo"))[0]["flags"]


def test_detaching_leaves_nothing_but_the_bridge_and_removing_that(home: Home) -> None:
    home.net.networks.create("web", bridge="br-web")
    home.attach("one", "web", publish=("8080:80",))
    home.attach("two", "web")
    with pytest.raises(WrongState, match="in use by one, two"):
        home.net.remove_network("web")
    home.delete("one")
    assert "default/one" not in home.leftovers()["rules"]
    home.delete("two")
    assert home.leftovers() == {"links": {"br-web"}, "rules": "", "mounts": [], "records": []}
    assert not home.net.detach("two")
    home.net.remove_network("web")
    assert home.leftovers()["links"] == set()
    with pytest.raises(NotFound):
        home.net.networks.get("web")
    assert os.listdir(home.state / ".networks" / "addresses") == []


def test_published_ports(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"], ipv6=True)
    one = home.attach("one", "web", publish=("8080:80", "127.0.0.1:8081:80", "5300:53/udp"))
    two = home.attach("two", "web")
    home.serve(one, 80)
    home.serve(one, 53, udp=True)
    home.host.run("ip", "addr", "add", "192.0.2.1/32", "dev", "lo")

    def host(address: str, port: int, *data: str) -> str:
        return home.host.run(*asking(address, port, *data, udp=bool(data))).stdout.strip()

    assert host("127.0.0.1", 8080) == "from 10.33.0.1"
    assert host("192.0.2.1", 8080).startswith("from ")
    assert host("127.0.0.1", 5300, "hello") == "from 10.33.0.1 hello"
    # a neighbour by the host's address, and the container itself (hairpin)
    assert home.inside(two, *asking("10.33.0.1", 8080)) == "from 10.33.0.1\n"
    assert home.inside(one, *asking("10.33.0.1", 8080)) == "from 10.33.0.1\n"
    # bound to the host's loopback: nobody else's
    assert host("127.0.0.1", 8081) == "from 10.33.0.1"
    assert home.host.run(*asking("192.0.2.1", 8081), check=False).returncode != 0
    home.serve(one, 80, address=_ip(one, 6))
    assert home.host.run(*asking(_ip(one, 6), 80)).stdout.startswith("from ")


def test_from_outside(home: Home) -> None:
    """A machine beside the host reaches published ports, and containers reach it as the host."""
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    with Netns() as outside:
        connect_hosts(home.host, outside)
        one = home.attach("one", "web", publish=("8080:80",))
        home.serve(one, 80)
        # whoever comes from outside is seen as itself
        assert outside.run(*asking("198.51.100.1", 8080)).stdout == "from 198.51.100.2\n"
        outside_server = Attachment("", "", outside.path)
        home.serve(outside_server, 9)
        assert home.inside(one, *asking("198.51.100.2", 9)) == "from 198.51.100.1\n"


def test_a_container_cannot_ask_the_hosts_loopback(home: Home) -> None:
    """CVE-2020-8558: route_localnet, which published ports need, must open nothing."""
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    one = home.attach("one", "web", publish=("8080:80",))
    secret = Attachment("", "", home.host.path)
    home.serve(secret, 7777, address="127.0.0.1")
    home.inside(one, "ip", "addr", "flush", "dev", "lo")
    home.inside(one, "ip", "route", "add", "127.0.0.0/8", "via", "10.33.0.1", "dev", "eth0")
    home.inside(one, "sysctl", "-qw", "net.ipv4.conf.all.route_localnet=1")
    code = asking("127.0.0.1", 7777)
    code[2] = (
        code[2]
        .replace("settimeout(20)", "settimeout(2)")
        .replace("line.connect", "line.bind(('10.33.0.2', 0)); line.connect")
    )
    assert "from" not in home.inside(one, *code, check=False)


def test_networks_are_isolated_from_each_other(home: Home) -> None:
    home.net.networks.create("red", subnets=["10.34.0.0/24"])
    home.net.networks.create("blue", subnets=["10.35.0.0/24"])
    home.net.networks.create("open", subnets=["10.36.0.0/24"], isolated=False)
    red, blue, free = home.attach("r", "red"), home.attach("b", "blue"), home.attach("o", "open")
    home.inside(red, "ping", "-c1", "-W20", _ip(free))
    done = subprocess.run(["nsenter", f"--net={red.netns}", "ping", "-c1", "-W1", _ip(blue)],
                          capture_output=True, check=False)  # fmt: skip
    assert done.returncode != 0
    both = home.attach("both", "red", "blue")
    for other in (red, blue):
        home.inside(both, "ping", "-c1", "-W20", _ip(other))
    assert [one.interface for one in both.joined] == ["eth0", "eth1"]


def test_an_internal_network_leads_nowhere_else(home: Home) -> None:
    home.net.networks.create("inner", internal=True)
    one = home.attach("one", "inner")
    assert home.inside(one, "ip", "route", "show", "default") == ""
    with pytest.raises(UsageError, match="publishes no ports"):
        home.attach("two", "inner", publish=("80:80",))
    assert [id for _, id in home.leftovers()["records"]] == ["one"]


def test_ports_belong_to_one(home: Home) -> None:
    home.net.networks.create("web")
    home.attach("one", "web", publish=("8080:80",))
    with pytest.raises(AlreadyExists, match="8080/tcp of the host is published by default/one"):
        home.attach("two", "web", publish=("8080:80",))
    listening = Attachment("", "", home.host.path)
    home.serve(listening, 9090)
    with pytest.raises(AlreadyExists, match="9090/tcp of the host is in use by a program"):
        home.attach("two", "web", publish=("9090:80",))
    two = home.attach("two", "web", publish=("80", "8080:80/udp"))
    assert 49152 < two.ports[0].host_port < 65536
    assert [one for one in home.leftovers()["links"] if one.startswith("veth")] != []
    assert len(home.net.records.ids()) == 2


def test_files_for_names(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    one = home.attach("one", "web", servers=("192.0.2.53",), search=("example.org",))
    files = {name: Path(one.directory, name).read_text() for name in names.FILES}
    assert files["hostname"] == "one\n"
    assert "10.33.0.2\tone\n" in files["hosts"]
    assert files["resolv.conf"] == "search example.org\nnameserver 192.0.2.53\n"


def test_the_plan_is_what_happens_and_changes_nothing(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    request = Request("one", ("web",), hostname="one")
    before = home.leftovers()
    plan = home.net.plan(request)
    assert home.leftovers() == before
    assert plan.operations
    assert all(one.why and one.shell for one in plan.operations)
    home.attach("one", "web")
    with_it = {one["ifname"] for one in home.host.ip("link", "show")}
    assert {
        one.arguments["name"] for one in plan.operations if one.verb in ("bridge", "veth")
    } <= with_it


def test_the_script_of_a_plan_does_the_same(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"], ipv6=True, mtu=1400)
    request = Request("one", ("web",), hostname="one", ports=())
    script = home.net.plan(request).script()
    netns = home.net.records.netns("default", "one")
    os.makedirs(os.path.dirname(netns))

    def looks(where: Attachment) -> list[str]:
        links = json.loads(home.inside(where, "ip", "-j", "addr"))
        return [
            json.dumps({key: one.get(key) for key in ("ifname", "mtu", "address", "flags")})
            + str(
                sorted(
                    (a["local"], a["prefixlen"]) for a in one["addr_info"] if a["scope"] == "global"
                )
            )
            for one in links
        ] + [
            home.inside(where, "ip", *version, "route", "show", "default")
            for version in ((), ("-6",))
        ]

    done = home.host.run("sh", "-c", script)
    assert done.stderr == ""
    scripted = looks(Attachment("", "", netns))
    rules = home.host.run("nft", "list", "ruleset").stdout
    subprocess.run(["umount", netns], check=True)
    device = home.net.identity("one").device("eth0")
    home.host.run("ip", "link", "del", device, check=False)  # or it went with its peer
    eventually(lambda: device not in home.leftovers()["links"])
    home.host.run("nft", "flush", "ruleset")
    os.unlink(netns)
    one = home.attach("one", "web")
    assert looks(one) == scripted
    assert home.host.run("nft", "list", "ruleset").stdout == rules


def test_a_namespace_that_is_there_already(home: Home) -> None:
    home.net.networks.create("web")
    with Netns() as other:
        one = home.attach("one", "web", netns=other.path)
        assert not one.pinned
        other.run("ping", "-c1", "-W20", one.joined[0].leases[0].gateway)
        home.delete("one")
        assert {one["ifname"] for one in other.ip("link", "show")} == {"lo"}


def _ports_below_1024(home: Home, where: Attachment) -> bool:
    """Whether root of the container's users has power over its network."""
    code = "import socket; socket.socket().bind(('0.0.0.0', 80)); print('yes')"
    assert where.users is not None
    words = ["nsenter", f"--user={where.userns or where.users.path}", f"--net={where.netns}",
             "-S0", "-G0", sys.executable, "-I", "-c", code]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          check=False, cwd="/", timeout=60)  # fmt: skip
    return done.stdout == "yes\n"


def test_the_network_of_users_of_its_own_belongs_to_them(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    maps = ((0, 100000, 65536), (65536, 0, 1))  # our own ids too: the interpreter may be in /root
    users = Users("", maps, maps)
    request = Request("plan", ("web",), hostname="one", users=users)
    assert "--map-users=100000,0,65536" in home.net.plan(request).operations[0].shell
    one = home.attach("one", "web", publish=("8080:80",), users=users)
    assert one.pinned
    assert one.userns.endswith("/one/userns")
    assert home.net.find("one") == one
    assert _ports_below_1024(home, one)
    home.serve(one, 80)
    assert home.host.run(*asking("127.0.0.1", 8080)).stdout == "from 10.33.0.1\n"
    home.delete("one")
    assert home.leftovers()["mounts"] == []


def test_the_network_of_users_that_are_there_belongs_to_them(home: Home) -> None:
    home.net.networks.create("web", subnets=["10.33.0.0/24"])
    with subprocess.Popen(["unshare", "--user", "--map-root-user", "sh", "-c", "echo; cat"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == b"\n"
        path = f"/proc/{other.pid}/ns/user"
        one = home.attach("one", "web", users=Users(path))
        assert one.userns == ""
        assert _ports_below_1024(home, one)
        home.inside(one, "ping", "-c1", "-W20", "10.33.0.1")
        home.delete("one")
        assert home.leftovers()["mounts"] == []
        other.kill()


def test_tenants_do_not_see_each_other(home: Home) -> None:
    other = Networking(str(home.root), str(home.state), "other", host=home.host.path)
    home.net.networks.create("web")
    with pytest.raises(NotFound) as caught:
        other.networks.get("web")
    assert "namespace default" in caught.value.hint
    made = other.networks.create("web")
    assert made.subnets != home.net.networks.get("web").subnets
    assert made.plugins[0]["bridge"] != home.net.networks.get("web").plugins[0]["bridge"]
    home.attach("one", "web")
    assert other.find("one") is None
    assert other.attached("web") == []


def test_the_default_network_is_made_when_it_is_asked_for(home: Home) -> None:
    home.host.run("ip", "link", "add", "taken", "type", "bridge")
    home.host.run("ip", "addr", "add", "10.90.0.1/24", "dev", "taken")
    home.host.run("ip", "link", "set", "taken", "up")
    one = home.attach("one", "bridge")
    assert home.net.networks.get("bridge").ours
    assert _ip(one).startswith("10.90.1.")
    assert home.attach("two", "none").netns == ""
    assert home.attach("three", "host").netns is None


def test_neighbours_know_each_other_by_name(home: Home) -> None:
    home.net.networks.create("red", subnets=["10.34.0.0/24"], ipv6=True)
    home.net.networks.create("blue", subnets=["10.35.0.0/24"])

    def hosts(where: Attachment) -> str:
        return Path(where.directory, "hosts").read_text()

    one, other = home.attach("one", "red"), home.attach("other", "blue")
    file = os.stat(f"{one.directory}/hosts").st_ino
    with open(f"{one.directory}/hosts", "a") as mine:
        mine.write("192.0.2.9\tmine\n")
    alone = hosts(one)
    two = home.attach("two", "red", "blue")
    assert f"{_ip(two)}\ttwo\n" in hosts(one)
    assert f"{_ip(two, 6)}\ttwo\n" in hosts(one)
    assert "10.35.0.3\ttwo\n" in hosts(other)
    assert "10.34" not in hosts(other)
    assert f"{_ip(one)}\tone\n" in hosts(two)
    assert "10.35.0.2\tother\n" in hosts(two)
    home.delete("two")
    assert hosts(one) == alone
    assert os.stat(f"{one.directory}/hosts").st_ino == file  # it is mounted: never another one

"""The same configuration list by CNI's own plugins and by us: the same network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import MobyshellError, Refused, Unsupported
from mobyshell.core.network.values import Attachment, Request
from tests.core.network.conftest import Home, asking

pytestmark = [pytest.mark.root, pytest.mark.peer]


def _machine(home: Home, name: str, plugins: list[dict[str, Any]], **more: Any) -> None:
    """A network of the machine's administrator."""
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins, **more}
    directory = home.directory / "net.d"
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.conflist").write_text(json.dumps(document))


def _plugins(home: Home, name: str, **more: Any) -> list[dict[str, Any]]:
    return [
        {"type": "bridge", "bridge": f"br-{name}", "isGateway": True, "ipMasq": True,
         "hairpinMode": True, "mtu": 1400,
         "ipam": {"type": "host-local", "dataDir": str(home.directory / name),
                  "ranges": [[{"subnet": "10.50.0.0/24"}], [{"subnet": "fd50::/64"}]],
                  "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}, **more},
        {"type": "portmap", "capabilities": {"portMappings": True}},
        {"type": "firewall", "ingressPolicy": "same-bridge"},
    ]  # fmt: skip


def _looks(home: Home, where: Attachment, bridge: str) -> dict[str, Any]:
    """What the kernel says of a container's network, without what is random."""

    def addresses(links: Any) -> Any:
        return sorted((one["local"], one["prefixlen"]) for link in links
                      for one in link["addr_info"] if one["scope"] == "global")  # fmt: skip

    inside = json.loads(home.inside(where, "ip", "-j", "addr", "show", "eth0"))
    host = home.host.ip("-d", "link", "show", "master", bridge)
    return {
        "addresses": addresses(inside), "mtu": inside[0]["mtu"],
        "routes": [json.loads(home.inside(where, "ip", version, "-j", "route", "show", "default"))
                   [0]["gateway"] for version in ("-4", "-6")],
        "bridge": addresses(home.host.ip("addr", "show", bridge)),
        "hairpin": [one["linkinfo"]["info_slave_data"]["hairpin"] for one in host],
        "ports": [one["mtu"] for one in host],
        "lo": "UP" in json.loads(home.inside(where, "ip", "-j", "link", "show", "lo"))[0]["flags"],
        "leases": sorted(where.addresses),
        "forwarding": home.host.run("sysctl", "-n", "net.ipv4.ip_forward").stdout.strip(),
    }  # fmt: skip


def _serves(home: Home, where: Attachment) -> list[str]:
    """Who reaches a published port, and how it looks from inside."""
    home.serve(where, 80)
    return [
        home.host.run(*asking("127.0.0.1", 8080)).stdout,
        home.inside(where, *asking("10.50.0.1", 8080)),
    ]


@pytest.mark.parametrize("cni", ["1.0.0", "0.4.0"])
def test_plugins_and_we_make_the_same_of_one_list(home: Home, cni: str) -> None:
    found = []
    for extra in ({}, {"mobyshell": {"engine": "cni"}}):
        _machine(home, "both", _plugins(home, "both"), **extra)
        text = (home.directory / "net.d" / "both.conflist").read_text()
        (home.directory / "net.d" / "both.conflist").write_text(text.replace("1.0.0", cni))
        where = home.attach("one", "both", publish=("8080:80",))
        assert where.joined[0].engine == ("cni" if extra else "builtin")
        found.append((_looks(home, where, "br-both"), _serves(home, where)))
        home.delete("one")
        left = home.leftovers()
        assert (left["mounts"], left["records"], left["links"]) == ([], [], {"br-both"})
        home.host.run("ip", "link", "del", "br-both")
        shutil.rmtree(home.directory / "both")
        for one in home.started:
            one.kill()
    assert found[0] == found[1]


def test_two_engines_share_a_bridge_and_its_addresses(home: Home) -> None:
    _machine(home, "both", _plugins(home, "both"))
    ours = home.attach("ours", "both")
    _machine(home, "both", _plugins(home, "both"), mobyshell={"engine": "cni"})
    theirs = home.attach("theirs", "both")
    assert (ours.joined[0].engine, theirs.joined[0].engine) == ("builtin", "cni")
    assert set(ours.addresses) & set(theirs.addresses) == set()
    home.inside(theirs, "ping", "-c1", "-W20", ours.addresses[0].partition("/")[0])
    home.inside(ours, "ping", "-c1", "-W20", theirs.addresses[0].partition("/")[0])


def test_what_we_do_not_understand_is_done_by_the_plugins(home: Home) -> None:
    _machine(home, "direct", [
        {"type": "ptp", "ipMasq": True,
         "ipam": {"type": "host-local", "dataDir": str(home.directory / "data"),
                  "ranges": [[{"subnet": "10.51.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
    ])  # fmt: skip
    one = home.attach("one", "direct")
    assert one.addresses == ("10.51.0.2/24",)
    home.inside(one, "ping", "-c1", "-W20", "10.51.0.1")
    assert home.inside(one, "sysctl", "-n", "net.core.somaxconn") == "500\n"
    home.delete("one")
    assert home.leftovers()["links"] == set()


def test_a_failing_plugin_is_named_and_what_went_before_is_undone(home: Home) -> None:
    plugins = [*_plugins(home, "bad")[:1], {"type": "tuning", "sysctl": {"net.no.such": "1"}}]
    _machine(home, "bad", plugins)
    with pytest.raises(MobyshellError, match="the CNI plugin tuning failed to ADD"):
        home.net.attach(Request("one", ("bad",)))
    left = home.leftovers()
    assert (left["links"], left["mounts"], left["records"]) == ({"br-bad"}, [], [])
    assert [one.name for one in (home.directory / "bad" / "bad").glob("10.*")] == []


def test_a_plugin_that_is_missing_is_named(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CNI_PATH", str(home.directory / "nowhere"))
    _machine(home, "mac", [{"type": "macvlan", "ipam": {"type": "dhcp"}}])
    with pytest.raises(Unsupported, match="not installed: macvlan, dhcp"):
        home.attach("one", "mac")


def test_networks_of_the_machine_are_seen_and_not_removed(home: Home) -> None:
    _machine(home, "theirs", _plugins(home, "theirs"))
    (home.directory / "net.d" / "broken.conflist").write_text("{")
    assert [(one.name, one.ours) for one in home.net.networks.ls()] == [("theirs", False)]
    with pytest.raises(Refused, match="the machine's"):
        home.net.remove_network("theirs")
    assert home.net.networks.create("mine").subnets[0].overlaps(
        home.net.networks.get("theirs").subnets[0]
    ) is False  # fmt: skip
    ours = home.net.networks.create("theirs", subnets=["10.60.0.0/24"])
    assert home.net.networks.get("theirs") == ours
    assert Path(ours.path).stat().st_mode & 0o777 == 0o600


def test_our_own_networks_are_lists_that_the_plugins_understand(home: Home) -> None:
    home.net.networks.create("mine", engine="cni", subnets=["10.61.0.0/24"])
    one = home.attach("one", "mine", publish=("8080:80",))
    assert one.joined[0].engine == "cni"
    home.serve(one, 80)
    assert home.host.run(*asking("127.0.0.1", 8080)).stdout.startswith("from ")
    home.delete("one")
    home.net.remove_network("mine")
    assert home.leftovers()["links"] == set()

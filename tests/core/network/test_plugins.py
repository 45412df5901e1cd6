"""The same configuration list by CNI's own plugins and by us: the same network."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from mobyshell.core.errors import InvalidSpec, MobyshellError, Refused, Unsupported
from mobyshell.core.network import checking
from mobyshell.core.network.values import Attachment, Request
from tests.core.network.conftest import Home, asking

pytestmark = [pytest.mark.root, pytest.mark.peer]


def _machine(home: Home, name: str, plugins: list[dict[str, Any]], **more: Any) -> None:
    """A network of the machine's administrator."""
    document = {"cniVersion": "1.0.0", "name": name, "plugins": plugins} | more
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


_LOGGER = """#!/bin/sh
# what a plugin is told, one file a call
set -eu
printf '%s\\n' "$CNI_COMMAND" "$CNI_ARGS" "$CNI_IFNAME" "${MARK-}" >>LOG
cat >>LOG
echo >>LOG
[ "$CNI_COMMAND" = CHECK ] && [ -e LOG.broken ] && { echo '{"code": 100, "msg": "not as it was"}'; exit 1; }
[ -e LOG.$CNI_COMMAND ] && { echo '{"code": 11, "msg": "there is no daemon"}'; exit 1; }
[ "$CNI_COMMAND" = ADD ] && cat LOG.result || :
"""


def _logger(home: Home, monkeypatch: pytest.MonkeyPatch, **result: Any) -> Path:
    """A plugin `logger` that answers with `result`, and the file that it writes."""
    directory, log = home.directory / "plugins", home.directory / "log"
    directory.mkdir()
    (directory / "logger").write_text(_LOGGER.replace("LOG", str(log)))
    (directory / "logger").chmod(0o755)
    Path(f"{log}.result").write_text(json.dumps(result))
    monkeypatch.setenv("CNI_PATH", str(directory))
    return log


def _calls(log: Path) -> list[tuple[list[str], dict[str, Any]]]:
    lines = log.read_text().splitlines()
    log.unlink()
    return [(lines[at : at + 4], json.loads(lines[at + 4])) for at in range(0, len(lines), 5)]


def test_plugins_are_told_what_libcni_tells_them(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = {"cniVersion": "1.0.0", "ips": [{"address": "10.53.0.9/24"}]}
    log = _logger(home, monkeypatch, **answer)
    monkeypatch.setenv("MARK", "seen")
    can = {"ips": True, "aliases": True, "portMappings": True, "bandwidth": True}
    _machine(home, "told", [{"type": "logger", "capabilities": can}, {"type": "logger"}])
    home.attach("one", "told:ip=10.53.0.9,alias=db", publish=("8080:80",))
    home.delete("one")
    told = {"ips": ["10.53.0.9"], "aliases": ["db"],
            "portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}  # fmt: skip
    bare = {"type": "logger", "cniVersion": "1.0.0", "name": "told"}
    full = {**bare, "runtimeConfig": told}
    assert _calls(log) == [
        ([command, "IgnoreUnknown=1", "eth0", "seen"], config)
        for command, config in (
            ("ADD", full), ("ADD", {**bare, "prevResult": answer}),
            ("DEL", {**bare, "prevResult": answer}), ("DEL", {**full, "prevResult": answer}),
        )
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["", "0.2.0", "0.3.1"])
def test_lists_of_old_versions(home: Home, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    answer: dict[str, Any] = {"ips": [{"address": "10.54.0.2/24", "gateway": "10.54.0.1"}]}
    if version != "0.3.1":
        answer = {"ip4": {"ip": "10.54.0.2/24", "gateway": "10.54.0.1"}}
    log = _logger(home, monkeypatch, cniVersion=version, **answer)
    _machine(home, "old", [{"type": "logger"}], cniVersion=version)
    if not version:
        path = home.directory / "net.d" / "old.conflist"
        path.write_text(json.dumps({"name": "old", "type": "logger"}))
    one = home.attach("one", "old")
    assert one.addresses == ("10.54.0.2/24",)
    home.delete("one")
    (_, config) = _calls(log)[1]
    assert config == {"type": "logger", "cniVersion": version, "name": "old"}


def test_name_servers_of_plugins_are_the_containers(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    dns = {"nameservers": ["10.55.0.53", "no address"], "domain": "lan.test",
           "search": ["a.test", "b\nnameserver 6.6.6.6"], "options": ["ndots:2"]}  # fmt: skip
    _logger(home, monkeypatch, cniVersion="1.0.0", dns=dns)
    _machine(home, "named", [{"type": "logger"}])
    one = home.attach("one", "named")
    text = (Path(one.directory) / "resolv.conf").read_text()
    assert [line for line in text.splitlines() if line.startswith("nameserver")] == [
        "nameserver 10.55.0.53"
    ]
    assert "search lan.test a.test\n" in text
    assert "options ndots:2\n" in text
    _machine(home, "both", [{**_plugins(home, "both")[0], "dns": {"nameservers": ["10.50.0.53"]}}])
    two = home.attach("two", "both")
    assert two.joined[0].engine == "builtin"
    assert "nameserver 10.50.0.53\n" in (Path(two.directory) / "resolv.conf").read_text()


def test_plugins_are_asked_whether_all_is_as_it_was(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _logger(home, monkeypatch, cniVersion="1.0.0")
    _machine(home, "asked", [{"type": "logger"}])
    _machine(home, "unasked", [{"type": "logger"}], disableCheck=True)
    _machine(home, "old", [{"type": "logger"}], cniVersion="0.3.1")
    home.attach("one", "asked", "unasked", "old")
    log.unlink()
    assert list(checking.check(home.net)) == []
    ((told, config),) = _calls(log)
    assert told[:3] == ["CHECK", "IgnoreUnknown=1", "eth0"]
    assert config["prevResult"] == {"cniVersion": "1.0.0"}
    Path(f"{log}.broken").touch()
    (broken,) = checking.check(home.net)
    assert (broken.whose, broken.network) == ("default/one", "asked")
    assert "not as it was" in broken.why


def test_a_version_that_a_plugin_does_not_speak_leaves_nothing(home: Home) -> None:
    ipam = {"type": "host-local", "dataDir": str(home.directory / "data"), "subnet": "10.56.0.0/24"}
    _machine(home, "next", [{"type": "ptp", "ipam": ipam}], cniVersion="1.1.0")
    try:
        home.attach("one", "next")
    except MobyshellError as error:
        assert "failed to ADD: incompatible CNI version" in str(error)
    else:
        home.delete("one")  # these plugins are newer
    assert home.net.stale() == []


def test_what_can_be_undone_never_is_not_tried_for_ever(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = _logger(home, monkeypatch, cniVersion="1.0.0")
    _machine(home, "away", [{"type": "logger"}])
    for command in ("ADD", "DEL"):
        Path(f"{log}.{command}").touch()
    with pytest.raises(MobyshellError, match="failed to ADD: there is no daemon"):
        home.attach("one", "away")
    assert home.net.stale() == []
    Path(f"{log}.ADD").unlink()
    home.attach("two", "away")
    (home.state / "default" / "two").rmdir()
    told: list[str] = []
    home.net.reconcile(told=lambda whose, error: told.append(f"{whose}: {error}"))
    assert told == ["default/two: the CNI plugin logger failed to DEL: there is no daemon"]
    assert home.net.stale() == ["default/two"]
    Path(f"{log}.DEL").unlink()
    assert home.net.reconcile() == ["default/two"]


def test_a_network_that_cannot_be_read_says_why(home: Home) -> None:
    _machine(home, "future", [{"type": "ptp"}], cniVersion="9.0.0")
    with pytest.raises(InvalidSpec, match=r"future.conflist: cniVersion '9.0.0' is none of 0.1.0"):
        home.net.networks.get("future")
    _machine(home, "future", [{"type": "ptp"}], cniVersion="9.0.0", cniVersions=["1.0.0", "0.4.0"])
    assert home.net.networks.get("future").document["cniVersion"] == "1.0.0"
    _machine(home, "podmans", [{**_plugins(home, "podmans")[0], "capabilities": {"ips": True}}])
    assert home.net.networks.get("podmans").built_in()[1] == ""

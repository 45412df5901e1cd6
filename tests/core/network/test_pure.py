"""Words and documents: ports, configuration lists, plans, the files of names, and whose things are."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobyshell.core.errors import AlreadyExists, InvalidSpec, MobyshellError, UsageError
from mobyshell.core.network import config, names, ports
from mobyshell.core.network.leaving import plan_detach
from mobyshell.core.network.planner import Identity, Terms, Wanted, plan_attach
from mobyshell.core.network.values import Attachment, Joined, Lease, PortMapping


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("80", [PortMapping(0, 80)]),
        ("8080:80", [PortMapping(8080, 80)]),
        ("8080:80/udp", [PortMapping(8080, 80, "udp")]),
        ("127.0.0.1:8080:80/TCP", [PortMapping(8080, 80, "tcp", "127.0.0.1")]),
        ("127.0.0.1::80", [PortMapping(0, 80, "tcp", "127.0.0.1")]),
        ("0.0.0.0:1:2", [PortMapping(1, 2)]),
        ("[::1]:8080:80", [PortMapping(8080, 80, "tcp", "::1")]),
        ("8000-8001:80-81/sctp", [PortMapping(8000, 80, "sctp"), PortMapping(8001, 81, "sctp")]),
    ],
)
def test_ports(word: str, wanted: list[PortMapping]) -> None:
    assert list(ports.parse(word)) == wanted


@pytest.mark.parametrize(
    "word",
    ["", "x", "80/icmp", "1:2:3:4", "65536", "0", "5:0", "1-3:1-2", "300.1.1.1:1:2", "[::1]80:80",
     "[::1]:80", "-1", "1:-2", "9-8", "1-2000", "٣", "1 :2", "8080:80/"],
)  # fmt: skip
def test_no_ports(word: str) -> None:
    with pytest.raises(UsageError):
        ports.parse(word)


@given(st.text(max_size=40))
def test_any_word_is_ports_or_a_usage_error(word: str) -> None:
    try:
        ports.parse(word)
    except UsageError:
        pass


def test_ports_that_clash() -> None:
    taken = [(PortMapping(80, 1), "a/b"), (PortMapping(81, 1, "tcp", "127.0.0.1"), "a/b")]
    for clash in (PortMapping(80, 2, "tcp", "10.0.0.1"), PortMapping(81, 2)):
        with pytest.raises(AlreadyExists, match="a/b"):
            ports.choose([clash], taken)
    with pytest.raises(AlreadyExists, match="already"):
        ports.choose([PortMapping(5, 1), PortMapping(5, 2)], [])
    fine = (PortMapping(80, 2, "udp"), PortMapping(81, 2, "tcp", "10.0.0.1"))
    assert ports.choose(fine, taken) == fine


def _list(**changes: Any) -> dict[str, Any]:
    bridge = {
        "type": "bridge", "bridge": "br0", "isGateway": True, "ipMasq": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]],
                 "routes": [{"dst": "0.0.0.0/0"}]},
    }  # fmt: skip
    return {"cniVersion": "1.0.0", "name": "web", "plugins": [{**bridge, **changes}]}


def _parse(document: Any) -> config.NetworkConfig:
    return config.parse(json.dumps(document).encode())


def test_what_we_understand() -> None:
    found, why = _parse(_list()).built_in()
    assert why == ""
    assert found is not None
    assert (found.bridge, found.gateway, found.masquerade) == ("br0", True, True)
    assert found.ranges[0][0].gateway == "10.1.0.1"
    assert found.data_directory == "/var/lib/cni/networks"
    old = {"cniVersion": "0.4.0", "name": "old", "type": "bridge",
           "ipam": {"type": "host-local", "subnet": "10.2.0.0/24", "rangeStart": "10.2.0.9"}}  # fmt: skip
    single, _ = _parse(old).built_in()
    assert single is not None
    assert single.bridge == "cni0"
    podman = _list()
    podman["plugins"] += [{"type": "portmap", "capabilities": {"portMappings": True}},
                          {"type": "firewall", "backend": ""}, {"type": "tuning"}]  # fmt: skip
    third, _ = _parse(podman).built_in()
    assert third is not None
    assert third.publishes
    assert not third.isolated


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (_list(vlan=5), "bridge with vlan"),
        (_list(ipam={"type": "dhcp"}), "not host-local"),
        (_list(ipam={"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]],
                     "resolvConf": "/x"}), "host-local with resolvConf"),
        (_list(ipam={"type": "host-local"}), "no ranges"),
        (_list(ipam={"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/31"}]]}), "no addresses"),
        (_list(ipam={"type": "host-local", "ranges": [[{"subnet": "x"}]]}), "cannot be read"),
        (_list(hairpinMode=True, promiscMode=True), "not both"),
        (_list(bridge="a/b"), "no name of a bridge"),
        (_list(mtu="big"), "mtu"),
        ({**_list(), "plugins": [{"type": "macvlan"}]}, "macvlan"),
        ({**_list(), "plugins": [*_list()["plugins"], {"type": "tuning", "mtu": 5}]}, "tuning with mtu"),
        ({**_list(), "mobyshell": {"engine": "cni"}}, "asks for the plugins"),
    ],
)  # fmt: skip
def test_what_is_for_the_plugins(document: Any, why: str) -> None:
    found, said = _parse(document).built_in()
    assert found is None
    assert why in said


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"name":"a","name":"b"}', json.dumps({**_list(), "name": "../x"}).encode(),
     json.dumps({**_list(), "plugins": []}).encode(), json.dumps({**_list(), "cniVersion": 5}).encode(),
     json.dumps({**_list(), "plugins": [{"type": "../../bin/sh"}]}).encode(), b"\xff",
     b'{"name":' + b"[" * 100 + b"]" * 100 + b"}"],
)  # fmt: skip
def test_no_network(data: bytes) -> None:
    with pytest.raises(InvalidSpec):
        config.parse(data)


_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just("10.1.0.0/24"),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["subnet", "type", "ranges", "routes", "dst", "gw", "gateway"]),
                      inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


@given(_JSON, _JSON)
def test_whatever_stands_there_is_understood_or_not(ipam: Any, mtu: Any) -> None:
    try:
        found = _parse(_list(ipam=ipam, mtu=mtu))
        found.built_in()
        assert isinstance(found.subnets, tuple)
    except MobyshellError:
        pass


def test_resolv_conf() -> None:
    host = (
        "# comment\nsearch a b\nnameserver 127.0.0.53\nnameserver 9.9.9.9\noptions edns0\nnonsense"
    )
    assert names.resolv_conf(host) == "search a b\noptions edns0\nnonsense\nnameserver 9.9.9.9\n"
    assert "127.0.0.53" in names.resolv_conf(host, own_loopback=False)
    own = names.resolv_conf(host, servers=["1.1.1.1"], search=["c"])
    assert own == "search c\noptions edns0\nnonsense\nnameserver 1.1.1.1\n"


def test_hosts() -> None:
    assert "10.1.0.2\tweb\n" in names.hosts("web", ["10.1.0.2"])
    assert names.hosts("", []).count("\n") == 2


def test_whose_things_are() -> None:
    one, other = (Identity(state, "a", "b") for state in ("/x", "/y"))
    assert one.device("eth0") != other.device("eth0")
    assert one.device("eth0") != one.device("eth1")
    assert len(one.device("eth0")) == 15
    assert Identity("/x", "a", "b-c").cni_id != Identity("/x", "a-b", "c").cni_id
    assert "+" not in Identity("/x", "a", "b+c").cni_id


def test_a_plan_is_the_same_for_the_same_and_says_why() -> None:
    found = _parse(_list())
    bridge, _ = found.built_in()
    wanted = Wanted(found, "eth0", bridge, (Lease("10.1.0.2/24", "10.1.0.1"),))
    terms = Terms("/run/x", True, (PortMapping(8080, 80),))
    plan = plan_attach(Identity("/s", "n", "i"), [wanted], terms)
    assert plan == plan_attach(Identity("/s", "n", "i"), [wanted], terms)
    assert [one.verb for one in plan.operations] == [
        "pin", "up", "ports", "bridge", "address", "sysctl", "up", "veth", "plug", "up", "address",
        "up", "route", "rules",
    ]  # fmt: skip
    json.dumps([one.to_json() for one in plan.operations])
    proxied = plan_attach(
        Identity("/s", "n", "i"),
        [Wanted(found, "eth0", bridge and _publishing(), wanted.leases)],
        Terms("/run/x", True, (PortMapping(8080, 80),), kernel_ports=False, directory="/d"),
    )
    assert "proxy" in [one.verb for one in proxied.operations]
    routed = replace(_publishing(), masquerade=False)
    terms = replace(terms, kernel_ports=False)
    plan = plan_attach(Identity("/s", "n", "i"), [replace(wanted, bridge=routed)], terms)
    assert "rules" not in [one.verb for one in plan.operations]  # nothing that such a kernel lacks


def _publishing() -> config.BridgeConfig:
    document = _list()
    document["plugins"].append({"type": "portmap", "capabilities": {"portMappings": True}})
    found, _ = _parse(document).built_in()
    assert found is not None
    return found


def test_the_plan_that_undoes_goes_backwards() -> None:
    joined = (Joined("a", "eth0", "builtin", "veth0"), Joined("b", "eth1", "cni", document=_list()))
    attachment = Attachment("n", "i", "/run/x", True, True, joined, directory="/d")
    plan = plan_detach(Identity("/s", "n", "i"), attachment, ("/cni",))
    assert [one.verb for one in plan.operations] == [
        "stop", "stop", "stop", "unrule", "cni-del", "unlink", "unpin",
    ]  # fmt: skip

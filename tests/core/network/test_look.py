"""A network looked at: who is in it, by which devices, routes and rules, compared with the kernel."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mobyshell.core.errors import AlreadyExists, NotFound, Refused, UsageError, WrongState
from mobyshell.core.network import ports
from mobyshell.core.network.look import NEXT, look, plan_create, plan_join, plan_remove, survey
from tests.core.network.conftest import Home

pytestmark = pytest.mark.root


def test_members_are_as_the_kernel_has_them(home: Home) -> None:
    home.net.networks.create("lan", subnets=("10.61.0.0/24",))
    home.net.networks.create("inner", subnets=("10.62.0.0/24",), internal=True)
    web = home.attach("web", "lan", "inner", publish=("8080:80",))
    home.attach("db", "inner")
    inner, lan = survey(home.net)
    assert (lan.name, lan.driver, lan.engine, lan.gateways) == (
        "lan", "bridge", "builtin", ("10.61.0.1",),
    )  # fmt: skip
    (member,) = lan.members
    assert (member.id, member.interface, member.addresses, member.ports) == (
        "web", "eth0", ("10.61.0.2/24",), ("*:8080->80/tcp",),
    )  # fmt: skip
    assert [(one.id, one.interface, one.ports) for one in inner.members] == [
        ("db", "eth0", ()), ("web", "eth1", ()),
    ]  # fmt: skip
    inside = json.loads(home.inside(web, "ip", "-j", "link", "show", "eth0"))
    assert member.mac == inside[0]["address"]
    found = look(home.net, "lan")
    (planned,) = found.info.members
    assert member == replace(planned, routes=(), rules=(), steps=())
    assert planned.routes == (("0.0.0.0/0", "10.61.0.1"),)
    assert "default via 10.61.0.1" in home.inside(web, "ip", "route")
    listed = home.host.run("nft", "list", "ruleset").stdout
    dnat = "dnat ip to 10.61.0.2:80"
    (rule,) = (one for one in planned.rules if one.startswith("prerouting: ") and dnat in one)
    assert "tcp dport 8080 fib daddr type local" in rule
    assert dnat in listed
    assert found.devices[lan.bridge].kind == "bridge"
    assert found.devices[member.host_interface].bridge == lan.bridge
    there, wanted = found.rules["web"]
    both = [look(home.net, name).info.members for name in ("lan", "inner")]
    assert there == wanted == sum(len(one.rules) for each in both
                                  for one in each if one.id == "web")  # fmt: skip
    assert found.files["web"]["/etc/hostname"] == "web\n"
    assert "db" in look(home.net, "inner").files["web"]["/etc/hosts"]
    for id in ("web", "db"):
        home.delete(id)
    assert look(home.net, "lan").info.members == ()


def test_rules_that_somebody_deleted_are_missed(home: Home) -> None:
    home.net.networks.create("lan", subnets=("10.61.0.0/24",))
    home.attach("web", "lan")
    home.host.run("nft", "delete", "table", "inet", "mobyshell")
    there, wanted = look(home.net, "lan").rules["web"]
    assert there == 0 < wanted
    home.delete("web")


def test_a_network_of_nobody_has_no_device_yet(home: Home) -> None:
    home.net.networks.create("lan")
    found = look(home.net, "lan")
    assert (found.devices, found.rules, found.trouble) == ({}, {}, "")
    with pytest.raises(NotFound):
        look(home.net, "nowhere")


def test_what_cannot_be_looked_at_is_said(home: Home) -> None:
    home.net.networks.create("lan")
    home.net.host = "/proc/self/no-such-namespace"
    found = look(home.net, "lan")
    assert found.info.name == "lan"
    assert "no-such-namespace" in found.trouble


def verbs(steps: Any) -> list[str]:
    return [one.verb for one in steps]


def test_the_plan_of_the_next_one_is_what_then_happens(home: Home) -> None:
    config = home.net.networks.create("lan", subnets=("10.61.0.0/24",))
    mapping = ports.parse("8080:80")
    steps = plan_join(home.net, config, mapping)
    assert home.leftovers()["links"] == set()  # nothing was done
    assert NEXT not in [id for _, id in home.net.records.ids()]
    made = home.attach(NEXT, "lan", publish=("8080:80",))
    (member,) = look(home.net, "lan").info.members
    # that nobody has the port was checked; it is nothing that is left to see afterwards
    assert verbs(member.steps) == verbs(steps)
    assert [one.arguments for one in member.steps] == [one.arguments for one in steps]
    with pytest.raises(AlreadyExists, match="8080"):
        plan_join(home.net, config, mapping)
    assert made.addresses == ("10.61.0.2/24",)
    home.delete(NEXT)


def test_a_network_that_is_used_cannot_be_planned_away(home: Home) -> None:
    config = home.net.networks.create("lan", subnets=("10.61.0.0/24",))
    home.attach("web", "lan")
    with pytest.raises(WrongState, match="in use by web"):
        plan_remove(home.net, "lan")
    home.delete("web")
    steps = plan_remove(home.net, "lan")
    assert [one.shell for one in steps] == [
        f"rm {config.path}", f"ip link del {config.plugins[0]['bridge']}",
    ]  # fmt: skip
    assert home.net.networks.get("lan") == config  # nothing was done
    machine = home.directory / "net.d" / "theirs.conflist"
    machine.parent.mkdir()
    machine.write_text('{"cniVersion": "1.0.0", "name": "theirs", "type": "macvlan"}')
    with pytest.raises(Refused, match="the machine's"):
        plan_remove(home.net, "theirs")


def test_the_plan_of_a_network_begins_with_its_file(home: Home) -> None:
    steps = plan_create(home.net, "lan", subnets=("10.61.0.0/24",), internal=True)
    assert verbs(steps)[0] == "write"
    assert '"10.61.0.0/24"' in steps[0].shell
    assert "bridge" in verbs(steps)
    assert home.net.networks.ls() == []
    with pytest.raises(UsageError):
        plan_create(home.net, "no name")

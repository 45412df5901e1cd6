"""Networks, their members and steps as rows and lines. Pure: values in, rows and text out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mobyshell.commands.output import clean
from mobyshell.core.network.look import Device, Member, NetworkInfo, NetworkLook
from mobyshell.core.network.values import Operation
from mobyshell.widgets.resource import Column, ResourceSpec, Row


def network_health(row: Row) -> str:
    """good: somebody is in it; busy: somebody is being joined; off: nobody."""
    return "busy" if row["joining"] else "good" if row["tasks"] else "off"


NETWORKS = ResourceSpec(
    noun="network",
    key="name",
    columns=(
        Column("name", "NETWORK", 0, "id"), Column("driver", "DRIVER", 8, "state", 84),
        Column("subnet", "SUBNET", 18), Column("gateway", "GATEWAY", 14, "text", 100),
        Column("tasks", "TASKS", 5, "number"), Column("ports", "PORTS", 25),
        Column("bridge", "BRIDGE", 15, "text", 104), Column("engine", "BY", 8, "text", 122),
        Column("whose", "WHOSE", 7, "text", 130),
    ),
    health=network_health,
    empty="No networks yet: press n to make one; `run -p` makes the network bridge by itself.",
)  # fmt: skip

MEMBERS = ResourceSpec(
    noun="member",
    key="id",
    columns=(
        Column("id", "TASK", 0, "id"), Column("interface", "DEVICE", 6),
        Column("addresses", "ADDRESSES", 18), Column("mac", "HARDWARE", 17),
        Column("cable", "CABLE", 15, "state"), Column("ports", "PORTS", 22, "text", 100),
    ),
    health=lambda row: {True: "good", False: "bad", None: "off"}[row["up"]],
    empty="Nobody is in it: `run --network` joins a task to it, J one that is there.",
)  # fmt: skip

STEPS = ResourceSpec(
    noun="step",
    key="n",
    columns=(
        Column("n", "#", 3, "number"), Column("where", "WHERE", 9), Column("verb", "STEP", 8),
        Column("why", "WHY", 0),
    ),
    health=lambda row: "good",
    empty="Nothing would be done.",
)  # fmt: skip


def network_rows(networks: Sequence[NetworkInfo]) -> list[dict[str, Any]]:
    """One row a network."""
    return [
        {
            "name": one.name, "driver": one.driver, "engine": one.engine, "bridge": one.bridge,
            "subnet": ", ".join(str(net) for net in one.config.subnets),
            "gateway": ", ".join(one.gateways), "tasks": len(one.members),
            "joining": any(not each.complete for each in one.members),
            "ports": ", ".join(port for each in one.members for port in each.ports),
            "whose": "ours" if one.config.ours else "machine",
            "labels": " ".join(f"{key}={value}" for key, value in one.config.labels.items()),
            "members": " ".join(each.id for each in one.members),
        }
        for one in networks
    ]  # fmt: skip


def member_rows(look: NetworkLook) -> list[dict[str, Any]]:
    """One row a member, with the state of its cable."""
    return [
        {
            "id": one.id, "interface": one.interface, "addresses": ", ".join(one.addresses),
            "mac": one.mac, "cable": one.host_interface, "ports": ", ".join(one.ports),
            "up": _up(look.devices, one),
        }
        for one in look.info.members
    ]  # fmt: skip


def _up(devices: Mapping[str, Device], one: Member) -> bool | None:
    if not one.host_interface or not devices:
        return None
    return one.host_interface in devices and devices[one.host_interface].up


def step_rows(steps: Sequence[Operation]) -> list[dict[str, Any]]:
    """One row a step."""
    return [
        {"n": number, "where": one.where, "verb": one.verb, "why": one.why}
        for number, one in enumerate(steps, 1)
    ]


def step_text(step: Operation) -> str:
    """All about one step: why, and the same by hand."""
    return "\n".join((step.why, "", f"The same in a shell of the {step.where}:", "",
                      *(f"  {clean(line)}" for line in step.shell.split("\n"))))  # fmt: skip


def _cable(devices: Mapping[str, Device], one: Member) -> str:
    up = _up(devices, one)
    return {True: "up", False: "DOWN" if one.host_interface in devices else "MISSING", None: ""}[up]


def topology(look: NetworkLook) -> str:
    """The network as a drawing: bridge, cables, containers, ports."""
    info = look.info
    if not info.bridge:
        return _without_bridge(info)
    lines = ["the host", "│", f"├─ {_bridge(look)}", *_cables(look)]
    lines += ["│", *_ports(info)] if any(one.ports for one in info.members) else []
    if look.trouble:
        lines += ["", f"What the kernel has could not be seen: {clean(look.trouble)}"]
    return "\n".join(lines)


def _without_bridge(info: NetworkInfo) -> str:
    by = ", ".join(str(one["type"]) for one in info.config.plugins)
    lines = [f"{clean(info.name)} has no bridge of its own: CNI's plugins make it ({clean(by)})."]
    for one in info.members:
        lines.append(f"  {clean(one.id)}: {one.interface}  {', '.join(one.addresses)}")
    return "\n".join(lines)


def _bridge(look: NetworkLook) -> str:
    info = look.info
    device = look.devices.get(info.bridge)
    gateways = ", ".join(info.gateways)
    if device is None:
        state = "not there yet: it comes with the first task" if not look.trouble else "?"
        return f"{clean(info.bridge)}  bridge  {gateways}  {state}"
    state = "up" if device.up else "DOWN"
    return f"{clean(info.bridge)}  bridge  {gateways}  {state}  mtu {device.mtu}"


def _cables(look: NetworkLook) -> list[str]:
    info, lines = look.info, []
    known = {one.host_interface for one in info.members}
    others = [one for one in look.devices.values()
              if one.bridge == info.bridge and one.name not in known]  # fmt: skip
    count = len(info.members) + len(others)
    for number, one in enumerate(info.members, 1):
        last = number == count
        state = _cable(look.devices, one)
        fork, rest = ("└─", "  ") if last else ("├─", "│ ")
        name = one.host_interface or "(made by a plugin)"
        lines.append(f"│   {fork} {name} {state} ══ {one.interface} of {clean(one.id)}"
                     + ("" if one.complete else "  (being joined)"))  # fmt: skip
        lines.append(f"│   {rest}      {', '.join(one.addresses)}  {one.mac}")
        lines += [f"│   {rest}      {to} via {through or 'the link'}" for to, through in one.routes]
    for number, other in enumerate(others, len(info.members) + 1):
        fork = "└─" if number == count else "├─"
        lines.append(f"│   {fork} {clean(other.name)} {other.kind}: nobody's whom we know")
    return lines or ["│   (nobody is plugged in)"]


def _ports(info: NetworkInfo) -> list[str]:
    pairs = [(port, one) for one in info.members for port in one.ports]
    lines = []
    for number, (port, one) in enumerate(pairs, 1):
        fork = "└─" if number == len(pairs) else "├─"
        host, _, inside = port.partition("->")
        ip = one.addresses[0].partition("/")[0] if one.addresses else "?"
        lines.append(f"{fork} port {host} ──dnat──▶ {ip}:{inside}  ({clean(one.id)})")
    return lines


def rules_text(look: NetworkLook) -> str:
    """The rules of each member, and whether the kernel has them."""
    lines = [
        "Rules of nf_tables, in the table inet mobyshell; each has the task it is for in its "
        "comment, and goes with that. In nft(8)'s words, by chain:", "",
    ]  # fmt: skip
    for one in look.info.members:
        there, wanted = look.rules.get(one.id, (None, len(one.rules)))
        lines.append(f"{clean(one.id)}  {_said_rules(there, wanted)}")
        lines += [f"  {rule}" for rule in one.rules] or ["  none: the network asks for none"]
        lines.append("")
    if not look.info.members:
        lines = ["No rules: nobody is in it. The tab Explain has those that the next task gets."]
    elif look.info.engine == "cni":
        lines.append("Plugins make their own rules (iptables): `iptables-save` shows them.")
    return "\n".join(lines)


def _said_rules(there: int | None, wanted: int) -> str:
    if there is None:
        return "(the kernel's rules may not be looked at by this user)"
    if there < wanted:
        return f"✗ only {there} of {wanted} are in the kernel: somebody deleted them"
    return f"✓ all {wanted} are in the kernel"


def names_text(look: NetworkLook) -> str:
    """What each member knows others by: resolv.conf, hosts and hostname."""
    lines = ["Tasks find each other by name in /etc/hosts, which changes as they come and go."]
    for id, files in look.files.items():
        for path, text in files.items():
            lines += ["", f"{clean(id)}:{path}", *(f"  {clean(line.expandtabs(8))}"
                                                   for line in text.splitlines())]  # fmt: skip
    if not look.files:
        lines += ["", "Nobody is in it."]
    return "\n".join(lines)


def config_text(info: NetworkInfo) -> str:
    """The configuration list, where it is, and who does it."""
    who = "mobyshell itself" if info.engine == "builtin" else f"CNI's plugins, since {info.why}"
    lines = [clean(info.config.path), f"done by {clean(who)}", "", ""]
    return "\n".join(lines) + json.dumps(info.config.document, indent=2, ensure_ascii=True)

"""Attachments to the operations that undo them. Pure. Doing them again changes nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from mobyshell.core.network.asked import Asked
from mobyshell.core.network.config import NetworkConfig
from mobyshell.core.network.planner import (
    HOLDER_PID,
    PROXY_PIDS,
    SLIRP_PID,
    Identity,
    Terms,
    by_plugins,
)
from mobyshell.core.network.values import (
    HOST,
    Attachment,
    Joined,
    NetworkPlan,
    Operation,
    PortMapping,
)


def plan_detach(
    identity: Identity, attachment: Attachment, plugins: tuple[str, ...]
) -> NetworkPlan:
    """What undoes an attachment, however far it came. Doing it again changes nothing."""
    return NetworkPlan(tuple(_detach(identity, attachment, plugins)))


def _detach(
    identity: Identity, attachment: Attachment, plugins: tuple[str, ...]
) -> Iterator[Operation]:
    for pids in (PROXY_PIDS, SLIRP_PID, HOLDER_PID):
        path = f"{attachment.directory}/{pids}"
        yield Operation("stop", HOST, {"pidfile": path}, "programs that pass packets on end",
                        f"kill $(cat {shlex.quote(path)})")  # fmt: skip
    if any(one.engine == "builtin" for one in attachment.joined):
        yield unruled(identity)
    terms = Terms(attachment.netns or "", pin=False, plugins=plugins)
    for one in reversed(attachment.joined):
        ports = attachment.ports if one is attachment.joined[0] else ()
        yield left_by(identity, one, ports, terms)
    for kept in (attachment.netns, attachment.userns) if attachment.pinned else ():
        if kept:
            path = shlex.quote(kept)
            yield Operation("unpin", HOST, {"path": kept}, "it goes with its last process",
                            f"umount {path} && rm {path}")  # fmt: skip


def unruled(identity: Identity) -> Operation:
    """The end of all rules of a container."""
    return Operation(
        "unrule", HOST, {"comment": identity.mark}, "its rules go, in one transaction",
        f"nft -a list table inet mobyshell | grep {shlex.quote(identity.mark)}"
        "  # and nft delete rule … handle N",
    )  # fmt: skip


def left_by(
    identity: Identity, one: Joined, ports: Sequence[PortMapping], terms: Terms
) -> Operation:
    """The end of a container's device in one network. `ports`: those that led to it."""
    if one.engine == "cni":
        config = NetworkConfig(one.network, one.document)
        asked = Asked(one.network, one.ips, one.aliases)
        undo = by_plugins("cni-del", identity, config, one.interface, terms, ports, asked)
        return Operation(undo.verb, undo.where, {**undo.arguments, "result": dict(one.result)},
                         undo.why, undo.shell)  # fmt: skip
    return Operation(
        "unlink", HOST, {"name": one.host_interface, "alias": identity.mark},
        "its cable goes, with both ends", f"ip link del {one.host_interface}",
    )  # fmt: skip

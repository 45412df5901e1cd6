"""What networks are talked about in: requests, leases, operations, plans and attachments. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HOST, CONTAINER = "host", "container"
"""Where an operation is done: in our network namespace, or in the container's."""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of the host that leads to one of a container. `host_ip`: "" for every address."""

    host_port: int
    container_port: int
    protocol: str = "tcp"
    host_ip: str = ""

    def __str__(self) -> str:
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{host or '*'}:{self.host_port}->{self.container_port}/{self.protocol}"

    def to_json(self) -> dict[str, Any]:
        """As CNI's capability `portMappings` has it."""
        found: dict[str, Any] = {
            "hostPort": self.host_port, "containerPort": self.container_port,
            "protocol": self.protocol,
        }  # fmt: skip
        if self.host_ip:
            found["hostIP"] = self.host_ip
        return found

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PortMapping:
        """What `to_json` made."""
        return cls(int(document["hostPort"]), int(document["containerPort"]),
                   str(document["protocol"]), str(document.get("hostIP", "")))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lease:
    """An address with its prefix (`10.1.0.2/24`), and the gateway of its range ("" if none)."""

    address: str
    gateway: str = ""

    @property
    def ip(self) -> str:
        """Without the prefix."""
        return self.address.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Users:
    """A user namespace of a container: one to be made, with its maps (inside, outside, how many), or
    the one at `path`. Its network namespace has to belong to it, or root inside had no power there."""

    path: str = ""
    uids: tuple[tuple[int, int, int], ...] = ()
    gids: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a container is to be attached to.

    `networks`: networks as `asked` writes them, or one of `none`, `host`, `pasta`, `slirp4netns`.
    `netns`: the container's network namespace; "" to make one and keep it by a mount. `hostname`,
    `servers` and `search`: what its files say, the host's where they are empty. `users`: the user
    namespace that it has, if not ours.
    """

    id: str
    networks: tuple[str, ...]
    ports: tuple[PortMapping, ...] = ()
    netns: str = ""
    hostname: str = ""
    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    users: Users | None = None


@dataclass(frozen=True, slots=True)
class Operation:
    """One step. `verb` and `arguments` are the worker's; `shell` does the same by hand."""

    verb: str
    where: str
    arguments: Mapping[str, Any]
    why: str
    shell: str

    def to_json(self) -> dict[str, Any]:
        """For the worker, and for whoever reads a plan."""
        return {"verb": self.verb, "where": self.where, "arguments": dict(self.arguments),
                "why": self.why, "shell": self.shell}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NetworkPlan:
    """The operations of an attachment, in order."""

    operations: tuple[Operation, ...] = ()

    def script(self) -> str:
        """A shell script that does the same."""
        lines = [f"# {one.why}\n{one.shell}" for one in self.operations]
        return "\n".join(("#!/bin/sh", "set -eu", *lines)) + "\n"


@dataclass(frozen=True, slots=True)
class Joined:
    """A container's place in one network: its device there, ours at the other end, its addresses.

    `engine`: `builtin`, `cni` or the program of a user-mode network. `document`: the network as it
    was then, by which it is undone. `result`: what plugins answered. `ips` and `aliases`: what was
    asked for (`asked`). `pending`: while it is being
    joined or left by a container that is there, or if whoever was at it died.
    """

    network: str
    interface: str
    engine: str = "builtin"
    host_interface: str = ""
    bridge: str = ""
    leases: tuple[Lease, ...] = ()
    document: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    ips: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    pending: bool = False


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a container is attached to. `netns` is what its spec has to name: a path, "" for one of
    its own, None for the host's; `userns` likewise, "" for what its spec says. `pinned`: whether we
    keep them by mounts. `complete` is False while it is being made, or if whoever made it died.
    `users`: whose its network namespace is, as it was asked for.
    """

    namespace: str
    id: str
    netns: str | None
    pinned: bool = False
    complete: bool = False
    joined: tuple[Joined, ...] = ()
    ports: tuple[PortMapping, ...] = ()
    directory: str = ""
    hostname: str = ""
    userns: str = ""
    users: Users | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Every address it has, with its prefix."""
        return tuple(lease.address for one in self.joined for lease in one.leases)

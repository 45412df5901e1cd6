"""What a container knows others by: its resolv.conf, hosts and hostname, as text. Pure.

The host's name servers are taken over, but for those that only the host reaches at its own
loopback: a container has another loopback.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence

from mobyshell.core.network import files

RESOLV_CONF, HOSTS, HOSTNAME = "resolv.conf", "hosts", "hostname"
FILES = {RESOLV_CONF: "/etc/resolv.conf", HOSTS: "/etc/hosts", HOSTNAME: "/etc/hostname"}
"""Our files, and where a container looks for them."""

_RESOLVED = "/run/systemd/resolve/resolv.conf"
"""The servers behind systemd-resolved, whose own address is on the host's loopback."""

_LARGEST = 1 << 16


def resolv_conf(
    host: str, *, servers: Sequence[str] = (), search: Sequence[str] = (),
    options: Sequence[str] = (), own_loopback: bool = True,
) -> str:  # fmt: skip
    """A resolv.conf (resolv.conf(5)) from the host's text. `servers` and `search` replace its own,
    `options` are added; with `own_loopback` servers at 127.0.0.0/8 and ::1 are left out."""
    kept, found = [], list(servers)
    for line in host.splitlines():
        words = line.split()
        if not words or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            if not servers and len(words) > 1 and _reachable(words[1], own_loopback):
                found.append(words[1])
        elif words[0] in ("search", "domain"):
            if not search:
                kept.append(" ".join(words))
        else:
            kept.append(" ".join(words))
    if search:
        kept.insert(0, " ".join(("search", *search)))
    if options:
        kept.append(" ".join(("options", *options)))
    return "".join(f"{line}\n" for line in (*kept, *(f"nameserver {one}" for one in found)))


def _reachable(server: str, own_loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(server.partition("%")[0])
    except ValueError:
        return False
    return not (own_loopback and address.is_loopback)


def hosts(hostname: str, addresses: Sequence[str]) -> str:
    """A hosts file (hosts(5)): loopback, and the container's own name."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{one}\t{hostname}" for one in addresses or ("127.0.1.1",) if hostname]
    return "".join(f"{line}\n" for line in lines)


def host_resolv_conf() -> str:
    """The host's own servers: those behind systemd-resolved where it is in between."""
    text = _read("/etc/resolv.conf")
    servers = [line.split()[1] for line in text.splitlines()
               if line.startswith("nameserver") and len(line.split()) > 1]  # fmt: skip
    if servers == ["127.0.0.53"] and os.path.exists(_RESOLVED):
        return _read(_RESOLVED)
    return text


def write(
    directory: str, hostname: str, addresses: Sequence[str], *, servers: Sequence[str] = (),
    search: Sequence[str] = (), options: Sequence[str] = (), own_loopback: bool = True,
) -> None:  # fmt: skip
    """Write the three files into `directory`. SyscallFailed."""
    resolv = resolv_conf(host_resolv_conf(), servers=servers, search=search,
                         options=options, own_loopback=own_loopback)  # fmt: skip
    for name, text in (
        (RESOLV_CONF, resolv), (HOSTS, hosts(hostname, addresses)), (HOSTNAME, f"{hostname}\n"),
    ):  # fmt: skip
        files.rewrite(f"{directory}/{name}", text.encode())


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST).decode(errors="replace")
    except OSError:
        return ""

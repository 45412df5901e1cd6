"""What the worker can do: one function per verb of a plan. Each makes what it is asked for, or
finds it made; what is to go may be gone. Runs in the worker's process only."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    Refused,
    SyscallFailed,
    TimedOut,
    Unsupported,
)
from mobyshell.core.linux import constants as c
from mobyshell.core.linux.nftables import Rule, Ruleset
from mobyshell.core.linux.syscalls import call
from mobyshell.core.network import files
from mobyshell.core.network.values import PortMapping

if TYPE_CHECKING:
    from mobyshell.core.network.worker import Places

_ENDS_WITHIN = 10.0


def pin(places: Places, *, path: str) -> None:
    """A new network namespace, kept by a mount (as ip-netns(8) does)."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o400))
    call("unshare", c.CLONE_NEWNET, what="making a network namespace")
    try:
        call("mount", b"/proc/self/ns/net\0", os.fsencode(path) + b"\0", 0, c.MS_BIND, 0, path=path)
    finally:
        places.leave_new()


def keep(places: Places, *, pid: int, paths: Mapping[str, str]) -> None:
    """The namespaces of a process, by kind, kept by mounts. What was kept there before goes."""
    for kind, path in paths.items():
        unpin(places, path=path)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o400))
        call("mount", f"/proc/{pid}/ns/{kind}".encode() + b"\0", os.fsencode(path) + b"\0",
             0, c.MS_BIND, 0, path=path)  # fmt: skip


def unpin(places: Places, *, path: str) -> None:
    """Let the namespace go, and its file."""
    try:
        call("umount2", os.fsencode(path) + b"\0", c.MNT_DETACH, path=path)
    except SyscallFailed as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):  # not mounted; not there
            raise
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def bridge(places: Places, *, name: str, mtu: int, alias: str) -> bool:
    """True if it was made now."""
    return places.links().ensure_bridge(name, mtu=mtu, alias=alias)


def unbridge(places: Places, *, name: str) -> bool:
    """Delete a bridge that nobody is plugged into; whether it was there and is gone."""
    links = places.links()
    found = links.find(name)
    if found is None or found.kind != "bridge":
        return False
    if any(one.master == found.index for one in links.all()):
        return False
    return links.remove(name)


def veth(places: Places, *, name: str, peer: str, mtu: int, mac: str, alias: str) -> None:
    """A pair of devices, one end in the container."""
    places.links().make_veth(name, peer, places.fd("container"), mtu=mtu, mac=mac, alias=alias)


def unlink(places: Places, *, name: str, alias: str) -> bool:
    """Delete a device if it is the one that was made for whom the alias says."""
    links = places.links()
    found = links.find(name)
    # the alias is given right after the making: a device without one is of who died in between
    return found is not None and found.alias in ("", alias) and links.remove(name)


def plug(places: Places, *, device: str, bridge: str, hairpin: bool) -> None:
    """Make a device a port of a bridge."""
    places.links().plug(device, bridge, hairpin=hairpin)


def up(places: Places, *, device: str, promiscuous: bool = False) -> None:
    """Switch a device on."""
    places.links().set_up(device, promiscuous=promiscuous)


def address(places: Places, *, device: str, address: str) -> None:
    """Give a device an address."""
    places.links().ensure_address(device, address)


def route(places: Places, *, device: str, to: str, through: str) -> None:
    """A route through a device."""
    places.links().ensure_route(device, to, through)


def routes(places: Places) -> list[str]:
    """The destinations that there are routes to."""
    return [one.destination for one in places.links().routes()]


def owned(places: Places, *, tag: str) -> list[tuple[str, str, str]]:
    """(device or rules, name, mark) of everything whose mark has a tag (`planner.Identity`)."""
    mine = f"mobyshell {tag} "
    found = [("device", one.name, one.alias) for one in places.links().all()
             if one.alias.startswith(mine)]  # fmt: skip
    try:
        ruleset = Ruleset()
    except Unsupported:
        return found
    marks = dict.fromkeys(mark for _, _, mark in ruleset.rules() if mark.startswith(mine))
    ruleset.close()
    return [*found, *(("rules", "", mark) for mark in marks)]


def seen(places: Places) -> dict[str, Any]:
    """`devices`: name, up, hardware address, MTU, kind and the name of its bridge, of each; `rules`:
    how many there are by mark, None where we may not look."""
    every = places.links().all()
    names = {one.index: one.name for one in every}
    devices = [(one.name, one.up, one.mac, one.mtu, one.kind, names.get(one.master, ""))
               for one in every]  # fmt: skip
    return {"devices": devices, "rules": _marks()}


def _marks() -> dict[str, int] | None:
    try:
        ruleset = Ruleset()
    except Unsupported:
        return {}
    except (OSError, SyscallFailed):
        return None  # not for this user
    try:
        return dict(Counter(mark for _, _, mark in ruleset.rules()))
    except SyscallFailed:
        return None
    finally:
        ruleset.close()


def sysctl(places: Places, *, name: str, value: str) -> None:
    """A setting of the network namespace we are in; one that is so already is not written, since
    /proc/sys may be read-only."""
    path = f"/proc/sys/{name}"
    try:
        with open(path) as file:
            if file.read().strip() == value:
                return
        with open(path, "w") as file:
            file.write(value)
    except OSError as error:
        raise SyscallFailed.of(error, "write", path=path) from None


def rules(places: Places, *, rules: Sequence[Mapping[str, Any]], comment: str) -> None:
    """Add rules of nf_tables."""
    made = []
    for one in rules:
        values = dict(one)
        values["to"] = tuple(values["to"]) if values["to"] is not None else None
        made.append(Rule(**values))
    ruleset = Ruleset()
    ruleset.add(made, comment)
    ruleset.close()


def unrule(places: Places, *, comment: str) -> int:
    """Delete the rules with a comment; how many there were."""
    try:
        ruleset = Ruleset()
    except Unsupported:
        return 0  # no rule was ever made
    try:
        return ruleset.drop(comment)
    finally:
        ruleset.close()


def ports(places: Places, *, ports: Sequence[Mapping[str, Any]]) -> None:
    """AlreadyExists if a program of the host listens on one of the ports."""
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
    for one in map(PortMapping.from_json, ports):
        if one.protocol not in kinds:
            continue
        family = socket.AF_INET6 if ":" in one.host_ip else socket.AF_INET
        with socket.socket(family, kinds[one.protocol]) as trial:
            if one.protocol == "tcp":  # connections that end do not take a port
                trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((one.host_ip, one.host_port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise AlreadyExists(
                        f"port {one.host_port}/{one.protocol} of the host is in use by a program",
                        hint=f"`ss -lptun sport = {one.host_port}` says which",
                    ) from None
                if error.errno == errno.EACCES:
                    raise Refused(
                        f"port {one.host_port}/{one.protocol} of the host is for root",
                        hint="choose a higher one; or, as root: sysctl "
                        f"net.ipv4.ip_unprivileged_port_start={one.host_port}",
                    ) from None
                raise SyscallFailed.of(error, "bind", path=str(one)) from None


def proxy(
    places: Places, *, ports: Sequence[Mapping[str, Any]], to: Mapping[str, str], pidfile: str
) -> None:
    """Start a program that passes connections on; it listens when this returns."""
    import subprocess

    words = [sys.executable, "-m", "mobyshell.core.network.proxy", pidfile]
    for one in map(PortMapping.from_json, ports):
        target = to.get("6" if ":" in one.host_ip else "4") or next(iter(to.values()))
        words.append(f"{one.protocol}|{one.host_ip}|{one.host_port}|{target}|{one.container_port}")
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, text=True, check=False)  # fmt: skip
    if done.returncode:
        raise MobyshellError(f"ports cannot be passed on: {done.stderr.strip()[-400:]}")


def stop(places: Places, *, pidfile: str) -> None:
    """End the processes that a file names, with the start times that make them unmistakable."""
    try:
        with open(pidfile) as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return
    for line in lines:
        pid, _, start = line.partition(" ")
        if pid.isdecimal():
            _end(int(pid), start)
    os.unlink(pidfile)


def _end(pid: int, start: str) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return
    try:
        if start and files.start_time(pid) != start:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                signal.pidfd_send_signal(pidfd, number)
            except ProcessLookupError:
                return
            until = time.monotonic() + _ENDS_WITHIN
            while time.monotonic() < until:
                if not files.start_time(pid):
                    return
                time.sleep(0.005)
        raise TimedOut(f"process {pid} does not end")
    finally:
        os.close(pidfd)


def _in(module: str, name: str) -> Callable[..., Any]:
    """A function of another module, which is loaded when it is called: few plans need it."""

    def run(places: Places, **arguments: Any) -> Any:
        found = import_module(f"mobyshell.core.network.{module}")
        return getattr(found, name)(places, **arguments)

    return run


VERBS: dict[str, Callable[..., Any]] = {
    "pin": pin, "keep": keep, "unpin": unpin, "bridge": bridge, "unbridge": unbridge, "veth": veth,
    "unlink": unlink, "plug": plug, "up": up, "address": address, "route": route, "routes": routes,
    "sysctl": sysctl, "rules": rules, "unrule": unrule, "ports": ports, "proxy": proxy,
    "stop": stop, "owned": owned, "seen": seen, "cni-add": _in("cni", "add"), "cni-del": _in("cni", "delete"),
    "cni-check": _in("cni", "check"),
    "slirp": _in("slirp", "start"), "hold": _in("holder", "hold"),
    "pin-users": _in("holder", "pin"),
}  # fmt: skip
"""The verbs of plans."""

"""Networks in memory, for tests whose subject is the screen."""

from __future__ import annotations

from pathlib import Path

from mobyshell.core.errors import NotFound
from mobyshell.core.network import config
from mobyshell.core.network.look import Device, Member, NetworkInfo, NetworkLook
from mobyshell.core.network.values import CONTAINER, HOST, Operation

LAN = b"""{"cniVersion": "1.0.0", "name": "lan", "plugins": [
  {"type": "bridge", "bridge": "moby0d835bb7b6", "isGateway": true, "ipMasq": true,
   "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.90.0.0/24", "gateway": "10.90.0.1"}]],
            "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}],
  "mobyshell": {"labels": {"for": "tests"}, "created": 1.0}}"""
WIDE = b'{"cniVersion": "1.0.0", "name": "wide", "type": "macvlan", "ipam": {"type": "dhcp"}}'


def write_networks(root: Path) -> None:
    """The same as files of a namespace, for verbs that look for them."""
    place = root / "networks" / "default"
    place.mkdir(parents=True)
    for name, text in (("lan", LAN), ("wide", WIDE)):
        (place / f"{name}.conflist").write_bytes(text)


STEPS = (
    Operation("bridge", HOST, {}, "the bridge of the network lan",
              "ip link add moby0d835bb7b6 type bridge"),
    Operation("veth", HOST, {}, "a cable from the host into the container",
              "ip link add veth0 type veth peer name eth0 netns /run/netns/next"),
    Operation("address", CONTAINER, {}, "the container's address",
              "nsenter --net=/run/netns/next ip addr add 10.90.0.4/24 dev eth0"),
    Operation("rules", HOST, {}, "translation of addresses and ports, in one transaction",
              "nft -f - <<'END'\nadd rule inet mobyshell postrouting masquerade\nEND"),
)  # fmt: skip


def member(id: str, last: int, *ports: str) -> Member:
    ip = f"10.90.0.{last}"
    rules = [f"prerouting: tcp dport 8080 fib daddr type local dnat ip to {ip}:80"] if ports else []
    return Member(
        id, True, "builtin", "eth0", f"veth{last:011x}", (f"{ip}/24",), ("10.90.0.1",),
        f"0a:58:0a:5a:00:{last:02x}", ports, (("0.0.0.0/0", "10.90.0.1"),),
        (*rules, f"postrouting: ip saddr {ip} ip daddr != 10.90.0.0/24 masquerade"), STEPS,
    )  # fmt: skip


class FakeNetworks:
    """`lan`, with two members whose cables are there, and `wide`, which plugins do."""

    def __init__(self) -> None:
        lan, wide = config.parse(LAN, "/srv/networks/lan.conflist", ours=True), config.parse(WIDE)
        self.infos = [
            NetworkInfo(lan, "bridge", "builtin", "", "moby0d835bb7b6", ("10.90.0.1",),
                        (member("web", 2, "*:8080->80/tcp"), member("worker", 3))),
            NetworkInfo(wide, "macvlan", "cni", "its first plugin is macvlan", "", (), ()),
        ]  # fmt: skip
        self.broken: Exception | None = None

    def ls(self) -> list[NetworkInfo]:
        if self.broken is not None:
            raise self.broken
        return self.infos

    def look(self, name: str) -> NetworkLook:
        info = next((one for one in self.infos if one.name == name), None)
        if info is None:
            raise NotFound(f"no network {name}")
        if not info.bridge:
            return NetworkLook(info)
        devices = [Device(info.bridge, True, "8e:1b:00:00:00:01", 1500, "bridge", "")]
        devices += [Device(one.host_interface, one.id != "worker", "8e:1b:00:00:00:02", 1500, "veth",
                           info.bridge) for one in info.members]  # fmt: skip
        devices.append(Device("tap7", True, "8e:1b:00:00:00:09", 1500, "tun", info.bridge))
        return NetworkLook(
            info, {one.name: one for one in devices}, {"web": (2, 2), "worker": (0, 1)},
            {"web": {"/etc/resolv.conf": "nameserver 9.9.9.9\n",
                     "/etc/hosts": "10.90.0.2\tweb\n10.90.0.3\tworker\n"}},
        )  # fmt: skip

    def plan(self, name: str) -> tuple[Operation, ...]:
        self.look(name)
        return STEPS

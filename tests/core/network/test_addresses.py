"""Who has which address: never two the same, whoever asks, and given back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.network.addresses import Addresses, NoAddressLeft
from mobyshell.core.network.config import BridgeConfig, parse


def _ranges(*groups: object) -> BridgeConfig:
    document = {
        "cniVersion": "1.0.0", "name": "web",
        "plugins": [{"type": "bridge", "ipam": {"type": "host-local", "ranges": list(groups)}}],
    }  # fmt: skip
    found, why = parse(json.dumps(document).encode()).built_in()
    assert found is not None, why
    return found


SMALL = _ranges([{"subnet": "10.1.0.0/29"}])


def test_one_after_the_other_and_what_was_given_back_last(tmp_path: Path) -> None:
    book = Addresses(str(tmp_path), "web")
    given = [book.allocate(SMALL.ranges, f"c{n}", "eth0")[0].address for n in range(5)]
    assert given == [f"10.1.0.{n}/29" for n in (2, 3, 4, 5, 6)]
    with pytest.raises(NoAddressLeft):
        book.allocate(SMALL.ranges, "more", "eth0")
    assert book.owners()["10.1.0.4"] == "c2"
    assert book.release("c2") == 1
    assert book.release("c2") == 0
    assert book.release("somebody", ["10.1.0.5"]) == 0
    assert book.peek(SMALL.ranges)[0].ip == "10.1.0.4"
    assert book.allocate(SMALL.ranges, "c9", "eth0")[0].ip == "10.1.0.4"


def test_all_or_none_of_several_sets(tmp_path: Path) -> None:
    both = _ranges(
        [{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/29", "rangeStart": "10.2.0.4",
                                     "rangeEnd": "10.2.0.4"}],
        [{"subnet": "fd00::/126"}],
    )  # fmt: skip
    book = Addresses(str(tmp_path), "web")
    one = book.allocate(both.ranges, "one", "eth0")
    assert [(lease.address, lease.gateway) for lease in one] == [
        ("10.1.0.2/29", "10.1.0.1"), ("fd00::2/126", "fd00::1"),
    ]  # fmt: skip
    book.allocate(both.ranges, "two", "eth0")
    before = book.owners()
    with pytest.raises(NoAddressLeft, match="fd00::/126"):
        book.allocate(both.ranges, "three", "eth0")
    assert book.owners() == before


def test_the_files_are_host_locals(tmp_path: Path) -> None:
    book = Addresses(str(tmp_path), "web")
    book.allocate(SMALL.ranges, "one", "eth0")
    assert (tmp_path / "web" / "10.1.0.2").read_bytes() == b"one\r\neth0"
    assert (tmp_path / "web" / "last_reserved_ip.0").read_text() == "10.1.0.2"
    book.forget()
    assert (tmp_path / "web").exists()
    book.release("one", ["10.1.0.2"])
    book.forget()
    assert not (tmp_path / "web").exists()


_TAKE = """
import sys
from mobyshell.core.network.addresses import Addresses
from mobyshell.core.network.config import Range
import ipaddress
net = ipaddress.ip_network("10.1.0.0/24")
at = int(net.network_address)
ranges = [[Range(net, at + 1, at + 254, "10.1.0.1")]]
book = Addresses(sys.argv[1], "web")
for n in range(25):
    one = f"{sys.argv[2]}-{n}"
    print(book.allocate(ranges, one, "eth0")[0].ip)
    if n % 2:
        assert book.release(one) == 1
"""


def test_many_processes_never_get_the_same(tmp_path: Path) -> None:
    started = [
        subprocess.Popen([sys.executable, "-c", _TAKE, str(tmp_path), str(n)],
                         stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        for n in range(6)
    ]  # fmt: skip
    said = [one.communicate(timeout=60)[0].split() for one in started]
    assert all(one.returncode == 0 for one in started)
    kept = [ip for lines in said for ip in lines[::2]]
    assert len(set(kept)) == len(kept) == 6 * 13
    owners = Addresses(str(tmp_path), "web").owners()
    assert sorted(owners) == sorted(ip.decode() for ip in kept)


@pytest.mark.root
@pytest.mark.peer
def test_host_local_and_we_share_a_network(tmp_path: Path) -> None:
    ipam = {"type": "host-local", "dataDir": str(tmp_path), "ranges": [[{"subnet": "10.1.0.0/29"}]]}
    config = json.dumps({"cniVersion": "1.0.0", "name": "web", "type": "bridge", "ipam": ipam})

    def plugin(command: str, container: str) -> str:
        done = subprocess.run(
            ["/usr/lib/cni/host-local"], input=config, capture_output=True, text=True, check=False,
            env={"CNI_COMMAND": command, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0",
                 "CNI_NETNS": "/nowhere", "CNI_PATH": "/usr/lib/cni", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return str(json.loads(done.stdout)["ips"][0]["address"]) if command == "ADD" else ""

    book = Addresses(str(tmp_path), "web")
    assert plugin("ADD", "theirs") == "10.1.0.2/29"
    assert book.allocate(SMALL.ranges, "ours", "eth0")[0].address == "10.1.0.3/29"
    assert plugin("ADD", "theirs2") == "10.1.0.4/29"
    assert book.owners() == {"10.1.0.2": "theirs", "10.1.0.3": "ours", "10.1.0.4": "theirs2"}
    plugin("DEL", "ours")
    assert book.release("theirs") == 1
    assert book.owners() == {"10.1.0.4": "theirs2"}

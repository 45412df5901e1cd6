"""Devices, addresses and routes as we make them, as ip(8) sees them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.netns import Netns

pytestmark = pytest.mark.root


@pytest.fixture
def host() -> Iterator[Netns]:
    with Netns() as made:
        yield made


_MAKE = """
import os
from mobyshell.core.linux.links import Links
links = Links()
print(links.ensure_bridge("br0", mtu=1400, alias="ours"), links.ensure_bridge("br0"))
print(links.ensure_address("br0", "10.7.0.1/24"), links.ensure_address("br0", "10.7.0.1/24"))
print(links.ensure_address("br0", "fd07::1/64"))
links.set_up("br0")
there = os.open({path!r}, os.O_RDONLY)
links.make_veth("v0", "eth0", there, mtu=1400, mac="0a:58:0a:07:00:02", alias="whose")
links.plug("v0", "br0", hairpin=True)
links.set_up("v0")
"""


def test_a_bridge_and_a_pair_of_devices(host: Netns) -> None:
    with Netns() as inside:
        said = host.python(_MAKE.format(path=inside.path))
        assert said.split() == ["True", "False", "True", "False", "True"]
        bridge, veth = (host.ip("-d", "link", "show", one)[0] for one in ("br0", "v0"))
        assert bridge["linkinfo"]["info_kind"] == "bridge"
        assert (bridge["mtu"], bridge["ifalias"]) == (1400, "ours")
        assert "UP" in bridge["flags"]
        assert (veth["master"], veth["ifalias"]) == ("br0", "whose")
        assert veth["linkinfo"]["info_slave_data"]["hairpin"] is True
        addresses = host.ip("addr", "show", "br0")[0]["addr_info"]
        assert {(one["local"], one["prefixlen"]) for one in addresses} >= {
            ("10.7.0.1", 24), ("fd07::1", 64),
        }  # fmt: skip
        peer = inside.ip("link", "show", "eth0")[0]
        assert (peer["address"], peer["mtu"]) == ("0a:58:0a:07:00:02", 1400)
        inside.python(
            "from mobyshell.core.linux.links import Links\n"
            "links = Links()\n"
            "links.ensure_address('eth0', '10.7.0.2/24')\n"
            "links.set_up('eth0')\n"
            "assert links.ensure_route('eth0', '0.0.0.0/0', '10.7.0.1')\n"
            "assert not links.ensure_route('eth0', '0.0.0.0/0', '10.7.0.1')\n"
            "index = links.get('eth0').index\n"
            "assert ('0.0.0.0/0', '10.7.0.1', index) in "
            "[(one.destination, one.gateway, one.index) for one in links.routes()]\n"
            "assert links.addresses(index)[0].text == '10.7.0.2/24'\n"
        )
        assert inside.ip("route", "show", "default")[0]["gateway"] == "10.7.0.1"
        inside.run("ping", "-c1", "-W10", "10.7.0.1")


def test_what_is_gone_is_gone(host: Netns) -> None:
    said = host.python(
        "from mobyshell.core.linux.links import Links\n"
        "links = Links()\n"
        "links.ensure_bridge('br0')\n"
        "print(links.remove('br0'), links.remove('br0'), links.find('br0'))\n"
    )
    assert said.split() == ["True", "False", "None"]


def test_a_name_that_is_something_else_is_refused_with_the_kernels_words(host: Netns) -> None:
    said = host.python(
        "from mobyshell.core.errors import SyscallFailed\n"
        "from mobyshell.core.linux.links import Links\n"
        "try:\n"
        "    Links().ensure_bridge('lo')\n"
        "except SyscallFailed as error:\n"
        "    print(error.errno_name, error)\n"
    )
    assert said.startswith("EEXIST making the bridge lo")

"""Network devices of the host that become the container's."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mobyshell.core.errors import HookFailed
from mobyshell.core.runtime.steps import run
from tests.core.runtime.conftest import House

pytestmark = pytest.mark.root

Document = dict[str, Any]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def device() -> Iterator[str]:
    """A device on this host, of this test alone; whatever became of it, it is gone afterwards."""
    name = f"mo{uuid.uuid4().hex[:8]}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("link", "set", f"{name}p", "up")
    ip("link", "set", name, "mtu", "1789", "address", "00:11:22:33:44:55")
    ip("address", "add", "169.254.169.77/32", "dev", name)
    ip("address", "add", "127.0.0.33", "scope", "host", "dev", name)
    ip("-6", "address", "add", "fd00:aaaa::5/64", "dev", name)
    yield name
    # its other end is still here, and takes it along wherever it is
    subprocess.run(["ip", "link", "del", f"{name}p"], check=False, capture_output=True)


def moving(name: str, new: str = "", **more: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        document["linux"]["netDevices"] = {name: {"name": new} if new else {}}
        document["linux"].update(more)

    return change


def test_it_keeps_its_settings_and_its_global_addresses(house: House, device: str) -> None:
    text = "\n".join(house.sh("ip address show dev inside", moving(device, "inside")))
    assert "mtu 1789" in text
    assert "00:11:22:33:44:55" in text
    assert "169.254.169.77/32" in text
    assert "fd00:aaaa::5/64" in text
    assert "127.0.0.33" not in text
    assert "UP" in text.splitlines()[0]
    assert not os.path.exists(f"/sys/class/net/{device}")


def test_its_name_need_not_change(house: House, device: str) -> None:
    assert house.run("ip", "link", "show", "dev", device, change=moving(device)).status == 0


def test_diff_names_it(house: House, device: str) -> None:
    container = house.create("c", house.spec(moving(device, "inside"), "true"))
    found = {one.path: (one.wanted, one.agrees) for one in house.runtime.diff("c")}
    assert found[f"linux.netDevices {device}"] == ("inside", None)
    run(house.runtime.start("c"))
    house.finish(container)


def test_in_a_user_namespace(house: House, device: str) -> None:
    mapping = [{"containerID": 0, "hostID": 0, "size": 65536}]

    def change(document: Document) -> None:
        moving(device, uidMappings=mapping, gidMappings=mapping)(document)
        document["linux"]["namespaces"].append({"type": "user"})

    assert house.run("ip", "link", "show", "dev", device, change=change).status == 0


def test_a_device_that_is_not_there_is_named(house: House) -> None:
    with pytest.raises(HookFailed, match=r"move the network device nosuch0.*link not found"):
        house.create("c", house.spec(moving("nosuch0"), "true"))
    assert house.runtime.list() == []


def test_a_name_that_is_taken_leaves_it_where_it_was(house: House, device: str) -> None:
    with pytest.raises(HookFailed, match=r"moving it as lo"):
        house.create("c", house.spec(moving(device, "lo"), "true"))
    text = ip("address", "show", "dev", device)
    assert "169.254.169.77/32" in text
    assert "mtu 1789" in text
    assert "UP" not in text.splitlines()[0].partition(">")[0].split(",")

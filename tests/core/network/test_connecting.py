"""Joining and leaving networks by containers that are there: what changes, what stays, and what a death
in the middle leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mobyshell.core.errors import (
    AlreadyExists,
    MobyshellError,
    NotFound,
    UsageError,
    WrongState,
)
from mobyshell.core.network import attach, connecting, orphans
from mobyshell.core.network.connecting import connect, disconnect, plan_connect, plan_disconnect
from mobyshell.core.network.keeping import Process
from mobyshell.core.network.values import Attachment
from tests.core.network.conftest import Home, asking
from tests.core.network.test_crashes import Saboteur, saboteur
from tests.waiting import eventually

__all__ = ["saboteur"]
pytestmark = pytest.mark.root


def _now(home: Home, id: str = "one") -> Attachment:
    found = home.net.find(id)
    assert found is not None
    return found


def _devices(home: Home, where: Attachment) -> dict[str, list[str]]:
    """The container's devices, but for its loopback, with their IPv4 addresses."""
    said = json.loads(home.inside(where, "ip", "-j", "addr"))
    return {one["ifname"]: [each["local"] for each in one["addr_info"] if each["family"] == "inet"]
            for one in said if one["ifname"] != "lo"}  # fmt: skip


def _default(home: Home, where: Attachment) -> list[str]:
    return [one["dev"] for one in json.loads(home.inside(where, "ip", "-j", "route"))
            if one["dst"] == "default"]  # fmt: skip


def _hosts(where: Attachment) -> str:
    return Path(where.directory, "hosts").read_text()


def _reached(home: Home, port: int) -> bool:
    return home.host.run(*asking("127.0.0.1", port), check=False).stdout.startswith("from ")


@pytest.fixture
def two(home: Home) -> Home:
    home.net.networks.create("red", subnets=["10.33.0.0/24"])
    home.net.networks.create("blue", subnets=["10.34.0.0/24"])
    return home


def test_one_more_network_and_back(two: Home) -> None:
    one, other = two.attach("one", "red", publish=("8080:80",)), two.attach("other", "blue")
    two.serve(one, 80)
    joined = connect(two.net, "one", "blue")
    assert (joined.interface, joined.leases[0].address) == ("eth1", "10.34.0.3/24")
    assert _devices(two, one) == {"eth0": ["10.33.0.2"], "eth1": ["10.34.0.3"]}
    assert _default(two, one) == ["eth0"]
    assert [each.network for each in _now(two).joined] == ["red", "blue"]
    assert _reached(two, 8080)
    two.inside(one, "ping", "-c1", "-W20", "10.34.0.2")
    assert "10.34.0.3\tone" in _hosts(other)
    assert "10.33.0.2\tone\n10.34.0.3\tone\n" in _hosts(one)
    assert "10.34.0.2\tother" in _hosts(one)
    assert orphans.find(two.net) == []

    disconnect(two.net, "one", "blue")
    assert _devices(two, one) == {"eth0": ["10.33.0.2"]}
    assert _reached(two, 8080)
    assert "one" not in _hosts(other).replace("none", "").split("# mobyshell")[1:]
    assert "10.34" not in _hosts(one)
    # its address is nobody's, and its device can be had again
    assert connect(two.net, "one", "blue").interface == "eth1"
    two.delete("one")
    two.delete("other")
    assert two.leftovers()["rules"] == ""
    assert two.leftovers()["links"] == {one.joined[0].bridge, other.joined[0].bridge}


def test_ports_and_the_way_out_move_to_another_network(two: Home) -> None:
    one = two.attach("one", "red", "blue", publish=("8080:80",))
    two.serve(one, 80)
    assert _default(two, one) == ["eth0"]
    disconnect(two.net, "one", "red")
    assert _devices(two, one) == {"eth1": ["10.34.0.2"]}
    assert _default(two, one) == ["eth1"]
    assert _reached(two, 8080)
    disconnect(two.net, "one", "blue")
    assert not _reached(two, 8080)
    assert "127.0.1.1\tone" in _hosts(one)
    assert _now(two).ports == one.ports  # they stay its own
    with pytest.raises(AlreadyExists, match="8080"):
        two.attach("two", "red", publish=("8080:80",))
    assert connect(two.net, "one", "red").interface == "eth0"
    assert _reached(two, 8080)
    assert "127.0.1.1" not in _hosts(one)


def test_a_network_without_ports_is_left_last(two: Home) -> None:
    two.net.networks.create("inner", subnets=["10.35.0.0/24"], internal=True)
    one = two.attach("one", "red", publish=("8080:80",))
    two.serve(one, 80)
    connect(two.net, "one", "inner")
    disconnect(two.net, "one", "red")
    assert not _reached(two, 8080)
    connect(two.net, "one", "blue")  # which can carry what the one that is there cannot
    assert _reached(two, 8080)
    assert _now(two).joined[0].network == "blue"


def test_without_the_kernels_help(two: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (attach, connecting):
        monkeypatch.setattr(module, "has_nftables", lambda: False)
    for name in ("green", "grey"):
        two.net.networks.create(name, isolated=False, routed=True)
    one = two.attach("one", "green", publish=("8080:80",))
    two.serve(one, 80)
    connect(two.net, "one", "grey")
    disconnect(two.net, "one", "green")
    assert _reached(two, 8080)
    disconnect(two.net, "one", "grey")
    assert not os.path.exists(f"{one.directory}/proxy.pid")


@pytest.mark.peer
def test_by_plugins(two: Home) -> None:
    two.net.networks.create("theirs", subnets=["10.36.0.0/24"], engine="cni")
    one = two.attach("one", "red", publish=("8080:80",))
    two.serve(one, 80)
    joined = connect(two.net, "one", "theirs")
    assert (joined.engine, joined.leases[0].address) == ("cni", "10.36.0.2/24")
    assert _devices(two, one)["eth1"] == ["10.36.0.2"]
    disconnect(two.net, "one", "theirs")
    assert list(_devices(two, one)) == ["eth0"]
    disconnect(two.net, "one", "red")
    connect(two.net, "one", "theirs")
    assert two.host.run(*asking("10.36.0.1", 8080)).stdout.startswith("from ")


def test_a_plan_does_in_a_shell_what_we_do(two: Home) -> None:
    one = two.attach("one", "red")
    plan = plan_connect(two.net, "one", "blue")
    assert "veth" in [step.verb for step in plan.operations]
    two.host.run("sh", "-c", plan.script())
    assert _devices(two, one) == {"eth0": ["10.33.0.2"], "eth1": ["10.34.0.2"]}
    two.host.run("ip", "link", "del", plan.operations[[s.verb for s in plan.operations].index("veth")]
                 .arguments["name"])  # fmt: skip
    connect(two.net, "one", "blue")
    plan = plan_disconnect(two.net, "one", "red")
    assert [step.verb for step in plan.operations] == ["rules", "unlink", "route"]
    assert _now(two).joined[0].network == "red"


@pytest.mark.parametrize("word", ["host", "none", "container:other", "pasta"])
def test_words_that_are_no_network(two: Home, word: str) -> None:
    two.attach("one", "red")
    for change in (connect, disconnect):
        with pytest.raises(UsageError, match="no network that can be joined"):
            change(two.net, "one", word)


def test_what_cannot_be_changed_says_why(two: Home) -> None:
    two.attach("one", "red")
    with pytest.raises(AlreadyExists, match="in the network red already"):
        connect(two.net, "one", "red")
    with pytest.raises(NotFound, match="not in the network blue") as caught:
        disconnect(two.net, "one", "blue")
    assert "it is in red" in caught.value.hint
    with pytest.raises(NotFound, match="no network nowhere"):
        connect(two.net, "one", "nowhere")
    with pytest.raises(NotFound, match="no task nobody"):
        connect(two.net, "nobody", "red")
    two.attach("host", "host")
    with pytest.raises(WrongState, match="the host's"):
        connect(two.net, "host", "red")
    (two.state / "default" / "config").mkdir()
    with pytest.raises(WrongState, match="its config's, or another task's"):
        connect(two.net, "config", "red")
    fd = two.net.records.lock("default", "one")
    with pytest.raises(WrongState, match="somebody else"):
        connect(two.net, "one", "blue")
    os.close(fd)


def test_a_failure_takes_the_network_back(two: Home) -> None:
    one = two.attach("one", "red", publish=("8080:80",))
    two.serve(one, 80)
    two.inside(one, "ip", "link", "add", "eth1", "type", "bridge")
    before = _now(two)
    with pytest.raises(MobyshellError, match="File exists"):
        connect(two.net, "one", "blue")
    assert _now(two) == before
    assert _reached(two, 8080)
    two.inside(one, "ip", "link", "del", "eth1")
    assert connect(two.net, "one", "blue").leases[0].ip != ""


def test_addresses_and_names_that_are_asked_for(two: Home) -> None:
    one, other = two.attach("one", "red"), two.attach("other", "blue:alias=far")
    plan = plan_connect(two.net, "one", "blue:ip=10.34.0.77")
    assert any(step.arguments.get("address") == "10.34.0.77/24" for step in plan.operations)
    place = connect(two.net, "one", "blue:ip=10.34.0.77,alias=db,alias=db.local")
    assert (place.leases[0].address, place.aliases) == ("10.34.0.77/24", ("db", "db.local"))
    assert _devices(two, one)["eth1"] == ["10.34.0.77"]
    assert "10.34.0.77\tone db db.local\n" in _hosts(other)
    assert f"{other.joined[0].leases[0].ip}\tother far\n" in _hosts(one)
    assert _now(two).joined[1] == place  # as it is recorded
    two.attach("third", "red")
    for word, error, said in (
        ("blue:ip=10.34.0.77", AlreadyExists, "10.34.0.77 of the network blue is default-one"),
        ("blue:ip=10.99.0.1", UsageError, "no address for a container in the network blue"),
        ("blue:ip=10.34.0.1", UsageError, "no address for a container"),  # the gateway's
        ("blue:ip=10.34.0.255", UsageError, "no address for a container"),
        ("blue:ip=10.34.0.7,ip=10.34.0.8", UsageError, "one address of a kind"),
        ("blue:ip=x", UsageError, "no IP address"),
        ("blue:mac=1", UsageError, "'mac=1' is no option"),
        ("blue:alias=a b", UsageError, "no name of a host"),
        ("none:ip=10.34.0.9", UsageError, "no network that can be joined"),
    ):
        for change in (plan_connect, connect):
            with pytest.raises(error, match=said):
                change(two.net, "third", word)
    assert [one.network for one in _now(two, "third").joined] == ["red"]
    disconnect(two.net, "one", "blue")
    assert "one" not in _hosts(other)
    # what is given without a wish is not what was wished for
    assert connect(two.net, "one", "blue").leases[0].ip == "10.34.0.3"


def test_who_was_made_without_a_network_joins_one(two: Home) -> None:
    bare = two.attach("bare", "none")
    assert bare.netns == ""
    connect(two.net, "bare", "red")
    now = _now(two, "bare")
    assert (now.netns, now.pinned) == (two.net.records.netns("default", "bare"), True)
    assert _devices(two, now) == {"eth0": ["10.33.0.2"]}
    disconnect(two.net, "bare", "red")
    connect(two.net, "bare", "blue")
    assert _devices(two, now) == {"eth0": ["10.34.0.2"]}
    two.delete("bare")
    assert two.leftovers()["mounts"] == []


def test_its_process_keeps_what_it_has(two: Home) -> None:
    """Its namespace is the one that is kept; of one that was started again meanwhile the new one."""
    two.attach("bare", "none")
    first, second = (
        subprocess.Popen(["unshare", "--net", "sleep", "1000"]) for _ in range(2)
    )  # fmt: skip
    own = os.stat("/proc/self/ns/net").st_ino
    eventually(lambda: all(os.stat(f"/proc/{one.pid}/ns/net").st_ino != own
                           for one in (first, second)))  # fmt: skip
    said: list[Attachment] = []

    def respell(kept: Attachment) -> int:
        said.append(kept)
        return second.pid  # what an old config has started

    try:
        plan = plan_connect(two.net, "bare", "red", first.pid)
        assert plan.operations[0].verb == "keep"
        connect(two.net, "bare", "red", Process(first.pid, respell))
        now = _now(two, "bare")
        assert len(said) == 2
        assert os.stat(now.netns or "").st_ino == os.stat(f"/proc/{second.pid}/ns/net").st_ino
        assert _devices(two, now) == {"eth0": ["10.33.0.2"]}
    finally:
        for one in (first, second):
            one.kill()
            one.wait()


def _taken(home: Home) -> list[str]:
    """The addresses that are given out."""
    return [path.name for name in ("red", "blue")
            for path in (home.state / ".networks" / "addresses" / name).glob("10.*")]  # fmt: skip


def _whole(home: Home, one: Attachment, networks: list[str]) -> None:
    """It is in these networks, and in nothing by half."""
    now = _now(home)
    assert [each.network for each in now.joined] == networks
    assert not any(each.pending for each in now.joined)
    assert sorted(_devices(home, one)) == sorted(each.interface for each in now.joined)
    assert orphans.find(home.net) == []
    taken = set(_taken(home))
    assert taken == {lease.ip for each in now.joined for lease in each.leases}


def test_a_worker_that_is_killed_at_any_step_leaves_nothing(two: Home, saboteur: Saboteur) -> None:
    one = two.attach("one", "red", publish=("8080:80",))
    two.serve(one, 80)
    for point in (2, 5, 8, 11):
        saboteur.arm(f"signal=KILL:when={point}")
        with pytest.raises(MobyshellError, match="killed by signal 9"):
            connect(two.net, "one", "blue")
        assert saboteur.struck
        _whole(two, one, ["red"])
        assert _reached(two, 8080)
    connect(two.net, "one", "blue")
    for point in (1, 3):
        saboteur.arm(f"signal=KILL:when={point}")
        with pytest.raises(MobyshellError, match="killed by signal 9"):
            disconnect(two.net, "one", "blue")
        assert two.net.unsettled() == ["default/one"]
        assert two.net.reconcile() == []
        _whole(two, one, ["red"])
        connect(two.net, "one", "blue")


_CLIENT = """
import os, signal, sys
from mobyshell.core.network import connecting, files
from mobyshell.core.network.attach import Networking
root, state, host, verb, point = sys.argv[1:]
left = int(point)
def counted(name, module):
    real = getattr(module, name)
    def call(*args, **more):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **more)
    setattr(module, name, call)
counted("write", files)
counted("work", connecting)
counted("locked", connecting)
getattr(connecting, verb)(Networking(root, state, "default", host=host), "one", "blue")
"""


def test_a_client_that_is_killed_is_cleaned_up_after(two: Home) -> None:
    one = two.attach("one", "red", publish=("8080:80",))
    two.serve(one, 80)
    for verb in ("connect", "disconnect"):
        for point in range(1, 20, 2):
            if verb == "disconnect" and len(_now(two).joined) == 1:
                connect(two.net, "one", "blue")
            elif verb == "connect" and len(_now(two).joined) == 2:
                disconnect(two.net, "one", "blue")
            done = subprocess.run(
                [sys.executable, "-c", _CLIENT, str(two.root), str(two.state), two.host.path, verb,
                 str(point)],
                stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            if done.returncode == 0:
                break
            assert done.returncode == -9, done.stderr
            two.net.reconcile()
            _whole(two, one, [each.network for each in _now(two).joined])
            assert _reached(two, 8080)
        assert 3 < point < 19
    two.delete("one")
    assert two.leftovers()["rules"] == ""


def test_deleted_in_between_nothing_stays(two: Home, saboteur: Saboteur) -> None:
    two.attach("one", "red")
    connect(two.net, "one", "blue")
    saboteur.arm("signal=KILL:when=2")
    with pytest.raises(MobyshellError):
        disconnect(two.net, "one", "blue")
    two.delete("one")
    assert not [link for link in two.leftovers()["links"] if link.startswith("veth")]
    assert _taken(two) == []


def test_who_has_its_own_users(two: Home) -> None:
    from mobyshell.core.network.values import Users

    one = two.attach("one", "red", users=Users("", ((0, 100000, 65536),), ((0, 100000, 65536),)))
    connect(two.net, "one", "blue")
    assert sorted(_devices(two, one)) == ["eth0", "eth1"]
    disconnect(two.net, "one", "red")
    assert sorted(_devices(two, one)) == ["eth1"]


def test_its_neighbours_are_of_its_own_host_alone(two: Home) -> None:
    """A file that the container has written to keeps what was written."""
    one = two.attach("one", "red")
    path = Path(one.directory, "hosts")
    path.write_text("192.0.2.7 mine\n" + path.read_text() + "192.0.2.8 too")
    inode = path.stat().st_ino
    connect(two.net, "one", "blue")
    disconnect(two.net, "one", "red")
    assert path.stat().st_ino == inode
    text = path.read_text()
    assert text.startswith("192.0.2.7 mine\n")
    assert "192.0.2.8 too\n" in text
    assert "10.34.0.2\tone\n" in text
    assert "10.33" not in text

"""Networks, ports, volumes and restart policies by the client, as `mobyshell run` has them."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
import socket
from pathlib import Path

import pytest

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.moby.around import HOW, with_network, with_port, with_restart_policy, with_volume
from mobyshell.moby.asynchronous import AsyncMoby
from mobyshell.moby.client import Moby
from mobyshell.moby.container import (
    with_image,
    with_new_snapshot,
    with_new_spec,
    with_remapped_snapshot,
    with_snapshot_cleanup,
)
from mobyshell.moby.spec_options import (
    with_args,
    with_env,
    with_image_config,
    with_memory_limit,
    with_pids_limit,
    with_user,
    with_user_namespace,
)
from tests.moby.test_client import put_image
from tests.waiting import eventually

pytestmark = pytest.mark.root


def nothing_left(moby: Moby, *, volumes: int = 0) -> None:
    assert moby.containers() == []
    assert moby.tenant.tasks.ls() == []
    networks = Path(moby.state) / ".networks" / "demo"
    assert not networks.exists() or os.listdir(networks) == []
    assert len(moby.tenant.surroundings().volumes.ls()) == volumes


def test_a_run_with_everything_around_it(moby: Moby, tmp_path: Path) -> None:
    image = put_image(moby)
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "file").write_text("from the host")
    script = (
        "id -u; echo $B; cat /host/file; cat /etc/hostname; cat /proc/net/dev; echo x >> /kept/x"
    )
    done = moby.run(
        image, ["sh", "-c", script], with_env("B=2"), with_network("none"),
        with_volume("kept:/kept", f"{tmp_path}/host:/host:ro"), with_memory_limit(64 << 20),
        with_pids_limit(20), with_user("0"), id="around",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    lines = done.stdout.decode().split("\n")
    assert lines[:2] == ["0", "2"]
    assert lines[2].startswith("from the host")
    assert "eth0" not in done.stdout.decode()
    again = moby.run(image, ["cat", "/kept/x"], with_volume("kept:/kept:ro"))
    assert again.stdout == b"x\n"
    nothing_left(moby, volumes=1)


@pytest.mark.peer
def test_a_run_on_a_bridge_with_a_port(moby: Moby) -> None:
    image = put_image(moby)
    moby.tenant.surroundings().networking.networks.create("net-around", subnets=["10.213.77.0/24"])
    try:
        done = moby.run(image, ["cat", "/proc/net/dev", "/etc/hostname",
                                "/proc/sys/kernel/hostname"], with_network("net-around"),
                        with_port("127.0.0.1::80"), id="by-name")  # fmt: skip
        assert b"eth0" in done.stdout
        assert done.stdout.splitlines()[-2:] == [b"by-name", b"by-name"]
    finally:
        moby.tenant.surroundings().networking.remove_network("net-around")
    nothing_left(moby)


@pytest.mark.parametrize(
    "option", [with_volume("relative:path"), with_port("many"), with_restart_policy("always"),
               with_network("none", "host"), with_network("no-such-network")],
)  # fmt: skip
def test_what_cannot_be_had_leaves_nothing(moby: Moby, option: object) -> None:
    image = put_image(moby)
    with pytest.raises((UsageError, NotFound)):
        moby.run(image, ["true"], option)  # type: ignore[arg-type]
    nothing_left(moby)


def test_a_run_that_is_tried_again(moby: Moby) -> None:
    image = put_image(moby)
    script = "echo x >> /tmp/x; cat /tmp/x; [ $(cat /tmp/x) = x ] && exit 3; exit 0"
    done = moby.run(image, ["sh", "-c", script], with_restart_policy("on-failure:5"))
    assert (done.status, done.stdout) == (0, b"x\nx\nx\n")
    done = moby.run(image, ["false"], with_restart_policy("on-failure:1"))
    assert done.status == 1
    nothing_left(moby)


@pytest.mark.parametrize("network", ["web", "pasta"])
def test_a_restart_finds_the_network_of_its_own_users_again(moby: Moby, network: str) -> None:
    """It belongs to a user namespace that outlives every process in it, too."""
    image = put_image(moby)
    networking = moby.tenant.surroundings().networking
    if network == "web":
        networking.networks.create(network, routes=networking.routes())
    script = "echo run >> /kept/runs; ip -o -4 addr >> /kept/where; exec httpd -f -p 80"
    options = (with_image(image), with_remapped_snapshot("mapped", image, 100000),
               with_new_spec(with_image_config(), with_args("sh", "-c", script),
                             with_user_namespace(100000)),
               with_network(network), with_port("127.0.0.1:0:80"), with_volume("kept:/kept"),
               with_restart_policy("always"))  # fmt: skip
    volume = moby.tenant.surroundings().volumes.ensure("kept").path
    os.chown(volume, 100000, 100000)
    container = moby.new_container("mapped", *options)

    def lines(name: str) -> list[str]:
        path = Path(volume, name)
        return path.read_text().splitlines() if path.exists() else []

    def answers() -> bool:
        assert before is not None
        (port,) = [one.host_port for one in before.ports]
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as line:
                line.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return line.recv(4) == b"HTTP"
        except OSError:
            return False

    with container.new_task() as task:
        task.start()
        before = networking.find("mapped")
        eventually(answers)
        os.kill(task.pid, signal.SIGKILL)
        eventually(lambda: lines("runs") == ["run"] * 2)
        eventually(answers)
        assert networking.find("mapped") == before
        where = lines("where")
        assert len(where) > 2
        assert where[: len(where) // 2] == where[len(where) // 2 :]
        task.kill(signal.SIGKILL)
        task.wait().result(60)
    container.delete(with_snapshot_cleanup)
    if network == "web":
        networking.remove_network(network)
    nothing_left(moby, volumes=1)


def test_networks_change_while_it_runs_and_the_next_task_has_them(moby: Moby) -> None:
    image, networks = put_image(moby), moby.tenant.surroundings().networking
    for name in ("red", "blue"):
        networks.networks.create(name, routes=networks.routes())
    container = moby.new_container(
        "box", with_image(image), with_new_snapshot("box", image),
        with_new_spec(with_image_config(), with_args("sleep", "1000")), with_network("red"),
    )  # fmt: skip

    def there() -> list[str]:
        found = networks.find("box")
        return [one.network for one in found.joined] if found is not None else []

    with container.new_task() as task:
        task.start()
        (address,) = moby.connect("blue", "box")
        process = task.exec(["sh", "-c", f"ip addr show eth1 | grep -q {address}/"])
        assert process.wait().result(60) == 0
        moby.disconnect("red", "box")
        assert there() == ["blue"]
    with container.new_task():
        assert there() == ["blue"]
        moby.disconnect("blue", "box")
    with container.new_task():  # as if it had been made without
        assert moby.connect("blue", "box", aliases=["db"]) != ()
    row = moby.tenant.store.containers.get("box")
    assert row.extensions[HOW]["network"] == ["blue:alias=db"]
    container.delete(with_snapshot_cleanup)
    for name in ("red", "blue"):
        networks.remove_network(name)
    nothing_left(moby)


@pytest.mark.parametrize("owned", [False, True])
def test_who_was_made_without_a_network_keeps_the_one_it_joins(moby: Moby, owned: bool) -> None:
    """Through its restarts, and with users of its own: its network belongs to those."""
    image, networks = put_image(moby), moby.tenant.surroundings().networking
    networks.networks.create("red", routes=networks.routes())
    container = moby.new_container(
        "box", with_image(image),
        with_remapped_snapshot("box", image, 100000) if owned else with_new_snapshot("box", image),
        with_new_spec(with_image_config(), with_args("sleep", "1000"),
                      *([with_user_namespace(100000)] if owned else ())), with_network("none"),
    )  # fmt: skip
    with container.new_task() as task:
        task.start()
        asked = str(ipaddress.ip_network(networks.networks.get("red").plugins[0]["ipam"]["ranges"][0][0]
                                         ["subnet"])[9])  # fmt: skip
        assert moby.connect("red", "box", ips=[asked]) == (asked,)
        assert (
            task.exec(["sh", "-c", f"ip addr show eth0 | grep -q {asked}/"]).wait().result(60) == 0
        )
        task.kill(signal.SIGKILL)
        task.wait().result(60)
        moby.tenant.tasks.restart("box")
        again = moby.container("box").task()
        assert (
            again.exec(["sh", "-c", f"ip addr show eth0 | grep -q {asked}/"]).wait().result(60) == 0
        )
        again.kill(signal.SIGKILL)
        again.wait().result(60)
    with container.new_task():
        attached = networks.find("box")
        assert attached is not None
        (joined,) = attached.joined
        assert joined.leases[0].ip == asked
    container.delete(with_snapshot_cleanup)
    networks.remove_network("red")
    nothing_left(moby)


def test_a_container_keeps_what_is_around_it_from_task_to_task(moby: Moby) -> None:
    image = put_image(moby)
    container = moby.new_container(
        "web", with_image(image), with_new_snapshot("web", image),
        with_new_spec(with_image_config(), with_args("sh", "-c", "echo x >> /kept/x; sleep 1000")),
        with_volume("kept:/kept"), with_restart_policy("unless-stopped"),
    )  # fmt: skip
    where = moby.tenant.surroundings().volumes

    def runs() -> int:
        written = Path(where.get("kept").path) / "x"
        return written.read_text().count("x") if written.exists() else 0

    with container.new_task() as task:
        task.start()
        eventually(lambda: task.pid and runs() == 1)
        os.kill(task.pid, signal.SIGKILL)
        eventually(lambda: runs() == 2)
        eventually(lambda: task.status == "running")
        task.kill(signal.SIGKILL)
        assert task.wait().result(60) == 137
        assert container.labels["containerd.io/restart.explicitly-stopped"] == "true"
    with container.new_task() as task:
        task.start()
        eventually(lambda: runs() == 3)
        assert "containerd.io/restart.explicitly-stopped" not in container.labels
    container.delete(with_snapshot_cleanup)
    nothing_left(moby, volumes=1)


def test_the_same_in_an_event_loop(moby: Moby) -> None:
    put_image(moby)

    async def work() -> bytes:
        async with AsyncMoby(moby.root, moby.state, "demo") as client:
            script = ["sh", "-c", "echo $B > /kept/b; cat /kept/b"]
            done = await client.run("busybox", script, with_env("B=2"), with_volume("kept:/kept"))
            return done.stdout

    assert asyncio.run(work()) == b"2\n"
    nothing_left(moby, volumes=1)


def test_what_the_page_imports_is_there() -> None:
    page = (Path(__file__).parents[2] / "docs" / "restarts.md").read_text()
    block = page.partition("```python\n")[2].partition("```")[0]
    compile(block, "restarts.md", "exec")
    exec(block.partition("\nwith Moby()")[0], {})

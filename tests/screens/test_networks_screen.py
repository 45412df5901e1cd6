"""The networks screen: over fake networks what it shows and asks, over real ones that it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from mobyshell.commands.context import Context
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.tasks.service import Status
from mobyshell.moby.networks import NetworkSurvey
from mobyshell.screens.app import MobyshellApp
from mobyshell.screens.network_details import NetworkDetails
from mobyshell.screens.network_dialog import NetworkDialog
from mobyshell.screens.networks import NetworksScreen
from mobyshell.screens.tasks import TasksScreen
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from mobyshell.widgets.step_list import StepList
from mobyshell.widgets.tick import Tick
from tests.core.network.conftest import Home, home, host  # noqa: F401
from tests.fake_networks import FakeNetworks, write_networks
from tests.fakes import FakeStoreEvents, FakeTasks
from tests.screens.conftest import HOST, Open, make_app, screen_text, settle, told, until


def details(pilot: Pilot[Any]) -> NetworkDetails:
    return pilot.app.screen.query_one(NetworkDetails)


def text_of(pilot: Pilot[Any], tab: str) -> str:
    return details(pilot).query_one(f"#{tab}").query_one(RecordView).text


async def test_the_list_its_filter_and_its_order(opened: Open) -> None:
    async with opened("networks") as pilot:
        text = screen_text(pilot)
        assert "2 networks" in text
        line = next(one for one in text.splitlines() if one.startswith(" lan "))
        assert line.split()[:5] == ["lan", "bridge", "10.90.0.0/24", "10.90.0.1", "2"]
        table = pilot.app.screen.query_one("#networks", ResourceTable)
        for words, shown in (("macvlan", ["wide"]), ("worker", ["lan"]), ("!bridge", ["wide"]),
                             ("tasks=2", ["lan"]), ("8080", ["lan"]), ("nowhere", [])):  # fmt: skip
            await pilot.press("slash", *words, "enter")
            await settle(pilot)
            assert table.shown == shown, words
            await pilot.press("slash", *["backspace"] * len(words), "enter")
        await pilot.press("O")
        await settle(pilot)
        assert table.shown == ["wide", "lan"]


async def test_the_tabs_say_what_the_kernel_has(opened: Open) -> None:
    async with opened("networks") as pilot:
        assert "worker  ✗ only 0 of 1" in text_of(pilot, "rules")
        assert "web  ✓ all 2 are in the kernel" in text_of(pilot, "rules")
        drawing = text_of(pilot, "topology")
        assert "veth00000000002 up ══ eth0 of web" in drawing
        assert "veth00000000003 DOWN ══ eth0 of worker" in drawing
        assert "tap7 tun: nobody's whom we know" in drawing
        assert "port *:8080 ──dnat──▶ 10.90.0.2:80/tcp  (web)" in drawing
        assert "nameserver 9.9.9.9" in text_of(pilot, "names")
        assert '"type": "portmap"' in text_of(pilot, "config")
        await pilot.press("j")
        await settle(pilot)
        await until(pilot, lambda: "no bridge of its own" in text_of(pilot, "topology"))
        assert "done by CNI's plugins, since its first plugin is macvlan" in text_of(
            pilot, "config"
        )


async def test_a_step_says_how_a_shell_does_the_same(opened: Open) -> None:
    async with opened("networks", size=(80, 24)) as pilot:
        await pilot.press("y", "j", "j")
        await settle(pilot)
        steps = pilot.app.screen.query_one(StepList)
        assert steps.table.chosen == "3"
        assert "nsenter --net=/run/netns/next ip addr add" in steps.text
        assert "The same in a shell of the container" in screen_text(pilot)
        await pilot.press("escape")
        assert pilot.app.screen.query_one("#networks", ResourceTable).has_focus


async def test_from_a_member_to_its_task(opened: Open, tasks: FakeTasks) -> None:
    async with opened("networks") as pilot:
        await pilot.press("enter", "j", "enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, TasksScreen)
        await until(pilot, lambda: pilot.app.screen.table.chosen == "worker")  # type: ignore[attr-defined]


async def test_the_dialog_plans_what_would_be_made(opened: Open, tmp_path: Path) -> None:
    async with opened("networks") as pilot:
        await pilot.press("n", "enter")
        assert "give it a name" in told(pilot)
        screen = pilot.app.screen
        await pilot.press(*"no/name", "enter")
        await until(pilot, lambda: "✗ 'no/name' is no name" in screen_text(pilot))
        assert pilot.app.screen is screen  # what was typed can be mended
        screen.query_one("#name", Input).value = ""
        await pilot.press(*"lan9")
        screen.query_one("#subnet", Input).value = "10.99.1.0/24"
        screen.query_one("#internal", Tick).value = True
        await settle(pilot)
        steps = screen.query_one(StepList)
        await until(pilot, lambda: "10.99.1.0/24" in steps.text)
        assert "masquerade" not in "".join(steps._texts.values())  # it is internal
        screen.query_one("#subnet", Input).value = "127.0.0.0/8"
        await until(pilot, lambda: "no network of containers can be" in screen_text(pilot))
        screen.query_one("#subnet", Input).value = "10.99.1.0/24"
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, NetworksScreen))
        made = tmp_path / "root/networks/default/lan9.conflist"
        await until(pilot, made.exists)
        assert "lan9" in told(pilot)


async def test_ticks_are_seen_without_colours(opened: Open) -> None:
    async with opened("networks", size=(80, 24)) as pilot:
        await pilot.press("n", "tab", "tab", "tab", "space")
        await settle(pilot)
        assert "▐✕▌ internal" in screen_text(pilot)
        assert "▐ ▌ routed" in screen_text(pilot)
        await pilot.press("space", "escape")
        await settle(pilot)
        assert isinstance(pilot.app.screen, NetworksScreen)


async def test_marked_networks_go_together(opened: Open, tmp_path: Path) -> None:
    write_networks(tmp_path / "root")
    async with opened("networks") as pilot:
        await pilot.press("space", "space", "D")
        await settle(pilot)
        assert "network rm lan, wide?" in screen_text(pilot)
        assert "Type lan to confirm" in screen_text(pilot)


async def test_a_task_is_joined_and_taken_out(opened: Open, tasks: FakeTasks) -> None:
    async with opened("networks") as pilot:
        await pilot.press("x")
        await settle(pilot)
        text = screen_text(pilot)
        assert "connect     J" in text
        assert "disconnect" in text
        await pilot.press("escape", "J", *"nobody", "enter")
        await until(pilot, lambda: "no task nobody" in told(pilot))
        assert not any(call[0] == "networked" for call in tasks.calls)


async def test_what_fails_is_said_in_its_place(tasks: FakeTasks) -> None:
    app = make_app(tasks, "networks")
    networks = FakeNetworks()
    app.session.networks = networks

    def broken(name: str) -> Any:
        raise SyscallFailed("netlink", 1, what="looking")

    networks.look = networks.plan = broken  # type: ignore[method-assign]
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await settle(pilot)
        assert "looking" in text_of(pilot, "topology")
        networks.broken = SyscallFailed("open", 13, path="/x")
        await pilot.press("colon", *"networks", "enter")
        app.screen.reread()  # type: ignore[attr-defined]
        await until(pilot, lambda: "the networks cannot be listed" in screen_text(pilot))
        assert "lan" in screen_text(pilot)  # what was known stays


# over real networks


@pytest.fixture
def real(home: Home, tasks: FakeTasks) -> MobyshellApp:  # noqa: F811
    """The app, over the networks of a host of the test's own."""
    context = Context(root=str(home.root), state=str(home.state), tasks=tasks, clock=tasks.clock)
    context._host = HOST
    app = MobyshellApp(context, start="networks")
    app.session.networks = NetworkSurvey(lambda: home.net)
    app.session.store_events = FakeStoreEvents()
    return app


@pytest.mark.root
async def test_a_task_that_comes_and_goes_is_seen(
    real: MobyshellApp, home: Home, tasks: FakeTasks  # noqa: F811
) -> None:  # fmt: skip
    home.net.networks.create("lan", subnets=("10.63.0.0/24",))
    async with real.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: " lan " in screen_text(pilot))
        await until(pilot, lambda: "not there yet" in text_of(pilot, "topology"))
        home.attach("web", "lan", publish=("8080:80",))
        tasks.add("web", Status.RUNNING)
        tasks.start("web")  # whose event is the reason to look again
        await until(pilot, lambda: "*:8080->80/tcp" in screen_text(pilot))
        await until(pilot, lambda: "══ eth0 of web" in text_of(pilot, "topology"))
        await until(pilot, lambda: "are in the kernel" in text_of(pilot, "rules"))
        assert "✗" not in text_of(pilot, "rules")
        assert "10.63.0.2/24" in text_of(pilot, "topology")
        assert "web:/etc/hosts" in text_of(pilot, "names")
        home.host.run("nft", "delete", "table", "inet", "mobyshell")
        await until(pilot, lambda: "web  ✗ only 0 of" in text_of(pilot, "rules"))
        await pilot.press("D")  # refused before anybody is asked
        await until(pilot, lambda: "the network lan is in use by web" in told(pilot))
        assert isinstance(pilot.app.screen, NetworksScreen)
        home.delete("web")
        await pilot.press("D")
        await until(pilot, lambda: "ip link del moby" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: "No networks yet" in screen_text(pilot))
    assert home.net.networks.ls() == []


@pytest.mark.root
async def test_the_dialog_makes_what_it_planned(real: MobyshellApp, home: Home) -> None:  # noqa: F811
    async with real.run_test(size=(80, 24), notifications=True) as pilot:
        await until(pilot, lambda: "No networks yet" in screen_text(pilot))
        await pilot.press("n", *"inner", "tab", *"10.64.0.0/24")
        await settle(pilot)
        dialog = pilot.app.screen
        assert isinstance(dialog, NetworkDialog)
        await until(pilot, lambda: '"10.64.0.0/24"' in dialog.query_one(StepList).text)
        assert home.net.networks.ls() == []
        await pilot.press("enter")
        await until(pilot, lambda: "1 network" in screen_text(pilot))
        (made,) = home.net.networks.ls()
        assert (made.name, [str(one) for one in made.subnets]) == ("inner", ["10.64.0.0/24"])

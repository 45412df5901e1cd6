"""The screens of both kinds of namespaces: over fakes what they show and ask, over this machine and a
real store that it is true."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from textual.events import Paste
from textual.pilot import Pilot

from mobyshell.commands.context import Context
from mobyshell.commands.namespace import tenants_of
from mobyshell.core.errors import SyscallFailed
from mobyshell.core.linux.namespaces import inode
from mobyshell.moby.kernel import LiveKernel
from mobyshell.moby.tenants import ObjectInfo
from mobyshell.screens.app import MobyshellApp
from mobyshell.screens.images import ImagesScreen
from mobyshell.screens.kernel_details import KernelDetails
from mobyshell.screens.session import Session
from mobyshell.screens.tasks import TasksScreen
from mobyshell.screens.tenant_details import TenantDetails
from mobyshell.widgets.record_view import RecordView
from mobyshell.widgets.resource_table import ResourceTable
from tests.core.linux.namespaces.inhabitants import READY, inhabitant
from tests.core.store import images as made
from tests.fake_namespaces import HOST, MOUNTED, ROOTLESS, ROOTLESS_NET, WEB
from tests.fakes import FakeTasks
from tests.screens.conftest import Open, make_app, screen_text, settle, told, until


def kernel_table(pilot: Pilot[Any]) -> ResourceTable:
    return pilot.app.screen.query_one("#namespaces", ResourceTable)


def line_of(pilot: Pilot[Any], word: str) -> str:
    return next((one for one in screen_text(pilot).splitlines() if word in one), "")


def row_of(pilot: Pilot[Any], name: str) -> str:
    """The line that begins with it."""
    lines = screen_text(pilot).splitlines()
    return next((one for one in lines if one.split()[:1] == [name]), "")


# the kernel's


async def test_the_tree_says_who_owns_what(opened: Open) -> None:
    async with opened("kernel") as pilot:
        text = screen_text(pilot)
        assert "15 namespaces by owner, 1 unreadable" in text
        lines = text.splitlines()
        first = next(at for at, line in enumerate(lines) if " NAMESPACE" in line)
        assert lines[first + 1].split()[:2] == ["user", str(HOST["user"])]
        kernel_table(pilot).choose(str(ROOTLESS_NET))
        await settle(pilot)
        assert "│  ↳ net" in line_of(pilot, str(ROOTLESS_NET))
        assert "mounted at /run/netns/blue" in line_of(pilot, str(MOUNTED))
        # everybody's are nobody's; a task's own are its
        assert line_of(pilot, str(WEB["mnt"])).split()[-3:] == ["1002", "sleep", "2"]
        assert " web " in line_of(pilot, str(WEB["mnt"]))
        assert " web " not in line_of(pilot, str(HOST["mnt"]))


async def test_filtered_sorted_and_by_the_other_relation(opened: Open) -> None:
    async with opened("kernel") as pilot:
        await pilot.press("slash", *"kind=net blue", "enter")
        await settle(pilot)
        assert kernel_table(pilot).shown == [str(MOUNTED)]
        assert row_of(pilot, "net") != ""
        await pilot.press("slash", "escape", "o", "o", "b")
        await settle(pilot)
        assert kernel_table(pilot).sort_key == "processes"
        assert "by kind" in screen_text(pilot)
        shown = kernel_table(pilot).shown
        assert shown[0] == str(MOUNTED)
        assert shown.index(str(WEB["pid"])) == shown.index(str(HOST["pid"])) + 1
        assert "↳ pid" in line_of(pilot, str(WEB["pid"]))


async def test_what_is_known_of_one(opened: Open) -> None:
    async with opened("kernel") as pilot:
        kernel_table(pilot).choose(str(WEB["net"]))
        await until(pilot, lambda: "10.90.0.2/24" in screen_text(pilot))
        text = screen_text(pilot)
        for word in (f"net namespace {WEB['net']}", f"{HOST['user']} of root",
                     "web in namespace default", "2, first 1002 sleep 2"):  # fmt: skip
            assert word in text
        await pilot.press("m")
        await settle(pilot)
        assert line_of(pilot, "worker --fast").split()[:4] == ["1010", "7", "101", "web"]
        await pilot.press("j", "t")
        await until(pilot, lambda: "tasks" in line_of(pilot, "mobyshell ›"))
        await pilot.press("left_square_bracket", "escape")
        kernel_table(pilot).choose(str(ROOTLESS))
        await settle(pilot)
        await pilot.press("t")
        assert "no process in it belongs to a task" in told(pilot)
        await pilot.press("y")
        await settle(pilot)
        assert "Who makes one has all" in screen_text(pilot)


async def test_80_columns_show_the_tree_or_one(opened: Open) -> None:
    async with opened("kernel", size=(80, 24)) as pilot:
        assert "Inside" not in screen_text(pilot)
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "Inside" in text
        assert "COMMAND" not in text
        assert f"user {HOST['user']}" in text.splitlines()[0]
        await pilot.press("escape")
        await settle(pilot)
        assert "COMMAND" in screen_text(pilot)


async def test_a_look_that_fails_is_said_and_what_was_seen_stays(opened: Open) -> None:
    async with opened("kernel") as pilot:
        kernel: Any = pilot.app.session.kernel  # type: ignore[attr-defined]
        kernel.broken = SyscallFailed("open", 5, path="/proc")
        pilot.app.screen.reread()  # type: ignore[attr-defined]
        await until(pilot, lambda: "cannot be listed" in screen_text(pilot))
        assert str(HOST["user"]) in screen_text(pilot)
        kernel.broken = None
        await until(pilot, lambda: "cannot be listed" not in screen_text(pilot))


@pytest.mark.root
async def test_into_a_real_one_by_a_terminal_in_a_tab(tasks: FakeTasks) -> None:
    app = make_app(tasks, "kernel")
    app.session.kernel = LiveKernel(list)
    with inhabitant("--uts", "--net", script=f"hostname elsewhere; {READY}") as pid:
        uts, net = str(inode(pid, "uts")), str(inode(pid, "net"))
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(pilot, lambda: uts in kernel_table(pilot).shown)
            kernel_table(pilot).choose(uts)
            await until(pilot, lambda: f"{'hostname':16}elsewhere" in screen_text(pilot))
            kernel_table(pilot).choose(net)
            record = pilot.app.screen.query_one("#inside RecordView", RecordView)
            await until(pilot, lambda: f"{'lo':16}down" in record.text)
            kernel_table(pilot).choose(uts)
            await pilot.press("space")
            kernel_table(pilot).choose(net)
            await pilot.press("space", "e")
            view = pilot.app.screen.query_one(KernelDetails).terminal.view
            await until(pilot, lambda: view.connected and view.has_focus)
            title = line_of(pilot, "a shell in")
            assert f"uts {uts}" in title
            assert f"net {net}" in title
            view.post_message(Paste("hostname; readlink /proc/self/ns/net; tty\n"))
            await until(pilot, lambda: "/dev/pts/" in view.text)
            # the prompt may come before the first answer, or after it
            said = [line.removeprefix("# ") for line in view.text.split("\n")]
            assert "elsewhere" in said
            assert f"net:[{net}]" in said
            await pilot.press("ctrl+right_square_bracket")
            await until(pilot, lambda: kernel_table(pilot).has_focus)
            view.focus()
            view.post_message(Paste("exit\n"))
            await until(pilot, lambda: "the shell has ended" in screen_text(pilot))


# the tenants


async def test_what_a_tenant_holds_kind_by_kind_and_one_by_one(opened: Open) -> None:
    async with opened("namespaces") as pilot:
        assert "2 tenants" in screen_text(pilot)
        assert "team=blue" in row_of(pilot, "empty")
        await pilot.press("enter", "j", "j")
        await settle(pilot)
        assert line_of(pilot, " content ").split()[1:3] == ["2", "1.1M"]
        await pilot.press("enter")
        await settle(pilot)
        objects = pilot.app.screen.query_one(TenantDetails).objects.table
        assert len(objects.shown) == 1
        assert "docker.io/library/box:latest" in screen_text(pilot)
        await pilot.press("slash", *"nothing like it", "enter")
        assert objects.shown == []
        assert pilot.app.screen.query_one("#tenants", ResourceTable).query_text == ""
        await pilot.press("escape")
        await settle(pilot)
        assert "1 image" in pilot.app.screen.query_one("#labels RecordView", RecordView).text
        await pilot.press("enter", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ImagesScreen))


async def test_from_a_container_to_its_task(opened: Open) -> None:
    async with opened("namespaces") as pilot:
        await pilot.press("enter")
        await settle(pilot)
        objects = pilot.app.screen.query_one(TenantDetails).objects.table
        await pilot.press("tab", "slash", *"kind=containers", "enter")
        await until(pilot, lambda: len(objects.shown) == 2)
        await pilot.press("home", "enter")
        await until(pilot, lambda: "idle has no task" in told(pilot))
        await pilot.press("j", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, TasksScreen))
        table = pilot.app.screen.query_one("#tasks", ResourceTable)
        await until(pilot, lambda: table.chosen == "web")


async def test_an_unfinished_download_is_told_beside_the_size(opened: Open) -> None:
    async with opened("namespaces") as pilot:
        tenants: Any = pilot.app.session.tenants  # type: ignore[attr-defined]
        for place, part in enumerate((300 << 10, 100 << 10)):
            tenants.held.append(ObjectInfo("ingests", f"layer-{place}", "of 900", part, None))
        pilot.app.screen.reread()  # type: ignore[attr-defined]
        await pilot.press("j")
        await settle(pilot)
        await pilot.press("k")
        await settle(pilot)
        text = pilot.app.screen.query_one("#labels RecordView", RecordView).text
        assert "size        1.1M: its blobs and committed snapshots" in text
        assert "coming      400.0K: 2 unfinished downloads, beside that" in text
        assert line_of(pilot, " ingests ").split()[1:4] == ["2", "400.0K", "layer-0,"]


async def test_what_is_another_tenants_cannot_be_gone_to(opened: Open) -> None:
    async with opened("namespaces") as pilot:
        tenants: Any = pilot.app.session.tenants  # type: ignore[attr-defined]
        found = tenants.objects("default")
        tenants.objects = lambda name: found
        await pilot.press("j", "enter")
        await settle(pilot)
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "web is in namespace empty" in told(pilot))


def test_panes_that_stay_ask_the_namespace_that_the_session_is_in_by_now(tasks: FakeTasks) -> None:
    context, others = Context(tasks=tasks), FakeTasks()
    asked = Session(context).tasks_by_now
    assert "web" in {one.id for one in asked.ls()}
    context._tasks = others
    assert asked.ls() == []
    others.close()


async def test_a_real_store_made_used_labelled_and_refused(tmp_path: Path) -> None:
    """As at the command line, but by keys; what holds a tenant up is named."""
    fake = FakeTasks()
    context = Context(root=str(tmp_path / "store"), state=str(tmp_path / "state"), tasks=fake)
    space = context.store.namespace("default")
    space.images.create("docker.io/library/box:latest", made.image(space.content))
    app = MobyshellApp(context, start="namespaces")
    app.session.tenants = tenants_of(context)
    try:
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            table = pilot.app.screen.query_one("#tenants", ResourceTable)
            await until(pilot, lambda: table.shown == ["default"])
            app.run_line("namespace create fresh team=blue")
            await until(pilot, lambda: "team=blue" in row_of(pilot, "fresh"))
            await pilot.press("G", "u")
            await until(pilot, lambda: "› fresh ›" in line_of(pilot, "mobyshell ›"))
            await until(pilot, lambda: "in use" in row_of(pilot, "fresh"))
            await pilot.press("k", "D")  # it is refused before anybody is asked
            await until(pilot, lambda: "namespace default is not empty" in told(pilot))
            assert app.screen is pilot.app.screen_stack[0]
            assert "1 image (docker.io/library/box:latest)" in told(pilot)
            assert "3 blobs (sha256:" in told(pilot)
            app.run_line("namespace create third")
            await until(pilot, lambda: table.shown == ["default", "fresh", "third"])
            await pilot.press("G")
            await until(pilot, lambda: "D removes it" in pilot.app.screen.query_one(
                "#labels RecordView", RecordView).text)  # fmt: skip
            await pilot.press("D")
            await until(pilot, lambda: "and its labels" in screen_text(pilot))
            await pilot.press("y")
            await until(pilot, lambda: table.shown == ["default", "fresh"])
    finally:
        fake.close()
        context.close()

"""The images screen: over fake images what it shows and asks, over a real store that it is true."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Tree

from mobyshell.commands.context import Context
from mobyshell.commands.event_sources import of_store
from mobyshell.core.errors import NotFound, WrongState
from mobyshell.core.events import ContainerDeleted, ImageDeleted
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.platform import host_platform
from mobyshell.core.registry.progress import (
    AlreadyThere,
    Progress,
    Retrying,
    TransferAdvanced,
    TransferDone,
    TransferPlanned,
    TransferStarted,
)
from mobyshell.core.registry.stop import Stop
from mobyshell.core.store.store import Store
from mobyshell.moby.client import Moby
from mobyshell.moby.look import Wasted
from mobyshell.moby.survey import ImageInfo, Survey
from mobyshell.screens.image_details import ImageDetails
from mobyshell.screens.image_list import ImageList
from mobyshell.screens.image_rows import file_lines, short
from mobyshell.screens.images import ImagesScreen
from mobyshell.screens.live_list import SOON
from mobyshell.screens.transfer_dialog import TransferDialog
from mobyshell.screens.transfers import Transfers
from mobyshell.widgets.lines import Lines
from mobyshell.widgets.resource_table import ResourceTable
from tests.core.registry.distribution import distribution
from tests.core.store import images as made
from tests.fake_images import BOX, WEB, FakeImages
from tests.fakes import FakeTasks
from tests.screens.conftest import HOST, Open, make_app, screen_text, settle, told, until

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def details(pilot: Pilot[Any]) -> ImageDetails:
    return pilot.app.screen.query_one(ImageDetails)


async def test_the_list_says_what_there_is(opened: Open) -> None:
    async with opened("images") as pilot:
        text = screen_text(pilot)
        assert "2 images" in text
        line = next(one for one in text.splitlines() if one.strip().startswith("box "))
        assert line.split()[2:4] == ["1.1M", "yes"]
        assert "packed" in text
        assert "linux/amd64 linux/arm64" in text
        await pilot.press("slash", *"web", "enter")
        await settle(pilot)
        assert pilot.app.screen.query_one("#images", ResourceTable).shown == [WEB]


async def test_into_a_layer_a_directory_and_a_file_and_back(opened: Open) -> None:
    async with opened("images") as pilot:
        await pilot.press("enter", "j", "enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "· data/" in text
        assert "- passwd" in text
        assert "~ sh → busybox" in text
        await pilot.press("enter")
        await until(pilot, lambda: "+ a  6B  rwxr-xr-x 0:0" in screen_text(pilot))
        await pilot.press("j", "enter")
        view = details(pilot).query_one("#content", Lines)
        await until(pilot, lambda: list(view.kept) == ["hello"])
        assert "/data/a, 6B, rwxr-xr-x 0:0, as of layer 1" in screen_text(pilot)
        await pilot.press("escape")
        await settle(pilot)
        # as it was left: open, with the cursor where it was
        assert "+ a  6B  rwxr-xr-x 0:0" in screen_text(pilot)
        assert pilot.app.screen.query_one("#files", Tree).cursor_line == 1
        await pilot.press("j", "enter")
        await until(pilot, lambda: "|bin.ary|" in "".join(view.kept))
        await pilot.press("escape", "escape")
        assert details(pilot).at_layers
        await pilot.press("escape")
        assert pilot.app.screen.query_one("#images").has_focus


async def test_a_filter_in_the_tree_finds_paths_wherever_they_lie(opened: Open) -> None:
    """It was that of the list, which is not seen there: another image came into the tree."""
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("enter", "j", "enter")
        await settle(pilot)
        await pilot.press("slash", *"data/a", "enter")
        await until(pilot, lambda: "+ /data/a  6B" in screen_text(pilot))
        text = screen_text(pilot)
        assert "busybox" not in text
        assert "box › layer 1 › /data/a" in text
        assert pilot.app.screen.query_one("#images", ResourceTable).query_text == ""
        await pilot.press("enter")
        view = details(pilot).query_one("#content", Lines)
        await until(pilot, lambda: list(view.kept) == ["hello"])
        await pilot.press("escape", "slash", *["backspace"] * 6, *"way=changed !etc", "enter")
        await until(pilot, lambda: "~ /sh → busybox" in screen_text(pilot))
        assert "/data" not in screen_text(pilot)
        await pilot.press("slash", *" nowhere", "enter")
        await until(pilot, lambda: "No path matches" in screen_text(pilot))
        await pilot.press("escape")
        await until(pilot, lambda: "· data/" in screen_text(pilot))
        assert "› /" not in screen_text(pilot)
        await pilot.press("slash", *"data", "escape")
        await until(pilot, lambda: "· data/" in screen_text(pilot))
        await pilot.press("escape")
        assert details(pilot).at_layers


async def test_a_filter_where_files_are_wasted_is_of_these(opened: Open) -> None:
    async with opened("images") as pilot:
        images = cast("FakeImages", pilot.app.session.images)  # type: ignore[attr-defined]
        images.lost = [Wasted("/small", 2, 5), Wasted("/big", 1, 1 << 20)]
        await pilot.press("y", "shift+tab")
        table = details(pilot).query_one("#wasted-files ResourceTable", ResourceTable)
        await until(pilot, lambda: table.shown == ["/big", "/small"])  # the largest first
        await pilot.press("slash", *"small", "enter")
        await until(pilot, lambda: table.shown == ["/small"])
        assert "box › /small" in screen_text(pilot).splitlines()[0]
        await pilot.press("escape")
        await until(pilot, lambda: table.shown == ["/big", "/small"])
        assert table.has_focus


async def test_what_is_open_in_a_tree_stays_open_as_of_another_layer(opened: Open) -> None:
    async with opened("images") as pilot:
        await pilot.press("enter", "j", "enter")
        await settle(pilot)
        await pilot.press("enter")
        await until(pilot, lambda: "+ a  6B" in screen_text(pilot))
        await pilot.press("j", "escape", "k")
        await until(pilot, lambda: "+ data/" in screen_text(pilot))
        assert "+ a  6B" in screen_text(pilot)
        assert pilot.app.screen.query_one("#files", Tree).cursor_line == 1


async def test_a_layer_says_in_full_what_made_it(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("enter", "j")
        await settle(pilot)
        text = screen_text(pilot)
        assert " layer 1, 568B packed" in text
        assert " RUN echo hello > /data/a; rm /etc/passwd" in text
        await pilot.press("j")
        await until(pilot, lambda: "It made no layer" in screen_text(pilot))


def test_what_is_no_text_is_shown_as_bytes() -> None:
    assert file_lines(b"a\tb\nc\x1b[31m \xc3\xbc\n", 99) == ["a   b", "c\\x1b[31m ü"]
    assert file_lines(b"", 99) == []
    assert file_lines(b"caf\xe9 in latin one is a text all the same\n", 99)[0].startswith("caf")
    assert file_lines(bytes(range(128, 145)), 99) == [
        "00000000  80 81 82 83 84 85 86 87  88 89 8a 8b 8c 8d 8e 8f  |................|",
        "00000010  90                                                |.|",
    ]
    assert file_lines(b"ELF\0" * 50_000, 1 << 20)[-1] == "… (the first 64.0K)"


async def test_a_step_without_a_layer_and_a_packed_image_say_so(opened: Open) -> None:
    async with opened("images") as pilot:
        await pilot.press("enter", "G")
        await until(pilot, lambda: "This step made no layer" in screen_text(pilot))
        await pilot.press("escape", "j")
        await until(pilot, lambda: "is not unpacked" in screen_text(pilot))


async def test_80_columns_show_one_pane_at_a_time(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        assert "MADE BY" not in screen_text(pilot)
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "MADE BY" in text
        assert "UNPACKED" not in text
        assert "Wasted" not in text
        await pilot.press("enter")
        await settle(pilot)
        text = screen_text(pilot)
        assert "MADE BY" not in text
        assert "+ data/" in text
        await pilot.press("tab", "tab")
        await settle(pilot)
        assert "/etc/passwd" in screen_text(pilot)
        assert "318B in 1 file, unpacked: pulled and" in screen_text(pilot)
        await pilot.press("escape")
        # one step at a time also where there is nothing to have the keyboard
        await pilot.press("G", "tab", "tab")
        await until(pilot, lambda: "This step made no layer" in screen_text(pilot))
        await pilot.press("escape")
        assert details(pilot).at_layers
        await pilot.press("escape")
        await settle(pilot)
        assert "UNPACKED" in screen_text(pilot)


async def test_enter_on_a_layer_is_into_its_tree_whatever_was_looked_at(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        await pilot.press("y")
        await until(pilot, lambda: "A name leads to a target" in screen_text(pilot))
        assert "layer" not in screen_text(pilot).splitlines()[0]
        await pilot.press("escape", "j", "enter")
        await until(pilot, lambda: "· data/" in screen_text(pilot))
        assert screen_text(pilot).splitlines()[0].rstrip().endswith("box › layer 1")


async def test_no_key_goes_astray_where_a_tab_has_only_a_sentence(opened: Open) -> None:
    async with opened("images", size=(80, 24)) as pilot:
        pane = details(pilot)
        await pilot.press("enter", "G", "enter")
        await until(pilot, lambda: "This step made no layer" in screen_text(pilot))
        assert "no layer" in screen_text(pilot).splitlines()[0]
        at = pane.steps.table.chosen
        await pilot.press("k")  # the layers are out of sight, and stay as they are
        assert pane.steps.table.chosen == at
        await pilot.press("tab")
        assert pane.tab == "file"
        assert "No file is chosen" in screen_text(pilot)
        await pilot.press("tab", "tab", "tab")
        await settle(pilot)
        assert pane.tab == "tree"
        await pilot.press("tab")
        assert pane.tab == "file"
        await pilot.press("shift+tab")
        await settle(pilot)
        await pilot.press("escape")
        assert pane.at_layers


async def test_what_cannot_be_listed_is_said_and_what_was_known_stays(opened: Open) -> None:
    async with opened("images") as pilot:
        images: Any = pilot.app.session.images  # type: ignore[attr-defined]
        images.broken = WrongState("the store is busy")
        pilot.app.screen.reread()  # type: ignore[attr-defined]
        await until(pilot, lambda: "cannot be listed: the store is busy" in screen_text(pilot))
        assert "1.1M" in screen_text(pilot)


async def test_the_list_follows_the_events_of_the_store(opened: Open) -> None:
    async with opened("images") as pilot:
        app: Any = pilot.app
        app.session.images.infos = app.session.images.infos[:1]
        app.session.store_events.happen("other", WEB, ImageDeleted(WEB))
        app.session.store_events.happen("default", WEB, ImageDeleted(WEB))
        await until(pilot, lambda: "1 image" in screen_text(pilot))
        assert WEB not in screen_text(pilot)


async def test_a_list_that_is_slow_the_first_time_says_that_it_is_read(tasks: FakeTasks) -> None:
    app = make_app(tasks, "images")
    images: Any = app.session.images
    go, ls = threading.Event(), images.ls
    images.ls = lambda: ls() if go.wait(60) else []
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: "Reading the images …" in screen_text(pilot))
        go.set()
        await until(pilot, lambda: "1.1M" in screen_text(pilot))
        assert "Reading" not in screen_text(pilot)
        assert app.screen.query_one("#images").has_focus


async def test_a_storm_of_events_does_not_keep_a_slow_list_from_being_shown(opened: Open) -> None:
    async with opened("images") as pilot:
        app: Any = pilot.app
        images, gate, reads = app.session.images, threading.Event(), []

        def ls() -> list[ImageInfo]:
            reads.append(1)
            gate.wait(60)
            return list(images.infos[: len(reads)])

        app.session.images = SimpleNamespace(ls=ls)
        for number in range(3):
            app.session.store_events.happen("default", WEB, ImageDeleted(str(number)))
            await until(pilot, lambda: reads)
            await asyncio.sleep(2 * SOON)
        assert len(reads) == 1  # who reads is not told to begin anew
        gate.set()
        await until(pilot, lambda: "2 images" in screen_text(pilot) and len(reads) == 2)


async def test_nothing_is_read_while_nobody_looks(opened: Open) -> None:
    async with opened("images") as pilot:
        app: Any = pilot.app
        await pilot.press("f2")
        await settle(pilot)
        app.session.images.infos = app.session.images.infos[:1]
        app.session.store_events.happen("default", WEB, ImageDeleted(WEB))
        app.session.store_events.happen("default", WEB, ContainerDeleted(WEB))
        await settle(pilot)
        images = app._screen_stacks["images"][0].live_list
        assert len(images.infos) == 2
        await pilot.press("f3")
        await until(pilot, lambda: "1 image" in screen_text(pilot))


def blob(word: str, size: int, media_type: str = LAYER) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(word.encode()), size=size)


def test_each_blob_has_a_line() -> None:
    transfers = Transfers()
    first, second = blob("one", 1000), blob("two", 2000)
    transfers(TransferPlanned((first, second)))
    transfers(TransferAdvanced(first, 500))
    assert "██████████░░░░░░░░░░" in transfers.lines()[0]
    assert transfers.lines()[1].endswith("waits")
    transfers(TransferDone(first))
    transfers(AlreadyThere(first))
    assert transfers.lines()[0].endswith("done")
    transfers(AlreadyThere(second))
    assert transfers.lines()[1].endswith("was there")
    transfers(Retrying("blob", 1, 2.0, "an odd\x1b[31m answer"))
    assert "\x1b" not in transfers.note
    assert "once more in 2 s" in transfers.note


def test_the_whole_of_a_transfer_is_summed_up() -> None:
    now = [100.0]
    transfers = Transfers(lambda: now[0])
    assert transfers.summary == ""
    one, other = blob("one", 1 << 20), blob("two", 1 << 20)
    transfers(TransferPlanned((one, other)))
    transfers(TransferStarted(one, 256 << 10))  # an earlier pull left that
    now[0] += 2
    transfers(TransferAdvanced(one, 768 << 10))
    assert transfers.summary == "768.0K of 2.0M, 256.0K/s, 5 s to go"
    transfers(TransferDone(one))
    transfers(AlreadyThere(other))
    assert transfers.summary == "2.0M of 2.0M, 256.0K/s"


def test_of_many_blobs_those_that_move_are_shown() -> None:
    transfers = Transfers()
    blobs = [blob(str(number), (number + 1) * 1_000_003) for number in range(12)]
    transfers(TransferPlanned(tuple(blobs)))
    for one in blobs[:4]:
        transfers(TransferDone(one))
    transfers(TransferAdvanced(blobs[11], 999_999))
    lines = transfers.lines(66, 5)
    for line, number in zip(lines, (11, 4, 5, 6), strict=False):
        assert short(blobs[number].digest) in line
    assert lines[4] == "and 8 more: 4 waits, 4 done"
    assert max(map(len, lines)) <= 66
    assert len(transfers.lines()) == 12


async def test_at_80_columns_a_transfer_that_fails_says_so_where_it_is_seen(opened: Open) -> None:
    def push(name: str, progress: Progress, stop: Stop) -> str:
        progress(TransferPlanned(tuple(blob(str(one), 12_345_678) for one in range(12))))
        raise NotFound("there is no such registry")

    async with opened("images", size=(80, 24)) as pilot:
        await pilot.app.push_screen(TransferDialog("Push it to", "Push", push, name="there"))
        await pilot.press("enter")
        await until(pilot, lambda: "✗ there is no such registry" in screen_text(pilot))
        text = screen_text(pilot)
        assert "Leave" in text
        blobs = [one for one in text.splitlines() if "layer" in one]
        assert blobs
        assert all("waits" in one for one in blobs)


async def test_a_pull_is_watched_mended_and_stopped(opened: Open) -> None:
    going, stops = threading.Event(), []

    def pull(name: str, progress: Progress, stop: Stop) -> str:
        if name == "nothing":
            raise NotFound("there is no such image")
        stops.append(stop)
        progress(TransferPlanned((blob("one", 1000),)))
        progress(TransferAdvanced(blob("one", 1000), 250))
        going.wait(60)
        stop.check()
        return WEB

    async with opened("images") as pilot:
        answers: list[str | None] = []
        for end in ("done", "leave"):
            going.clear()
            await pilot.app.push_screen(
                TransferDialog("Pull an image", "Pull", pull), answers.append
            )
            await pilot.press(*"nothing", "enter")
            await until(pilot, lambda: "✗ there is no such image" in screen_text(pilot))
            pilot.app.screen.query_one(Input).value = "web"
            await pilot.press("enter")
            await until(pilot, lambda: "█████░░░░░░░░░░░░░░░" in screen_text(pilot))
            if end == "leave":
                await pilot.press("escape")
            going.set()
            await until(pilot, lambda: isinstance(pilot.app.screen, ImagesScreen))
        assert "Pull stopped: 250B of 1000B is there" in told(pilot)
        assert answers == [WEB, None]
        with pytest.raises(Exception, match="stopped"):
            stops[1].check()


async def test_verbs_that_want_more_are_asked_for_it(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("images") as pilot:
        lines: list[list[str]] = []
        monkeypatch.setattr(pilot.app.session, "perform",  # type: ignore[attr-defined]
                            lambda app, *words, **more: lines.extend(words))  # fmt: skip
        await pilot.press("r")
        await settle(pilot)
        await pilot.press(*"one", "enter")
        await settle(pilot)
        assert lines == [["container", "run", "-d", "--name", "one", BOX]]
        await pilot.press("space", "space", "D")
        await settle(pilot)
        assert lines[1] == ["image", "rm", BOX, WEB]


# the real store


def real(tmp_path: Path, tasks: FakeTasks) -> Any:
    app = make_app(tasks, "images")
    context = Context(root=str(tmp_path / "root"), state="/run/test", namespace="demo",
                      tasks=tasks)  # fmt: skip
    context._host = HOST
    from mobyshell.commands.image_transfer import tenant

    app.session.context = context
    app.session.images = Survey(lambda: tenant(context))
    app.session.store_events = partial(of_store, context)
    return app


@pytest.mark.root
async def test_a_real_image_is_unpacked_looked_into_tagged_and_removed(
    tmp_path: Path, tasks: FakeTasks
) -> None:
    app = real(tmp_path, tasks)
    space = app.session.context.space
    target = made.image(space.content, [{"d/a": b"first\n", "gone": b"1"},
                                        {"d/a": b"second\n", ".wh.gone": b""}],
                        architecture=host_platform().architecture)  # fmt: skip
    space.images.put("docker.io/library/made:latest", target)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "packed" in screen_text(pilot))
        await pilot.press("u")
        await until(pilot, lambda: " yes " in screen_text(pilot))
        await pilot.press("enter")
        await until(pilot, lambda: "+ gone  1B" in screen_text(pilot))
        await pilot.press("j")
        await until(pilot, lambda: "- gone" in screen_text(pilot))
        await pilot.press("enter", "enter")
        await until(pilot, lambda: "~ a  7B" in screen_text(pilot))
        await pilot.press("j", "enter")
        await until(pilot, lambda: "second" in screen_text(pilot))
        await pilot.press("tab")
        await until(pilot, lambda: "/d/a" in screen_text(pilot) and "/gone" in screen_text(pilot))
        await pilot.press("y")
        await until(pilot, lambda: target.digest[:30] in screen_text(pilot))
        await pilot.press("escape", "escape", "t", *"more", "enter")
        table = pilot.app.screen.query_one("#images", ResourceTable)
        await until(pilot, lambda: table.chosen == "docker.io/library/more:latest")
        await pilot.press("k", "D")
        await until(pilot, lambda: "it is still called docker.io/library/more:latest"
                    in screen_text(pilot))  # fmt: skip
        assert "remove nothing from the disk" in screen_text(pilot)
        await pilot.press("y")
        await until(pilot, lambda: "1 image " in screen_text(pilot) + " ", told(pilot))
        assert [one.name for one in space.images.list()] == ["docker.io/library/more:latest"]
    app.session.context.store.close()


async def test_what_another_process_does_to_the_store_is_seen_at_once(
    tmp_path: Path, tasks: FakeTasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageList, "POLL", 3600.0)
    app = real(tmp_path, tasks)
    async with app.run_test(size=(120, 40), notifications=True) as pilot:
        await until(pilot, lambda: "No images yet" in screen_text(pilot))
        with Store.open(tmp_path / "root") as store:
            space = store.namespace("demo")
            target = made.image(space.content, architecture=host_platform().architecture)
            space.images.put("docker.io/library/made:latest", target)
        await until(pilot, lambda: "1 image" in screen_text(pilot))
    app.session.context.store.close()


@pytest.mark.root
@pytest.mark.peer
async def test_a_real_image_is_pulled_from_a_registry(tmp_path: Path, tasks: FakeTasks) -> None:
    app = real(tmp_path, tasks)
    with (
        distribution() as registry,
        Moby(tmp_path / "other", tmp_path / "state", "demo") as moby,
    ):
        content = moby.tenant.store.content
        target = made.image(content, architecture=host_platform().architecture)
        moby.tenant.store.images.put("docker.io/library/made:latest", target)
        name = f"{registry.host}/team/made:1"
        moby.push("made", name)
        async with app.run_test(size=(120, 40), notifications=True) as pilot:
            await until(pilot, lambda: "No images yet" in screen_text(pilot))
            await pilot.press("p")
            pilot.app.screen.query_one(Input).value = name
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(pilot.app.screen, ImagesScreen))
            await until(pilot, lambda: "1 image" in screen_text(pilot))
            table = pilot.app.screen.query_one("#images", ResourceTable)
            assert table.chosen == name
            assert table.row is not None
            assert table.row["unpacked"] == "yes"
            # and from here to another place, with its bars
            await pilot.press("P")
            await settle(pilot)
            assert pilot.app.screen.query_one(Input).value == name
            pilot.app.screen.query_one(Input).value = f"{registry.host}/nowhere/Bad Name"
            await pilot.press("enter")
            await until(pilot, lambda: "✗" in screen_text(pilot))
            pilot.app.screen.query_one(Input).value = f"{registry.host}/team/again:2"
            await pilot.press("enter")
            await until(pilot, lambda: f"{registry.host}/team/again@sha256:" in told(pilot))
            assert moby.pull(f"{registry.host}/team/again:2").target == target
        app.session.context.store.close()


async def test_a_line_that_pulls_has_its_bars(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened("images") as pilot:
        going = threading.Event()

        def pull(name: str, progress: Progress, stop: Stop) -> str:
            progress(TransferPlanned((blob(name, 1000),)))
            going.wait(60)
            return WEB

        monkeypatch.setattr(pilot.app.session, "pull", pull)  # type: ignore[attr-defined]
        await pilot.press("colon", *"image pull web", "enter")
        await until(pilot, lambda: "of 1000B  waits" in screen_text(pilot))
        going.set()
        await until(pilot, lambda: "image pull: " + WEB in told(pilot))
        assert isinstance(pilot.app.screen, ImagesScreen)

"""The client for event loops: all that the other one has, and transfers that a cancellation ends."""

from __future__ import annotations

import asyncio
import inspect
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobyshell.moby.around import with_restart_policy
from mobyshell.moby.asynchronous import AsyncContainer, AsyncMoby, AsyncProcess, AsyncTask
from mobyshell.moby.client import Moby
from mobyshell.moby.container import Container
from mobyshell.moby.task import Process, Task
from tests.core.registry.distribution import Distribution, distribution
from tests.core.registry.scripted import Request, serving
from tests.moby.test_client import put_image
from tests.waiting import eventually

BEHIND = {
    (Process, "connect"), (Task, "connect"),  # `new_task` and `exec` have done it
    (Task, "connected"), (Task, "find"),  # what `new_task` and `task` are made with
    (Container, "tenant"),  # the synchronous container's: `sync`
}  # fmt: skip
"""What of the synchronous face is no part of what its users write."""


def public(face: type) -> dict[str, object]:
    """Names of a class that are its users', with what they are."""
    found: dict[str, object] = {}
    for one in reversed(face.__mro__[:-1]):
        found |= {name: what for name, what in vars(one).items() if not name.startswith("_")}
    return found


def parameters(what: object) -> list[tuple[str, object, object, object]] | None:
    """Of a method: names, kinds, defaults, types. None for what is asked for without a call."""
    if not inspect.isfunction(what):
        return None
    # of contextmanager's functions too, which name what they wrap
    given = inspect.signature(what).parameters.values()
    return [(one.name, one.kind, one.default, one.annotation) for one in given]


@pytest.mark.parametrize(
    ("face", "other"),
    [(Moby, AsyncMoby), (Container, AsyncContainer), (Task, AsyncTask), (Process, AsyncProcess)],
)
def test_the_faces_have_the_same(face: type, other: type) -> None:
    there, has = public(face), public(other)
    wanted = {name for name in there if (face, name) not in BEHIND}
    assert wanted - set(has) == set()
    assert set(has) - wanted <= {"sync", "id"}
    for name in wanted:
        asked = parameters(there[name])
        assert parameters(has[name]) in (asked, asked or parameters(lambda self: None)), name


def test_context_managers_too() -> None:
    for face, other in ((Moby, AsyncMoby), (Task, AsyncTask)):
        assert hasattr(face, "__enter__")
        assert hasattr(other, "__aenter__")


@pytest.fixture(scope="module")
def registry() -> Iterator[Distribution]:
    with distribution() as running:
        yield running


@pytest.mark.root
@pytest.mark.peer
def test_images_come_and_go(moby: Moby, registry: Distribution, tmp_path: Path) -> None:
    digest = put_image(moby).target.digest
    name = f"{registry.host}/team/busybox:1"

    async def main() -> None:
        async with AsyncMoby(moby.root, moby.state, "demo") as client:
            assert (client.current, client.tenant.store.name) == ("demo", "demo")
            assert (await client.push("busybox", name)).digest == digest
            assert await client.referrers(name) == ()
            archive = io.BytesIO()
            await client.export_images(["busybox"], archive)
            (tmp_path / "made.tar").write_bytes(archive.getvalue())
            await client.export_layout(["busybox"], tmp_path / "layout")
        async with AsyncMoby(tmp_path / "other", moby.state, "demo") as client:
            assert (await client.pull(name)).target.digest == digest
            for source in ("made.tar", "layout"):
                (one,) = await client.import_images(tmp_path / source, name="again")
                assert one.target.digest == digest
            assert len(await client.images()) == 2
            assert client.store.root.path == tmp_path / "other"

    asyncio.run(main())


@pytest.mark.root
def test_a_transfer_ends_with_its_task(moby: Moby, tmp_path: Path) -> None:
    put_image(moby)
    with serving() as registry:
        name = f"{registry.host}/a/b:1"
        moby.push("busybox", name)
        come, go = threading.Event(), threading.Event()

        @registry.on("blobs/", "GET")
        def stall(request: Request) -> None:
            come.set()
            go.wait(60)

        async def main() -> None:
            async with AsyncMoby(tmp_path / "other", moby.state, "demo") as client:
                pulling = asyncio.create_task(client.pull(name))
                await asyncio.to_thread(come.wait, 60)
                pulling.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await pulling
                assert not go.is_set()
                assert await client.images() == []
                assert await asyncio.to_thread(client.tenant.store.leases.list) == []
                go.set()
                assert (await client.pull(name)).name == name

        try:
            asyncio.run(main())
        finally:
            go.set()


@pytest.mark.root
@pytest.mark.parametrize("beside", [(), (with_restart_policy("on-failure"),)])
def test_a_run_ends_with_its_task(moby: Moby, beside: tuple[Any, ...]) -> None:
    put_image(moby)
    args = ["sh", "-c", "trap '' TERM; sleep 1000 & wait"]

    async def main() -> None:
        async with AsyncMoby(moby.root, moby.state, "demo") as client:
            for moment in (0.0, 0.02, 0.2):  # before it is made, while, and when it runs
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.run("busybox", args, *beside), moment)
                assert await client.containers() == []
            running = asyncio.create_task(client.run("busybox", args, *beside))
            tasks = client.tenant.tasks
            await asyncio.to_thread(
                eventually, lambda: [one for one in tasks.ls() if one.status == "running"]
            )
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert await client.containers() == []
            assert await asyncio.to_thread(client.tenant.tasks.ls) == []
            assert (await client.run("busybox", ["true"])).status == 0

    asyncio.run(main())


@pytest.mark.root
def test_a_cancelled_run_leaves_whoever_has_its_name(moby: Moby) -> None:
    put_image(moby)

    async def main() -> None:
        async with AsyncMoby(moby.root, moby.state, "demo") as client:
            first = asyncio.create_task(client.run("busybox", ["sleep", "1000"], id="one"))
            await asyncio.to_thread(eventually, client.sync.containers)
            second = asyncio.create_task(client.run("busybox", ["true"], id="one"))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            assert [one.id for one in await client.containers()] == ["one"]
            assert not first.done()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first

    asyncio.run(main())

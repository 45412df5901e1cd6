"""The same client for programs with an event loop: what blocks is done in threads.

    async with AsyncMoby() as moby:
        with moby.namespace("demo"):
            image = await moby.pull("docker.io/library/busybox:latest")

Values (`Image`, spec and container options) are those of the synchronous client. A transfer whose
task is cancelled is stopped, and a container that `run` runs is killed and removed: both have ended
when the cancellation arrives. Other work that was begun is done to its end.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import SIGKILL, SIGTERM
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.oci import Spec
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.platform import Platform
from mobyshell.core.runtime.values import ProcessInfo, Stats, Status
from mobyshell.core.store.containers import Container as Row
from mobyshell.core.store.store import Store
from mobyshell.core.tasks.service import LogLine
from mobyshell.moby.around import Around
from mobyshell.moby.client import Moby
from mobyshell.moby.container import Container, ContainerOption, DeleteOption
from mobyshell.moby.image import Image
from mobyshell.moby.run import Finished, run
from mobyshell.moby.spec_options import SpecOption
from mobyshell.moby.task import IO, Process, Task
from mobyshell.moby.tenant import Tenant

if TYPE_CHECKING:
    from mobyshell.core.registry.client import Client as Registry
    from mobyshell.core.registry.progress import Progress
    from mobyshell.core.registry.stop import Stop

T = TypeVar("T")
_thread = asyncio.to_thread

AGAIN = 0.05
"""Seconds from one attempt to kill what was cancelled to the next."""


class AsyncProcess:
    """A process of a task."""

    def __init__(self, process: Process) -> None:
        self.sync = process

    async def wait(self) -> int:
        """Its exit status (128+n for signal n), once it has ended and its output was copied. To miss
        nothing, make a task of this before the start."""
        return await asyncio.wrap_future(self.sync.wait())

    async def kill(self, signal: int | str = SIGTERM, *, all_processes: bool = False) -> None:
        """Send a signal: a number, or a name such as TERM."""
        await _thread(self.sync.kill, signal, all_processes=all_processes)

    async def resize(self, rows: int, columns: int) -> None:
        """Give its terminal another size."""
        await _thread(self.sync.resize, rows, columns)


class AsyncTask(AsyncProcess):
    """A container that lives. `async with` kills and deletes it at the end."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.task = task

    @property
    def id(self) -> str:
        """The container's."""
        return self.task.id

    async def status(self) -> Status:
        """What it is doing."""
        return await _thread(lambda: self.task.status)

    async def pid(self) -> int:
        """Of its init, on the host; 0 once it has ended."""
        return await _thread(lambda: self.task.pid)

    async def start(self) -> None:
        """Let its program run."""
        await _thread(self.task.start)

    async def exec(
        self, args: Sequence[str], io: IO | None = None, *, exec_id: str = "",
        env: Sequence[str] = (), cwd: str = "", user: str = "",
    ) -> AsyncProcess:  # fmt: skip
        """Run one more process in it."""
        return AsyncProcess(
            await _thread(self.task.exec, args, io, exec_id=exec_id, env=env, cwd=cwd, user=user)
        )

    async def pause(self) -> None:
        """Freeze it."""
        await _thread(self.task.pause)

    async def resume(self) -> None:
        """Let it go on."""
        await _thread(self.task.resume)

    async def update(self, resources: Mapping[str, Any]) -> None:
        """Change limits."""
        await _thread(self.task.update, resources)

    async def pids(self) -> list[ProcessInfo]:
        """Its processes."""
        return await _thread(self.task.pids)

    async def metrics(self) -> Stats:
        """What its cgroups count."""
        return await _thread(self.task.metrics)

    async def logs(
        self, *, follow: bool = False, tail: int | None = None
    ) -> AsyncIterator[LogLine]:
        """What it has written; with `follow` also what it will write."""
        lines = self.task.logs(follow=follow, tail=tail)
        while True:
            line = await _thread(next, lines, None)
            if line is None:
                return
            yield line

    async def delete(self, *, force: bool = False) -> int:
        """Forget it, and how it ended."""
        return await _thread(self.task.delete, force=force)

    async def __aenter__(self) -> AsyncTask:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.delete(force=True)
        except NotFound:
            pass  # it was deleted in the block


class AsyncContainer:
    """A container by its id."""

    def __init__(self, container: Container) -> None:
        self.sync = container

    @property
    def id(self) -> str:
        """Its id."""
        return self.sync.id

    async def info(self) -> Row:
        """Image, runtime, snapshot, labels."""
        return await _thread(lambda: self.sync.info)

    async def spec(self) -> Spec:
        """Its config.json."""
        return await _thread(lambda: self.sync.spec)

    async def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return await _thread(lambda: self.sync.labels)

    async def set_labels(self, labels: Mapping[str, str | None]) -> Mapping[str, str]:
        """Set labels; None takes one away."""
        return await _thread(self.sync.set_labels, labels)

    async def new_task(self, io: IO | None = None) -> AsyncTask:
        """A task of it, created and not started."""
        return AsyncTask(await _thread(self.sync.new_task, io))

    async def create_task(
        self, *, terminal: bool = False, stdin: bool = False, rows: int = 0, columns: int = 0
    ) -> None:
        """As `new_task`, with nobody at its streams."""
        await _thread(self.sync.create_task, terminal=terminal, stdin=stdin, rows=rows,
                      columns=columns)  # fmt: skip

    async def task(self, io: IO | None = None) -> AsyncTask:
        """The task that it has; with `io` its streams are copied from now on."""
        return AsyncTask(await _thread(self.sync.task, io))

    async def delete(self, *options: DeleteOption) -> None:
        """Forget it."""
        await _thread(self.sync.delete, *options)


class AsyncMoby:
    """A client; see `Moby`."""

    def __init__(
        self, root: str | os.PathLike[str] | None = None,
        state: str | os.PathLike[str] | None = None, namespace: str = "",
    ) -> None:  # fmt: skip
        self.sync = Moby(root, state, namespace)

    @contextmanager
    def namespace(self, name: str) -> Iterator[AsyncMoby]:
        """Within the block, everything of this asyncio task is of this namespace."""
        with self.sync.namespace(name):
            yield self

    @property
    def current(self) -> str:
        """The namespace that is meant now."""
        return self.sync.current

    @property
    def tenant(self) -> Tenant:
        """See `Moby.tenant`; what it does blocks."""
        return self.sync.tenant

    @property
    def store(self) -> Store:
        """See `Moby.store`; what it does blocks."""
        return self.sync.store

    async def pull(
        self, name: str, *, unpack: bool = True, platform: Platform | None = None,
        all_platforms: bool = False, snapshotter: str = "", registry: Registry | None = None,
        progress: Progress | None = None, stop: Stop | None = None,
    ) -> Image:  # fmt: skip
        """See `Moby.pull`; `progress` is told in other threads."""
        return await _transfer(stop, lambda own: self.sync.pull(
            name, unpack=unpack, platform=platform, all_platforms=all_platforms,
            snapshotter=snapshotter, registry=registry, progress=progress, stop=own,
        ))  # fmt: skip

    async def push(
        self, name: str, target: str = "", *, platform: Platform | None = None,
        registry: Registry | None = None, progress: Progress | None = None,
        stop: Stop | None = None,
    ) -> Descriptor:  # fmt: skip
        """See `Moby.push`; `progress` is told in other threads."""
        return await _transfer(stop, lambda own: self.sync.push(
            name, target, platform=platform, registry=registry, progress=progress, stop=own,
        ))  # fmt: skip

    async def referrers(
        self, name: str, artifact_type: str = "", *, registry: Registry | None = None,
        stop: Stop | None = None,
    ) -> tuple[Descriptor, ...]:  # fmt: skip
        """See `Moby.referrers`."""
        return await _transfer(stop, lambda own: self.sync.referrers(
            name, artifact_type, registry=registry, stop=own
        ))  # fmt: skip

    async def import_images(
        self, source: str | os.PathLike[str] | int, *, name: str = "", unpack: bool = True,
        platform: Platform | None = None, snapshotter: str = "",
    ) -> list[Image]:  # fmt: skip
        """See `Moby.import_images`."""
        return await _thread(self.sync.import_images, source, name=name, unpack=unpack,
                             platform=platform, snapshotter=snapshotter)  # fmt: skip

    async def export_images(
        self, names: Sequence[str], file: BinaryIO, *, platform: Platform | None = None
    ) -> None:
        """See `Moby.export_images`."""
        await _thread(self.sync.export_images, names, file, platform=platform)

    async def export_layout(
        self, names: Sequence[str], directory: Path, *, platform: Platform | None = None
    ) -> None:
        """See `Moby.export_layout`."""
        await _thread(self.sync.export_layout, names, directory, platform=platform)

    async def image(self, name: str, *, platform: Platform | None = None) -> Image:
        """The image of this name."""
        return await _thread(self.sync.image, name, platform=platform)

    async def images(self, *filters: str) -> list[Image]:
        """All images, or those that match any of the filters."""
        return await _thread(self.sync.images, *filters)

    async def new_container(self, id: str, *options: ContainerOption) -> AsyncContainer:
        """A container made of options."""
        return AsyncContainer(await _thread(self.sync.new_container, id, *options))

    async def container(self, id: str) -> AsyncContainer:
        """The container of this id."""
        return AsyncContainer(await _thread(self.sync.container, id))

    async def containers(self, *filters: str) -> list[AsyncContainer]:
        """All containers, or those that match any of the filters."""
        return [AsyncContainer(one) for one in await _thread(self.sync.containers, *filters)]

    async def run(
        self, image: Image | str, args: Sequence[str] = (), *options: SpecOption | Around,
        id: str = "", runtime: str = "", snapshotter: str = "", stdin: BinaryIO | None = None,
    ) -> Finished:  # fmt: skip
        """Run a container of an image to its end, and leave nothing of it; see `Moby.run`. It is killed
        if this task is cancelled."""
        found = image if isinstance(image, Image) else await self.image(image)
        made: list[str] = []
        under_way = asyncio.ensure_future(
            _thread(run, found, args, options, id=id, runtime=runtime, snapshotter=snapshotter,
                    stdin=stdin, made=made.append)
        )  # fmt: skip
        try:
            return await asyncio.shield(under_way)
        except asyncio.CancelledError:
            while not under_way.done():  # it may not have been started yet, or be started again
                for one in made:
                    with suppress(MobyshellError):
                        await _thread(found.tenant.tasks.kill, one, SIGKILL)
                await asyncio.wait([under_way], timeout=AGAIN)
            under_way.exception()  # it was asked for
            raise

    async def connect(
        self, network: str, id: str, *, ips: Sequence[str] = (), aliases: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """See `Moby.connect`."""
        return await _thread(self.sync.connect, network, id, ips=ips, aliases=aliases)

    async def disconnect(self, network: str, id: str) -> None:
        """See `Moby.disconnect`."""
        await _thread(self.sync.disconnect, network, id)

    async def close(self) -> None:
        """Hang up."""
        await _thread(self.sync.close)

    async def __aenter__(self) -> AsyncMoby:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def _transfer(stop: Stop | None, work: Callable[[Stop], T]) -> T:
    """Have it done in a thread, with a switch that `stop` and a cancellation of this task turn off."""
    from mobyshell.core.registry.stop import Stop

    own = Stop(parent=stop)
    under_way = asyncio.ensure_future(_thread(work, own))
    try:
        return await asyncio.shield(under_way)
    except asyncio.CancelledError:
        own.stop()
        await asyncio.wait([under_way])
        under_way.exception()  # it was asked for
        raise

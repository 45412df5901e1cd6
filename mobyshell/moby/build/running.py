"""RUN: a container on a snapshot, to its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.oci import Mount, Spec, dump_spec
from mobyshell.core.oci.image_config import ImageProcess
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.store.leases import holder_lives, own_holder
from mobyshell.core.store.snapshots.protocol import Form, Snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.moby import spec_options as so
from mobyshell.moby.build.files import Below
from mobyshell.moby.build.stubs import Stubs
from mobyshell.moby.defaults import spec_in

if TYPE_CHECKING:
    from mobyshell.core.tasks.service import Tasks
    from mobyshell.moby.build.mounts import Mounts
    from mobyshell.moby.tenant import Tenant

_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class RunFailed(MobyshellError):
    """A command of a build ended with another status than 0."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with {status}", hint="what it said is above")
        self.status = status


_HOLDER = "mobyshell.build.holder"
"""The annotation of a step's container: the process whose build it is."""


def bury(held: Tenant) -> None:
    """Delete the containers of builds that were killed: nobody waits for them, and what they write is
    nobody's."""
    for one in held.tasks.ls():
        holder = one.annotations.get(_HOLDER)
        if holder is not None and holder_lives(holder) is False:
            with suppress(NotFound):
                held.tasks.delete(one.id, force=True)


@dataclass(frozen=True, slots=True)
class Way:
    """How a command is run. `env` is its whole environment, but for PATH; `network`: none, host, or one
    that a task can be joined to."""

    args: tuple[str, ...]
    env: Mapping[str, str]
    process: ImageProcess
    network: str
    mounts: Mounts


def run(
    held: Tenant, key: str, snapshots: Snapshotter, way: Way, below: Below,
    output: Callable[[bytes], object],
) -> None:  # fmt: skip
    """Run a command on the active snapshot `key`, which was made of `below`. Nothing is left of it but
    what it changed there.

    Its environment is exactly the build's: nothing of ours. RunFailed, SyscallFailed.
    """
    place = snapshots.directories(key)

    def read(path: str, most: int) -> bytes:
        with Stack([place.directory, *place.lowers]) as stack:
            return stack.read(path, most)

    mounts, more = way.mounts.make()
    options = [
        so.with_env("PATH", _PATH, *(f"{name}={value}" for name, value in {**way.env, **more}.items())),
        so.with_args(*way.args), so.with_cwd(way.process.working_dir or "/"),
        so.with_user(way.process.user or "0"), so.with_new_privileges(),
    ]  # fmt: skip
    if way.network == "host":
        options += [so.with_host_namespace("network"), so.with_mounts(*_names())]
    spec = so.apply(_bare(spec_in(held.store.scope.root)), [*options, so.with_mounts(*mounts)],
                    so.Making(key, read))  # fmt: skip
    spec = replace(spec, annotations={**(spec.annotations or {}), _HOLDER: own_holder()})
    mount, *others = snapshots.mounts(key)
    assert not others
    tasks = held.tasks
    try:
        with _surrounded(held, key, spec, way.network) as spec:
            stubs = Stubs(below, (one.destination for one in spec.mounts or ()))
            rootfs = RootMount(mount.type, mount.source, mount.options)
            tasks.create(key, spec=dump_spec(spec), rootfs=rootfs)
        status = _to_its_end(tasks, key, output)
    finally:
        with suppress(NotFound):
            tasks.delete(key, force=True)
    if status:
        raise RunFailed(status)
    stubs.clear(place.directory, whole=place.form is Form.FLAT)


def _to_its_end(tasks: Tasks, key: str, output: Callable[[bytes], object]) -> int:
    with closing(tasks.attach(key)) as attached:
        tasks.start(key)
        while (got := attached.read()) is not None:
            output(got[1])
    return tasks.wait(key)


@contextmanager
def _surrounded(held: Tenant, key: str, spec: Spec, network: str) -> Iterator[Spec]:
    """While the container is made: its spec with the network."""
    if network in ("none", "host"):
        yield spec
        return
    from mobyshell.core.tasks.surroundings import Wishes

    with held.surroundings().around(held.tasks, key, spec, Wishes.read((network,))) as found:
        yield found


def _bare(spec: Spec) -> Spec:
    """Without a /run of its own: what a command puts there is the image's."""
    return replace(
        spec, mounts=tuple(one for one in spec.mounts or () if one.destination != "/run")
    )


def _names() -> list[Mount]:
    """The host's names of hosts, in the host's network."""
    return [
        Mount(destination=path, type="bind", source=path, options=("rbind", "ro"))
        for path in ("/etc/resolv.conf", "/etc/hosts") if Path(path).is_file()
    ]  # fmt: skip

"""RUN: a container on a snapshot, to its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from mobyshell.core.errors import MobyshellError, NotFound
from mobyshell.core.oci import dump_spec
from mobyshell.core.oci.image_config import ImageProcess
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.store.leases import holder_lives, own_holder
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.moby import spec_options as so
from mobyshell.moby.defaults import spec_in

if TYPE_CHECKING:
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


def run(
    held: Tenant, key: str, snapshots: Snapshotter, args: tuple[str, ...], env: Mapping[str, str],
    process: ImageProcess, network: str, output: Callable[[bytes], object],
) -> None:  # fmt: skip
    """Run `args` on the active snapshot `key`. Nothing is left of it but what it changed there.

    Its environment is exactly the build's: nothing of ours. RunFailed, SyscallFailed.
    """
    place = snapshots.directories(key)

    def read(path: str, most: int) -> bytes:
        with Stack([place.directory, *place.lowers]) as stack:
            return stack.read(path, most)

    options = [
        so.with_env("PATH", _PATH, *(f"{name}={value}" for name, value in env.items())),
        so.with_args(*args), so.with_cwd(process.working_dir or "/"),
        so.with_user(process.user or "0"), so.with_new_privileges(),
    ]  # fmt: skip
    if network == "host":
        options.append(so.with_host_namespace("network"))
    spec = so.apply(spec_in(held.store.scope.root), options, so.Making(key, read))
    spec = replace(spec, annotations={**(spec.annotations or {}), _HOLDER: own_holder()})
    mount, *more = snapshots.mounts(key)
    assert not more
    tasks = held.tasks
    tasks.create(key, spec=dump_spec(spec),
                 rootfs=RootMount(mount.type, mount.source, mount.options))  # fmt: skip
    try:
        with closing(tasks.attach(key)) as attached:
            tasks.start(key)
            while (got := attached.read()) is not None:
                output(got[1])
        status = tasks.wait(key)
    finally:
        with suppress(NotFound):
            tasks.delete(key, force=True)
    if status:
        raise RunFailed(status)

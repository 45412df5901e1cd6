"""Run an image to its end: the shortest way from a name to an exit status.

Owns the way without detours: what `new_container`, `new_task`, `wait`, `delete` would do, in two
transactions of the store, one before and one after.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import BinaryIO

from mobyshell.core.errors import NotFound
from mobyshell.moby.container import (
    with_image,
    with_new_snapshot,
    with_new_spec,
    with_runtime,
    with_snapshot_cleanup,
    with_snapshotter,
)
from mobyshell.moby.image import Image
from mobyshell.moby.spec_options import SpecOption, with_image_config
from mobyshell.moby.task import IO


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended (128+n for signal n), and what it said: at most what the log keeps."""

    status: int
    stdout: bytes
    stderr: bytes


def run(
    image: Image, args: Sequence[str], options: Sequence[SpecOption], *, id: str, runtime: str,
    snapshotter: str, stdin: BinaryIO | None,
) -> Finished:  # fmt: skip
    """See `Moby.run`."""
    from mobyshell.moby import container as containers

    tenant = image.tenant
    id = id or f"run-{tenant.store.scope.clock.new_id()}"
    image.unpack(snapshotter)
    with tenant.store.scope.database.write():
        made = containers.create(
            tenant, id,
            (
                with_image(image), with_snapshotter(snapshotter), with_new_snapshot(id, image),
                with_new_spec(with_image_config(*args), *options), with_runtime(runtime),
            ),
        )  # fmt: skip
    try:
        task = made.new_task(IO(stdin=stdin))
        try:
            with closing(tenant.tasks.attach(id)) as attached:
                task.start()
                said: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
                while (got := attached.read()) is not None:
                    said.setdefault(got[0], []).append(got[1])
            status = tenant.tasks.wait(id)
        finally:
            with suppress(NotFound):
                task.delete(force=True)
    finally:
        with suppress(NotFound):
            made.delete(with_snapshot_cleanup)
    return Finished(status, b"".join(said["stdout"]), b"".join(said["stderr"]))

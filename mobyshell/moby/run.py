"""Run an image to its end: the shortest way from a name to an exit status.

Owns the way without detours: what `new_container`, `new_task`, `wait`, `delete` would do, in two
transactions of the store, one before and one after.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from mobyshell.core.errors import NotFound, UsageError
from mobyshell.core.tasks.logs import content
from mobyshell.core.tasks.restarts import ALWAYS, POLICY, UNLESS_STOPPED, parse
from mobyshell.moby.around import Around
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
from mobyshell.moby.tenant import Tenant

if TYPE_CHECKING:
    from mobyshell.core.tasks.service import Tasks
    from mobyshell.moby.container import Draft


@dataclass(frozen=True, slots=True)
class Finished:
    """How it ended (128+n for signal n), and what it said: at most what the log keeps."""

    status: int
    stdout: bytes
    stderr: bytes


def run(
    image: Image, args: Sequence[str], options: Sequence[SpecOption | Around], *, id: str,
    runtime: str, snapshotter: str, stdin: BinaryIO | None,
) -> Finished:  # fmt: skip
    """See `Moby.run`."""
    from mobyshell.moby import container as containers

    tenant = image.tenant
    id = id or f"run-{tenant.store.scope.clock.new_id()}"
    beside = tuple(one for one in options if isinstance(one, Around))
    of_spec = tuple(one for one in options if not isinstance(one, Around))
    snapshotter = snapshotter or tenant.snapshotter().name  # found out once, for all that ask
    image.unpack(snapshotter)
    # a power cut that takes its rows has ended it
    passing = Tenant(tenant.store.relaxed(), tenant.connect, tenant.state)
    with passing.store.scope.write():
        made = containers.create(
            passing, id,
            (
                with_image(image), with_snapshotter(snapshotter), with_new_snapshot(id, image),
                with_new_spec(with_image_config(*args), *of_spec), with_runtime(runtime), *beside,
                _ends,
            ),
        )  # fmt: skip
    try:
        task = made.new_task(IO(stdin=stdin))
        try:
            said: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
            with closing(tenant.tasks.attach(id)) as attached:
                task.start()
                while (got := attached.read()) is not None:
                    said.setdefault(got[0], []).append(got[1])
            status = tenant.tasks.wait(id)
            if beside and tenant.tasks.get(id).restart:
                status, said = _to_the_last(tenant.tasks, id)
        finally:
            with suppress(NotFound):
                task.delete(force=True)
    finally:
        with suppress(NotFound):
            made.delete(with_snapshot_cleanup)
    return Finished(status, b"".join(said["stdout"]), b"".join(said["stderr"]))


def _ends(draft: Draft) -> None:
    policy = parse(draft.row.labels.get(POLICY, ""))
    if policy.name in (ALWAYS, UNLESS_STOPPED):
        raise UsageError(f"with the restart policy {policy} a run has no end",
                         hint="new_container and new_task, or on-failure:N")  # fmt: skip


def _to_the_last(tasks: Tasks, id: str) -> tuple[int, dict[str, list[bytes]]]:
    """How the last of the runs that a policy made has ended, and what all of them have said."""
    said: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for line in tasks.logs(id, follow=True):
        said.setdefault(line.stream, []).append(content(line))
    return tasks.wait(id), said

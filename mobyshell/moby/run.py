"""Run an image to its end: the shortest way from a name to an exit status.

Owns the way without detours: what `new_container`, `new_task`, `wait`, `delete` would do, in two
transactions of the store, one before and one after, and one conversation with the shim. The shim
makes the container while the first transaction is committed, and lets it start only then; it
removes the task while the second one is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING, BinaryIO

from mobyshell.core.errors import NotFound, ShimLost, UsageError, WrongState
from mobyshell.core.linux.procfs import boot_id
from mobyshell.core.store.labels import BOOT
from mobyshell.core.store.snapshots.volatile import unsynced
from mobyshell.core.tasks.logs import content
from mobyshell.core.tasks.restarts import ALWAYS, POLICY, UNLESS_STOPPED, parse
from mobyshell.core.values import value
from mobyshell.moby import container as containers
from mobyshell.moby.around import Around
from mobyshell.moby.container import (
    Container,
    root_mount,
    with_image,
    with_labels,
    with_new_snapshot,
    with_new_spec,
    with_runtime,
    with_snapshot_cleanup,
    with_snapshotter,
)
from mobyshell.moby.image import Image
from mobyshell.moby.spec_options import SpecOption, with_image_config
from mobyshell.moby.task import IO, words
from mobyshell.moby.tenant import Tenant

if TYPE_CHECKING:
    from mobyshell.core.tasks.service import LogLine, Runner
    from mobyshell.moby.container import ContainerOption, Draft


@value
class Finished:
    """How it ended (128+n for signal n), and what it said: at most what the log keeps."""

    status: int
    stdout: bytes
    stderr: bytes


def run(
    image: Image, args: Sequence[str], options: Sequence[SpecOption | Around], *, id: str,
    runtime: str, snapshotter: str, stdin: BinaryIO | None,
    made: Callable[[str], object] | None = None,
) -> Finished:  # fmt: skip
    """See `Moby.run`. `made` is told the id, once the container is there and ours."""
    tenant = image.tenant
    id = id or f"run-{tenant.store.scope.clock.new_id()}"
    beside = tuple(one for one in options if isinstance(one, Around))
    of_spec = tuple(one for one in options if not isinstance(one, Around))
    snapshotter = snapshotter or tenant.snapshotter().name  # found out once, for all that ask
    image.unpack(snapshotter)
    # a power cut has ended it, whether its rows are there then or not
    passing = Tenant(tenant.store.of_this_boot(), tenant.connect, tenant.state)
    made_of: tuple[ContainerOption, ...] = (
        with_image(image), with_snapshotter(snapshotter), with_new_snapshot(id, image),
        with_new_spec(with_image_config(*words(args)), *of_spec), with_runtime(runtime), *beside, _ends,
        with_labels({BOOT: boot_id()}),
    )  # fmt: skip
    if not (beside or runtime or stdin):
        with tenant.tasks.runner() as runner:
            if runner is not None:
                return _in_one_go(passing, id, made_of, runner, made)
    with passing.store.scope.write():
        containers.describe(passing, id, made_of)
    if made is not None:
        made(id)
    return _step_by_step(Container(passing, id), stdin, restarts=bool(beside))


def _in_one_go(
    tenant: Tenant, id: str, options: Sequence[ContainerOption], runner: Runner,
    made: Callable[[str], object] | None,
) -> Finished:  # fmt: skip
    """Made by the shim while its rows are being committed, started once they are; its rows are
    removed while the shim removes it."""
    with tenant.store.scope.write():
        draft = containers.describe(tenant, id, options)
        whole = _ends_whole(draft)
        if whole:
            text = tenant.store.containers.spec_text(id)
            runner.create(id, text, root_mount(unsynced(draft.mounts)))
    container = Container(tenant, id)
    if made is not None:
        made(id)
    if not whole:
        return _step_by_step(container)
    try:
        runner.start()
        ended = runner.wait()
    except ShimLost as error:
        return _by_its_successor(container, error)
    except BaseException:
        _remove(container)
        raise
    if ended is None:
        return _at_length(container)
    _forget(draft)
    try:
        runner.removed()
    except ShimLost:
        with suppress(NotFound):
            tenant.tasks.delete(id, force=True)
    return _finished(ended.exit_status, ended.lines)


def _ends_whole(draft: Draft) -> bool:
    """Whether all its processes end with its init, so that nobody uses its files any more then."""
    spec = draft.spec
    namespaces = spec.linux.namespaces if spec is not None and spec.linux is not None else None
    return any(one.type == "pid" and not one.path for one in namespaces or ())


def _step_by_step(
    container: Container, stdin: BinaryIO | None = None, *, restarts: bool = False
) -> Finished:  # fmt: skip
    tasks, id = container.tenant.tasks, container.id
    try:
        task = container.new_task(IO(stdin=stdin))
        said: list[tuple[str, bytes]] = []
        with closing(tasks.attach(id)) as attached:
            task.start()
            while (got := attached.read()) is not None:
                said.append(got)
        status = tasks.wait(id)
        if restarts and tasks.get(id).restart:
            return _at_length(container)
        return _put_together(status, said)
    finally:
        _remove(container)


def _at_length(container: Container) -> Finished:
    """Read what it says from its log, until its last end."""
    tasks, id = container.tenant.tasks, container.id
    try:
        lines = list(tasks.logs(id, follow=True))
        return _finished(tasks.wait(id), lines)
    finally:
        _remove(container)


def _by_its_successor(container: Container, lost: ShimLost) -> Finished:
    """The shim has died on the way: what it had made by then goes on."""
    try:
        with suppress(WrongState):  # it runs already
            container.tenant.tasks.start(container.id)
    except NotFound:
        _remove(container)
        raise lost from None
    except BaseException:
        _remove(container)
        raise
    return _at_length(container)


def _remove(container: Container) -> None:
    with suppress(NotFound):
        container.tenant.tasks.delete(container.id, force=True)
    with suppress(NotFound):
        container.delete(with_snapshot_cleanup)


def _forget(draft: Draft) -> None:
    """Remove the rows of one whose task is being removed."""
    tenant, row = draft.tenant, draft.row
    with tenant.store.scope.free():
        with suppress(NotFound):
            draft.snapshotter().remove(row.snapshot_key)
        with suppress(NotFound):
            tenant.store.containers.delete(row.id)


def _ends(draft: Draft) -> None:
    policy = parse(draft.row.labels.get(POLICY, ""))
    if policy.name in (ALWAYS, UNLESS_STOPPED):
        raise UsageError(f"with the restart policy {policy} a run has no end",
                         hint="new_container and new_task, or on-failure:N")  # fmt: skip


def _finished(status: int, lines: Iterable[LogLine]) -> Finished:
    return _put_together(status, ((line.stream, content(line)) for line in lines))


def _put_together(status: int, said: Iterable[tuple[str, bytes]]) -> Finished:
    parts: dict[str, list[bytes]] = {"stdout": [], "stderr": []}
    for stream, data in said:
        parts.setdefault(stream, []).append(data)
    return Finished(status, b"".join(parts["stdout"]), b"".join(parts["stderr"]))

"""Containers as a client has them: made by options, run as tasks.

Owns the order in which a container comes to be and goes: under a lease its snapshot is prepared and
its row written, so that neither is collected meanwhile, and nothing of a failed try is left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from mobyshell.core.errors import AlreadyExists, MobyshellError, NotFound, UsageError, WrongState
from mobyshell.core.oci import Spec, parse_spec, spec_to_json
from mobyshell.core.oci.image_config import ImageConfig
from mobyshell.core.oci.labels import check_labels
from mobyshell.core.runtime.values import RootMount
from mobyshell.core.store.containers import Container as Row
from mobyshell.core.store.snapshots.protocol import GID_MAPPING, UID_MAPPING
from mobyshell.core.store.stack import Stack
from mobyshell.core.tasks.restarts import POLICY, labels_at_start
from mobyshell.core.tasks.users import Read
from mobyshell.core.values import field, replace, value, variable
from mobyshell.moby.around import HOW, around
from mobyshell.moby.defaults import spec_in
from mobyshell.moby.spec_options import Making, SpecOption, apply
from mobyshell.moby.task import IO, Task, null_io

if TYPE_CHECKING:
    from mobyshell.core.store.snapshots.protocol import Mount, Snapshotter
    from mobyshell.core.volumes.volumes import Volume
    from mobyshell.moby.image import Image
    from mobyshell.moby.tenant import Tenant


@variable
class Draft:
    """A container in the making: what options fill in. `mounts`: of the snapshot that was made for it;
    `undo`: what takes back what they made."""

    tenant: Tenant
    row: Row
    spec: Spec | None = None
    config: ImageConfig | None = None
    mounts: tuple[Mount, ...] = ()
    _snapshotters: dict[str, Snapshotter] = field(default_factory=dict)
    undo: list[Callable[[], object]] = field(default_factory=list)

    def set(self, **changes: Any) -> None:
        """Change members of the row."""
        self.row = replace(self.row, **changes)

    def snapshotter(self) -> Snapshotter:
        """That of the row; the best one that works here, which is the row's from then on."""
        name = self.row.snapshotter
        if name not in self._snapshotters:
            found = self._snapshotters[name] = self.tenant.snapshotter(name)
            if not name:
                self._snapshotters[found.name] = found
                self.set(snapshotter=found.name)
        return self._snapshotters[name]


ContainerOption: TypeAlias = Callable[[Draft], None]


def with_image(image: Image) -> ContainerOption:
    """It is made of this image."""

    def option(draft: Draft) -> None:
        draft.set(image=image.name)
        draft.config = image.config

    return option


def with_snapshotter(name: str) -> ContainerOption:
    """Where its snapshot is: before the options that name one."""
    return lambda draft: draft.set(snapshotter=name)


def with_new_snapshot(key: str, image: Image) -> ContainerOption:
    """A snapshot of its own to write in, on the image's; which is unpacked first, if it is not."""
    return _with_snapshot(key, image)


def with_new_snapshot_view(key: str, image: Image) -> ContainerOption:
    """The image's files, which cannot be written."""
    return _with_snapshot(key, image, writable=False)


def _with_snapshot(
    key: str, image: Image, labels: Mapping[str, str] | None = None, *, writable: bool = True
) -> ContainerOption:
    def option(draft: Draft) -> None:
        snapshots = draft.snapshotter()
        make = snapshots.prepare if writable else snapshots.view
        try:
            draft.mounts = tuple(make(key, image.chain_id, labels))
        except NotFound:  # it is not unpacked, or not any more
            image.unpack(snapshots.name)
            draft.mounts = tuple(make(key, image.chain_id, labels))
        draft.undo.append(lambda: snapshots.remove(key))
        draft.set(snapshot_key=key)

    return option


def with_remapped_snapshot(
    key: str, image: Image, host_id: int, count: int = 65536
) -> ContainerOption:
    """As `with_new_snapshot`, for `with_user_namespace`: the image's files belong to the users of that
    namespace. Their ids are mapped by the mount, or changed in a copy, as the snapshotter does it."""
    mapping = f"0:{host_id}:{count}"
    return _with_snapshot(key, image, {UID_MAPPING: mapping, GID_MAPPING: mapping})


def with_snapshot(key: str) -> ContainerOption:
    """A snapshot that is there already."""

    def option(draft: Draft) -> None:
        draft.snapshotter().stat(key)
        draft.set(snapshot_key=key)

    return option


def with_new_spec(*options: SpecOption) -> ContainerOption:
    """What it runs and how; after the options that name image and snapshot."""

    def option(draft: Draft) -> None:
        making = Making(draft.row.id, _reader(draft), draft.config)
        draft.spec = apply(spec_in(draft.tenant.store.scope.root), options, making)

    return option


def with_spec(spec: Spec, *options: SpecOption) -> ContainerOption:
    """This spec, changed by options."""

    def option(draft: Draft) -> None:
        draft.spec = apply(spec, options, Making(draft.row.id, _reader(draft), draft.config))

    return option


def with_runtime(name: str, options: Mapping[str, Any] | None = None) -> ContainerOption:
    """Run by this OCI runtime: `runc`, `crun`, a path; ours without it."""
    return lambda draft: draft.set(runtime=name, runtime_options=dict(options or {}))


def with_labels(labels: Mapping[str, str]) -> ContainerOption:
    """Labels of the container."""

    def option(draft: Draft) -> None:
        check_labels(labels)
        draft.set(labels={**draft.row.labels, **labels})

    return option


def with_image_labels(image: Image) -> ContainerOption:
    """The labels of an image's configuration, beside those that are there already."""

    def option(draft: Draft) -> None:
        found = image.config.config.labels if image.config.config is not None else None
        draft.set(labels={**(found or {}), **draft.row.labels})

    return option


def with_extension(name: str, value: Mapping[str, Any]) -> ContainerOption:
    """Something of yours that is kept with it, as JSON, under a name such as `org.example/x`."""

    def option(draft: Draft) -> None:
        if name == HOW:
            raise UsageError(f"{name} is what networks, ports and volumes are kept under")
        draft.set(extensions={**draft.row.extensions, name: dict(value)})

    return option


def with_snapshot_cleanup(container: Container) -> None:
    """An option of `Container.delete`: its snapshot goes as well."""
    row = container.info
    if row.snapshot_key:
        with suppress(NotFound):
            container.tenant.snapshotter(row.snapshotter).remove(row.snapshot_key)


DeleteOption: TypeAlias = Callable[["Container"], None]


@value
class Container:
    """A container by its id. What is asked of it is asked of the store: it may have changed."""

    tenant: Tenant
    id: str

    @property
    def info(self) -> Row:
        """Image, runtime, snapshot, labels. NotFound once it is deleted."""
        return self.tenant.store.containers.get(self.id)

    @property
    def spec(self) -> Spec:
        """Its config.json."""
        return parse_spec(self.tenant.store.containers.spec_text(self.id))

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.info.labels

    def set_labels(self, labels: Mapping[str, str | None]) -> Mapping[str, str]:
        """Set labels; None takes one away. All of them now."""
        return self.tenant.store.containers.update(self.id, labels=labels).labels

    def new_task(self, io: IO | None = None) -> Task:
        """A task of it, created and not started, with the networks, ports and volumes it was made
        with. AlreadyExists while it has one."""
        io = io or null_io()
        self.create_task(terminal=io.terminal, stdin=io.stdin is not None, rows=io.rows,
                         columns=io.columns)  # fmt: skip
        return Task.connected(self.tenant.tasks, self.id, io)

    def create_task(
        self, *, terminal: bool = False, stdin: bool = False, rows: int = 0, columns: int = 0
    ) -> None:
        """As `new_task`, with nobody at its streams."""
        row = self.info
        try:
            self._create_task(row, terminal=terminal, stdin=stdin, rows=rows, columns=columns)
        except MobyshellError:
            _ = self.info  # NotFound: it was removed meanwhile, and that is why
            raise

    def _create_task(
        self, row: Row, *, terminal: bool, stdin: bool, rows: int, columns: int
    ) -> None:  # fmt: skip
        tasks = self.tenant.tasks
        rootfs = fill = None
        if row.snapshot_key:
            mounts = tuple(self.tenant.snapshotter(row.snapshotter).mounts(row.snapshot_key))
            rootfs, fill = root_mount(mounts), partial(_fill, self.tenant, mounts)
        policy = row.labels.get(POLICY, "")
        text = self.tenant.store.containers.spec_text(self.id)
        with around(self.tenant, self.id, text, row.extensions.get(HOW, {}), fill) as text:
            tasks.create(
                self.id, spec=text, rootfs=rootfs, terminal=terminal, stdin=stdin,
                rows=rows, columns=columns, runtime=row.runtime or "mobyshell", restart=policy,
                store=self.tenant.root if policy else "",
            )  # fmt: skip
            try:
                if changes := labels_at_start(row.labels):
                    self.set_labels(changes)
            except BaseException:
                tasks.delete(self.id, force=True)
                raise

    def task(self, io: IO | None = None) -> Task:
        """The task that it has, with its streams copied to and from the files of `io` from now on (what
        it has written before is in `logs`). NotFound if it has none."""
        task = Task.find(self.tenant.tasks, self.id, io)
        if io is not None:
            task.connect()
        return task

    def delete(self, *options: DeleteOption) -> None:
        """Forget it. WrongState while it has a task."""
        try:
            task = self.task()
        except NotFound:
            pass
        else:
            raise WrongState(f"container {self.id} has a task, which is {task.status}",
                             hint="delete the task first")  # fmt: skip
        with self.tenant.store.scope.database.write():
            for option in options:
                option(self)
            self.tenant.store.containers.delete(self.id)


def create(tenant: Tenant, id: str, options: tuple[ContainerOption, ...]) -> Container:
    """A container made of options. UsageError if there is no spec among them."""
    with tenant.leased() as held:
        describe(held, id, options)
    return Container(tenant, id)


def describe(held: Tenant, id: str, options: Sequence[ContainerOption]) -> Draft:
    """The same for who sees to it that nothing of it is collected meanwhile: a lease, or a
    transaction around it. What was made of the options."""
    draft = Draft(held, Row(id))
    try:
        for option in options:
            option(draft)
        if draft.spec is None:
            raise UsageError(f"container {id} has no spec", hint="with_new_spec(…)")
        held.store.containers.create(draft.row, spec_to_json(draft.spec))
    except BaseException as error:
        for undo in reversed(draft.undo):
            with suppress(MobyshellError):  # what made us give up says more
                undo()
        if isinstance(error, AlreadyExists):
            _refuse_taken(held, id)  # rather than the snapshot that it has
        raise
    return draft


def _refuse_taken(tenant: Tenant, id: str) -> None:
    with suppress(NotFound):
        tenant.store.containers.get(id)
        raise AlreadyExists(
            f"container {id} is in namespace {tenant.store.name} already",
            hint=f"`container start {id}` runs it again, `rm {id}` removes it",
        ) from None


def _reader(draft: Draft) -> Read:
    """Files of the snapshot, looked up through its layers: nothing is mounted yet."""

    @cache
    def directories() -> list[Path]:
        if not draft.row.snapshot_key:
            raise NotFound(f"container {draft.row.id} has no snapshot to read its files from")
        place = draft.snapshotter().directories(draft.row.snapshot_key)
        return [place.directory, *place.lowers]

    def read(path: str, most: int) -> bytes:
        with Stack(directories()) as stack:
            return stack.read(path, most)

    return read


def _fill(tenant: Tenant, mounts: tuple[Mount, ...], path: str, volume: Volume) -> None:
    from mobyshell.moby.filling import filler  # few have volumes

    filler(tenant, mounts)(path, volume)


def root_mount(mounts: tuple[Mount, ...]) -> RootMount | None:
    """What a task is told of its root filesystem. WrongState if it has to be more than one mount."""
    if not mounts:
        return None
    if len(mounts) > 1 or mounts[0].target:
        raise WrongState("a root filesystem of several mounts is more than a task can have")
    return RootMount(mounts[0].type, mounts[0].source, mounts[0].options)

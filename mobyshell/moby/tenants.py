"""The namespaces of a store as a person surveys them: how much each holds, and what.

Owns the values that a list of tenants and the look into one show, and the seam (`Tenants`) behind
which they are read. Changes nothing; every call may block.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from mobyshell.core.errors import MobyshellError
from mobyshell.core.network.networks import Networks
from mobyshell.core.values import field, value
from mobyshell.core.volumes.volumes import Volumes

if TYPE_CHECKING:
    from mobyshell.core.oci.descriptor import Descriptor
    from mobyshell.core.oci.digest import Digest
    from mobyshell.core.store.store import Namespace, Store
    from mobyshell.core.tasks.service import TaskInfo

KINDS = ("tasks", "containers", "images", "snapshots", "content", "ingests", "leases", "networks",
         "volumes")  # fmt: skip
"""What belongs to a tenant, what is alive first."""

_LONGEST = 48
"""Characters of a name that is shown in full where several stand in a line."""

Objects = Iterator["ObjectInfo"]


@value
class TenantInfo:
    """A tenant. `counts` by kind, of those it has any of; `bytes` of its blobs and committed
    snapshots; `used`: the session is in it; `made`: the store knows it (else it has tasks, networks or
    volumes alone)."""

    name: str
    used: bool
    made: bool
    labels: Mapping[str, str] = field(default_factory=dict)
    created_ns: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    bytes: int = 0

    @property
    def empty(self) -> bool:
        """Whether it can be removed."""
        return not any(self.counts.values())


@value
class ObjectInfo:
    """One thing that a tenant has. `about` in a few words; None where bytes or a time are not known,
    or mean nothing."""

    kind: str
    name: str
    about: str = ""
    bytes: int | None = None
    created_ns: int | None = None


class Tenants(Protocol):
    """What screens ask."""

    def ls(self) -> list[TenantInfo]:
        """All, by name."""
        ...

    def objects(self, name: str, *, measured: bool = True) -> list[ObjectInfo]:
        """All that one has, kind by kind as in KINDS, each by name; `measured`: also how much room it
        takes, for which trees of files are walked."""
        ...


class LiveTenants:
    """`Tenants` of a store (made when first asked for) and the tasks of a state root."""

    def __init__(
        self, store: Callable[[], Store], tasks: Callable[[], Sequence[TaskInfo]],
        root: Callable[[], str], here: Callable[[], str],
    ) -> None:  # fmt: skip
        self._store, self._tasks, self._root, self._here = store, tasks, root, here

    def ls(self) -> list[TenantInfo]:
        """See `Tenants.ls`: also those that only have tasks, networks or volumes, which the store does not
        know, and the one that the session is in."""
        known = {one.name: one for one in self._store().namespaces.list(count=True)}
        alive: dict[str, int] = {}
        for task in self._tasks():
            alive[task.namespace] = alive.get(task.namespace, 0) + 1
        found = []
        for name in sorted({*known, *alive, *self._of_files(), self._here()}):
            one = known.get(name)
            counts = {"tasks": alive.get(name, 0), **(one.inside if one is not None else {}),
                      "networks": len(self._networks(name)), "volumes": len(self._volumes(name))}  # fmt: skip
            found.append(TenantInfo(
                name, name == self._here(), one is not None,
                one.labels if one is not None else {}, int(one.created * 1e9) if one else 0,
                {kind: counts[kind] for kind in KINDS if counts.get(kind)},
                sum(self._store().namespaces.sizes(name).values()) if one is not None else 0,
            ))  # fmt: skip
        return found

    def objects(self, name: str, *, measured: bool = True) -> list[ObjectInfo]:
        space = self._store().namespace(name)
        return [
            *self._of_tasks(name), *_containers(space, measured), *_images(space, measured),
            *_snapshots(space, measured), *_content(space), *_ingests(space), *_leases(space),
            *self._networks(name), *self._volumes(name, measured),
        ]  # fmt: skip

    def _of_tasks(self, name: str) -> Objects:
        for one in self._tasks():
            if one.namespace == name:
                about = f"{one.status} {' '.join(one.args)}".strip()
                yield ObjectInfo("tasks", one.id, about, None, one.created_ns)

    def _of_files(self) -> set[str]:
        """Namespaces with networks or volumes: these are directories."""
        places = [f"{self._root()}/{kind}" for kind in ("networks", "volumes")]
        names = {name for place in places if os.path.isdir(place) for name in os.listdir(place)}
        return {one for one in names if self._networks(one) or self._volumes(one)}

    def _networks(self, name: str) -> list[ObjectInfo]:
        return [
            ObjectInfo("networks", one.name, ", ".join(str(plugin.get("type", "?"))
                                                       for plugin in one.plugins))
            for one in Networks(self._root(), name, "").ls() if one.ours
        ]  # fmt: skip

    def _volumes(self, name: str, measured: bool = False) -> list[ObjectInfo]:
        return [
            ObjectInfo("volumes", one.name, one.path, _room(one.path) if measured else None,
                       int(one.created * 1e9))
            for one in Volumes(self._root(), name).ls()
        ]  # fmt: skip


def _room(path: str) -> int | None:
    """What a directory takes on the disk; None if it cannot be measured, or is gone."""
    from mobyshell.core.store.snapshots.trees import measure

    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return measure(fd).size
        finally:
            os.close(fd)
    return None


def _usage(space: Namespace, driver: str, key: str) -> int | None:
    """What a snapshot takes; None if it is gone, or nobody knows such snapshots here."""
    from mobyshell.core.store.snapshots.choose import DRIVERS, snapshotter

    if driver not in DRIVERS:
        return None
    with suppress(MobyshellError):
        return snapshotter(space.scope, driver).usage(key).size
    return None


def _containers(space: Namespace, measured: bool) -> Objects:
    for one in space.containers.list():
        own = bool(measured and one.snapshot_key)
        size = _usage(space, one.snapshotter, one.snapshot_key) if own else None
        yield ObjectInfo("containers", one.id, one.image or "a bundle's", size, _ns(one.created))


def _images(space: Namespace, measured: bool) -> Objects:
    sizes = {one.digest: one.size for one in space.content.walk()} if measured else {}
    for one in space.images.list():
        size = _blobs_of(space, one.target, sizes) if measured else None
        yield ObjectInfo("images", one.name, one.target.digest, size, _ns(one.updated))


def _blobs_of(space: Namespace, target: Descriptor, sizes: Mapping[Digest, int]) -> int:
    """Bytes of the blobs that an image is made of, of those that are here."""
    from mobyshell.core.store.walk import children

    total, seen, pending = 0, set(), [target]
    while pending:
        part = pending.pop()
        if part.digest in seen or part.digest not in sizes:
            continue
        seen.add(part.digest)
        total += sizes[part.digest]
        with suppress(MobyshellError):  # a damaged document: then what is below is not counted
            pending += children(space.content, part)
    return total


def _snapshots(space: Namespace, measured: bool) -> Objects:
    from mobyshell.core.store.snapshots.choose import DRIVERS, snapshotter

    for driver in DRIVERS:
        if not (space.scope.root.snapshots / driver).is_dir():
            continue
        for one in snapshotter(space.scope, driver).walk():
            size = _usage(space, driver, one.name) if measured else None
            below = f" upon {one.parent}" if one.parent else ""
            yield ObjectInfo("snapshots", one.name, f"{driver} {one.kind}{below}", size,
                             _ns(one.created))  # fmt: skip


def _content(space: Namespace) -> Objects:
    for one in space.content.walk():
        labels = " ".join(f"{key}={value}" for key, value in one.labels.items())
        yield ObjectInfo("content", one.digest, labels, one.size, _ns(one.created))


def _ingests(space: Namespace) -> Objects:
    for one in space.content.statuses():
        about = f"of {one.total}" if one.total else ""
        yield ObjectInfo("ingests", one.ref, about, one.offset, _ns(one.started))


def _leases(space: Namespace) -> Objects:
    for one in space.leases.list():
        held = len(space.leases.resources(one.id))
        yield ObjectInfo("leases", one.id, f"holds {held}", None, _ns(one.created))


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def named(objects: Sequence[ObjectInfo], most: int = 3) -> str:
    """What there is, kind by kind with the first names: `1 task (up), 2 images (alpine, web)`."""
    parts = []
    for kind in KINDS:
        names = [one.name for one in objects if one.kind == kind]
        if names:
            more = f" and {len(names) - most} more" if len(names) > most else ""
            word = "blobs" if kind == "content" else kind
            word = word if len(names) != 1 else word[:-1]
            first = ", ".join(map(_short, names[:most]))
            parts.append(f"{len(names)} {word} ({first}{more})")
    return ", ".join(parts)


def _short(name: str) -> str:
    """As much of a name as people tell it from others by; digests are of no use to them in full."""
    return name if len(name) <= _LONGEST else f"{name[:20]}…"

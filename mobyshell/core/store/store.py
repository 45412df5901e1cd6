"""The store, opened: everything of it by namespace.

    with Store.open(Path("/var/lib/mobyshell")) as store:
        demo = store.namespace("demo")
        demo.images.get("docker.io/library/busybox:latest")
        with demo.leased() as held:               # what takes several steps
            with held.content.writer("layer-1", expected=digest) as ingest: …
            held.images.put(name, target)

Owns how the parts are put together; what they do is theirs. Any number of processes and threads
may have one store open at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.clock import Clock, SystemClock
from mobyshell.core.errors import NotFound
from mobyshell.core.store.containers import Containers
from mobyshell.core.store.content.content import Content
from mobyshell.core.store.content.values import Sharing
from mobyshell.core.store.database import Database
from mobyshell.core.store.identity import Marking
from mobyshell.core.store.images import Images
from mobyshell.core.store.leases import Leases
from mobyshell.core.store.names import check_identifier
from mobyshell.core.store.namespaces import Namespaces
from mobyshell.core.store.root import StoreRoot
from mobyshell.core.store.scope import Scope
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.core.store.gc.collect import Collected
    from mobyshell.core.store.gc.graph import Node, Step
    from mobyshell.core.store.snapshots.protocol import Snapshotter, Usage


@value
class Namespace:
    """What one tenant has. With a lease in its `scope`, everything that is made is held by that."""

    scope: Scope
    sharing: Sharing = Sharing.ISOLATED

    @property
    def name(self) -> str:
        """The namespace's."""
        return self.scope.namespace

    @cached_property
    def content(self) -> Content:
        """Blobs and ingests."""
        return Content(self.scope, self.sharing)

    @cached_property
    def images(self) -> Images:
        """Names of descriptors."""
        return Images(self.scope)

    @cached_property
    def containers(self) -> Containers:
        """What is to run."""
        return Containers(self.scope)

    @cached_property
    def leases(self) -> Leases:
        """What must stay."""
        return Leases(self.scope)

    def snapshotter(self, name: str = "") -> Snapshotter:
        """The snapshotter of this name, or the best one that works here (`snapshots.choose`)."""
        from mobyshell.core.store.snapshots.choose import snapshotter

        return snapshotter(self.scope, name)

    def under(self, lease: str) -> Namespace:
        """The same, with everything that is made held by this lease."""
        return Namespace(self.scope.under(lease), self.sharing)

    def relaxed(self) -> Namespace:
        """The same, for steps on the way to something that is made durable without this."""
        return Namespace(self.scope.relaxed(), self.sharing)

    def of_this_boot(self) -> Namespace:
        """The same, for what nobody wants after the next (`Scope.passing`)."""
        return Namespace(self.scope.of_this_boot(), self.sharing)

    @contextmanager
    def leased(self, labels: Mapping[str, str] | None = None) -> Iterator[Namespace]:
        """The same, under a lease of its own that ends with the block (`Leases.hold`). Within
        another one that is the lease."""
        if self.scope.lease:
            yield self
            return
        with self.leases.hold(labels) as lease:
            yield self.under(lease.id)


class Store:
    """One store. Close it (or use `with`)."""

    def __init__(
        self, root: StoreRoot, database: Database, *, sharing: Sharing = Sharing.ISOLATED,
        clock: Clock | None = None,
    ) -> None:  # fmt: skip
        """For tests; others use `open`."""
        self.root, self.database = root, database
        self._sharing, self._clock = sharing, clock or SystemClock()

    @classmethod
    def open(
        cls, path: Path, *, sharing: Sharing = Sharing.ISOLATED, clock: Clock | None = None
    ) -> Store:
        """Open the store below `path`, made if there is none.

        Raises:
            Refused: the directory is somebody else's.
            StoreDamaged: its database is none.
            Unsupported: a newer mobyshell made it.
            SyscallFailed: it cannot be made or opened.
        """
        root = StoreRoot(path)
        root.make()
        return cls(
            root, Database(root.database, marking=Marking(root)), sharing=sharing, clock=clock
        )

    @property
    def namespaces(self) -> Namespaces:
        """All tenants."""
        return Namespaces(self.database, self._clock)

    def namespace(self, name: str) -> Namespace:
        """What `name` has; it need not be there yet. UsageError for what cannot be a name."""
        check_identifier(name, "namespace")
        return Namespace(self.scope(name), self._sharing)

    def scope(self, namespace: str) -> Scope:
        """For the parts of a namespace."""
        return Scope(self.root, self.database, namespace, clock=self._clock)

    def collect(self, *, dry_run: bool = False) -> Collected:
        """Remove what nothing needs, in all namespaces; see `gc.collect`."""
        from mobyshell.core.store.gc import collect

        if dry_run:
            return collect.dry_run(self.database, self._clock)
        return collect.collect(self.root, self.database, self._clock, self._cleanups())

    def why(self, node: Node) -> list[Step]:
        """The way on which garbage collection reaches an object, from a root; empty if it would be
        removed. NotFound if there is none."""
        from mobyshell.core.store.gc import collect

        graph, marks = collect.look(self.database, self._clock)
        if node not in graph.nodes:
            raise NotFound(f"no {node} in namespace {node.namespace}")
        return marks.why(node)

    def _cleanups(self) -> list[Callable[[], Usage]]:
        """Of the snapshotters that have been used here; what they remove is of all namespaces."""
        from mobyshell.core.store.snapshots.choose import DRIVERS, snapshotter

        used = [name for name in DRIVERS if (self.root.snapshots / name).is_dir()]
        found = [snapshotter(self.scope("default"), name).cleanup for name in used]
        return [*found, self._clean_scratch] if self.root.scratch.is_dir() else found

    def _clean_scratch(self) -> Usage:
        """What a killed build left."""
        from mobyshell.core.store.snapshots.choose import directories
        from mobyshell.core.store.snapshots.protocol import Usage

        place = directories(self.root, self.root.scratch.name)
        freed = Usage()
        for path in place.clean(set()):
            freed += place.remove(path)
        return freed

    def close(self) -> None:
        """Close the database. No thread may be at work in it."""
        self.database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""A tenant: what there is in one namespace, at rest and alive.

A module of its own, for whoever needs no client: it loads little.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mobyshell.core.store.store import Namespace
from mobyshell.core.values import value

if TYPE_CHECKING:
    from mobyshell.core.store.snapshots.protocol import Snapshotter
    from mobyshell.core.tasks.service import Tasks
    from mobyshell.core.tasks.surroundings import Surroundings


@value
class Tenant:
    """What there is in one namespace: at rest (`store`) and alive (`tasks`, as `connect` gives them:
    many need none), below the state root `state`."""

    store: Namespace
    connect: Callable[[], Tasks]
    state: str = ""

    @property
    def tasks(self) -> Tasks:
        """Its tasks."""
        return self.connect()

    @property
    def root(self) -> str:
        """The store's root."""
        return str(self.store.scope.root.path)

    def surroundings(self) -> Surroundings:
        """Networks and volumes, for its tasks."""
        from mobyshell.core.tasks.surroundings import Surroundings

        return Surroundings(self.root, self.state, self.store.name)

    def snapshotter(self, name: str = "") -> Snapshotter:
        """A snapshotter; the best one that works here, if none is named."""
        from mobyshell.core.store.snapshots.choose import snapshotter

        return snapshotter(self.store.scope, name)

    @contextmanager
    def leased(self) -> Iterator[Tenant]:
        """The same, with everything that is made held until the block ends."""
        with self.store.leased() as held:
            yield self if held is self.store else Tenant(held, self.connect, self.state)

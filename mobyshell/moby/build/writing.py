"""How a layer is written: from a directory that was filled, or from what a container changed.

A layer is always what is in its blob: a directory is thrown away afterwards, and the blob unpacked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mobyshell.core.errors import AlreadyExists, Locked, NotFound
from mobyshell.core.oci import media_types
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import owners
from mobyshell.core.store.differences import write_layer
from mobyshell.core.store.layers import Compression, LayerWorker, Written
from mobyshell.core.store.snapshots.choose import directories
from mobyshell.core.store.snapshots.protocol import Snapshotter
from mobyshell.core.store.unpack import PATIENCE
from mobyshell.moby.build.cache import Layer
from mobyshell.moby.build.context import Source
from mobyshell.moby.build.files import Below, Scratch
from mobyshell.moby.build.owning import Owning
from mobyshell.moby.build.steps import Copy

if TYPE_CHECKING:
    from mobyshell.core.store.content.content import Content
    from mobyshell.moby.tenant import Tenant


class Writing:
    """The layers of one build. `newest`: seconds; no time in them is later."""

    def __init__(
        self, held: Tenant, snapshots: Snapshotter, newest: float | None, stack: ExitStack
    ) -> None:
        root = held.store.scope.root
        self.owners = owners.of_store(root)
        self._held, self._snapshots, self._newest = held, snapshots, newest
        self._scratch = stack.enter_context(directories(root, root.scratch.name).new())
        self._count = 0

    def place(self) -> Path:
        """A name of its own for something in the making; gone with the build."""
        self._count += 1
        return self._scratch / str(self._count)

    def scratch(self, below: Below) -> Scratch:
        """An empty directory to be filled, upon `below`."""
        return Scratch(self.place(), below, Owning(self.owners))

    def filled(self, key: str, below: Below, fill: Callable[[Scratch], object]) -> Layer:
        """The layer of what `fill` puts into a directory."""
        scratch = self.scratch(below)
        fill(scratch)
        scratch.finish()
        return self._written(key, lambda output: self._diff(scratch.path, output))

    def fill(self, place: Path, source: Source, path: str) -> None:
        """Copy what is in the directory `path` of a source into `place`, which is there and empty."""
        scratch = self.scratch(Below(None))
        scratch.copy(Copy(text="", paths=(path,), target="/"), source, "/")
        scratch.finish()
        for one in scratch.path.iterdir():
            one.rename(place / one.name)

    @contextmanager
    def active(self, parent: str) -> Iterator[str]:
        """The key of an active snapshot, for a container; removed at the end."""
        key = f"build-{self._held.store.scope.clock.new_id()}"
        self._snapshots.prepare(key, parent)
        try:
            yield key
        finally:
            with suppress(NotFound):
                self._snapshots.remove(key)

    def changed(self, key: str, active: str) -> Layer:
        """The layer of what was changed in an active snapshot."""
        return self._written(
            key,
            lambda output: write_layer(self._snapshots, active, output, compression=Compression.GZIP,
                                       newest=self._newest, enter=self.owners.enter),
        )  # fmt: skip

    def _diff(self, place: Path, output: int) -> Written:
        nothing = self._scratch / "nothing"
        nothing.mkdir(exist_ok=True)
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        lower, upper = os.open(nothing, flags), os.open(place, flags)
        try:
            with LayerWorker(enter=self.owners.enter) as worker:
                return worker.diff_trees(lower, upper, output, compression=Compression.GZIP,
                                         newest=self._newest)  # fmt: skip
        finally:
            os.close(lower)
            os.close(upper)

    def _written(self, key: str, write: Callable[[int], Written]) -> Layer:
        """What `write` writes into a descriptor, as a blob. The step's key names the ingest: what a
        killed build left of it the next one writes over. Of what fails nothing stays: nobody can go on
        with half a layer."""
        content, ref = self._held.store.content, f"build-{key}"
        with ExitStack() as failing:
            failing.callback(_abort, content, ref)
            with content.writer(ref, patience=PATIENCE) as ingest:
                ingest.truncate()
                done = write(ingest.fd)
                ingest.adopt(Digest(done.digest), done.size)
                with suppress(AlreadyExists):
                    ingest.commit(done.size, Digest(done.digest))
            failing.pop_all()
        digest, diff_id = Digest(done.digest), Digest(done.diff_id)
        return Layer(
            Descriptor(media_type=media_types.OCI_LAYER_GZIP, digest=digest, size=done.size),
            diff_id,
        )


def _abort(content: Content, ref: str) -> None:
    with suppress(NotFound, Locked):  # never begun; the next who writes the same has it
        content.abort(ref)

"""Images unpacked: for each layer a committed snapshot whose name is the chain id.

    layers ──apply, in parallel──▶ active snapshots ──in order: verified, settled, committed──▶ chain

Where trees can be put over each other afterwards (`Snapshotter.rebases`), each layer is unpacked
alone, as containerd does since 2.2; elsewhere each upon the one before. Owns the order, and that one
chain is unpacked once, however many processes want it. What is there already is left as it is.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from mobyshell.core.errors import AlreadyExists, Interrupted, InvalidImage, NotFound, StoreDamaged
from mobyshell.core.linux.range_locks import RangeLocks
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.store import owners
from mobyshell.core.store.labels import GC_REF_SNAPSHOT, UNCOMPRESSED
from mobyshell.core.store.layers import (
    Applied,
    Form,
    LayerWorker,
    Limits,
    Progress,
    Region,
    settle,
)
from mobyshell.core.store.snapshots.choose import snapshotter as choose
from mobyshell.core.store.snapshots.protocol import REF, Layer, Snapshotter
from mobyshell.core.store.stack import Stack
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.walk import Resolved
from mobyshell.core.values import value

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

PATIENCE = 24 * 3600.0
"""Seconds that one waits for another who unpacks the same: as long as that may take."""

MOST_AT_ONCE = 4
"""Layers that are unpacked at the same time; no more than there are CPUs."""


@value
class Job:
    """A layer to be applied. `tree` is the descriptor of its directory."""

    layer: Descriptor
    diff_id: Digest
    tree: int
    form: Form
    limits: Limits
    progress: Callable[[Progress], None] | None


Source = Callable[[Job, LayerWorker], Applied]
"""Where layers come from: applies one by the worker. It may be called by several threads at once."""

Reporter = Callable[[Descriptor, Progress | None], None]
"""Is told how far a layer is, by any thread; None when its snapshot is there."""


def unpack(
    namespace: Namespace, image: Resolved, *, snapshotter: str = "", source: Source | None = None,
    limits: Limits | None = None, report: Reporter | None = None, patience: float = PATIENCE,
    worker: LayerWorker | None = None,
) -> str:  # fmt: skip
    """Make the snapshots of an image; the chain id of the last one, "" if it has no layers.

    Afterwards the image's configuration, which the namespace has, refers to the snapshot, which keeps
    it from garbage collection. The rest is `unpack_layers`'.
    """
    with namespace.leased() as held:
        labels = unpack_layers(
            held.relaxed(), image, snapshotter=snapshotter, source=source or from_content(held),
            limits=limits, report=report, patience=patience, worker=worker,
        )  # fmt: skip
        if labels:
            held.content.update(image.manifest.config.digest, labels)
        return image.chain_ids[-1] if image.chain_ids else ""


def unpack_layers(
    namespace: Namespace, image: Resolved, *, source: Source, snapshotter: str = "",
    limits: Limits | None = None, report: Reporter | None = None, patience: float = PATIENCE,
    worker: LayerWorker | None = None,
) -> dict[str, str]:  # fmt: skip
    """Make the snapshots of an image; the labels that its configuration refers to the last one by.

    `source`: what brings the layers. `worker`: one that has been started already; it is closed with
    the others. The lease of the namespace holds what was made.

    Raises:
        NotFound: a layer is not here.
        InvalidLayer: it is none, or passes the limits. InvalidImage: it is another than the
            configuration says. StoreDamaged: its bytes have changed. Nothing of it is left then.
        TimedOut: another process has been at the same layers for `patience` seconds.
    """
    snapshots = choose(namespace.scope, snapshotter)
    chain = image.chain_ids
    work = _Unpacking(namespace, snapshots, image, source, limits or Limits(), report, worker)
    missing = work.missing()
    if missing:
        with RangeLocks(namespace.scope.root.locks / "unpack") as locks:
            names = (f"{snapshots.name} {chain[one]}" for one in missing)
            locks.take(names, patience, f"unpacking {chain[-1]}")
            work.run(work.missing())  # others may have been at it
    return {f"{GC_REF_SNAPSHOT}.{snapshots.name}": chain[-1]} if chain else {}


def from_content(namespace: Namespace, *, several: bool | None = None) -> Source:
    """Layers that the namespace has. `several`: whether files belong to whom the layer says
    (default: if they can, in this store)."""
    if several is None:
        several = owners.of_store(namespace.scope.root).several

    def apply(job: Job, worker: LayerWorker) -> Applied:
        with namespace.content.open(job.layer.digest) as blob:
            done = worker.apply(
                Region(blob.fd), job.tree, form=job.form, limits=job.limits,
                owners=several,
                algorithm=job.layer.digest.algorithm, diff_algorithm=job.diff_id.algorithm,
                writeback=True, progress=job.progress,
            )  # fmt: skip
        if done.digest != job.layer.digest:
            raise StoreDamaged(f"blob {job.layer.digest} holds other bytes: {done.digest}",
                               hint="mobyshell store check --repair drops it; pull it again")  # fmt: skip
        return done

    return apply


def verify(layer: Descriptor, diff_id: Digest, done: Applied) -> None:
    """InvalidImage unless what was unpacked is what the image's configuration says."""
    if done.diff_id != diff_id:
        raise InvalidImage(
            f"layer {layer.digest} unpacks to {done.diff_id}, "
            f"and the image's configuration says {diff_id}"
        )


@value
class _Target:
    """An active snapshot and the descriptor of its directory."""

    key: str
    tree: int
    form: Form


class _Unpacking:
    """One image, into one snapshotter."""

    def __init__(
        self, namespace: Namespace, snapshots: Snapshotter, image: Resolved, source: Source,
        limits: Limits, report: Reporter | None, worker: LayerWorker | None,
    ) -> None:  # fmt: skip
        self._namespace, self._snapshots, self._source = namespace, snapshots, source
        self._layers, self._diffs = image.layers, image.config.diff_ids
        self._chain = image.chain_ids
        self._limits, self._report = limits, report
        self._enter = owners.of_store(namespace.scope.root).enter
        self._spare = [worker] if worker is not None else []
        self._all = [*self._spare]
        self._guard = threading.Lock()
        self._stopped = False

    def missing(self) -> range:
        """Which layers have to be unpacked: what is there, or can be adopted, is held from now on."""
        for number, name in enumerate(self._chain):
            try:
                self._snapshots.claim(name)
            except NotFound:
                if not self._adopt(number):
                    return range(number, len(self._chain))
            self._told(number, None)
        return range(0)

    def _adopt(self, number: int) -> bool:
        try:
            return self._snapshots.adopt(self._chain[number], self._parent(number))
        except AlreadyExists:
            self._snapshots.claim(self._chain[number])
            return True

    def run(self, numbers: range) -> None:
        """Unpack these."""
        try:
            if self._snapshots.rebases and len(numbers) > 1:
                self._in_parallel(numbers)
                return
            for number in numbers:
                parent = "" if self._snapshots.rebases else self._parent(number)
                with self._prepared(number, parent) as target:
                    done = self._apply(number, target)
                    if number == numbers[-1]:
                        for worker in self._all:
                            worker.cancel()  # it ends while the disk is waited for
                    self._finish(number, target, done)
        finally:
            for worker in self._all:
                worker.close()

    def _in_parallel(self, numbers: range) -> None:
        from concurrent.futures import FIRST_COMPLETED, wait  # one layer needs none of it

        most = min(MOST_AT_ONCE, os.cpu_count() or 1, len(numbers))
        with ExitStack() as held:
            targets = {one: held.enter_context(self._prepared(one, "")) for one in numbers}
            pool = held.enter_context(self._pool(most))
            # the largest first, so that the last to end is a small one
            order = sorted(numbers, key=lambda one: -self._layers[one].size)
            running = {one: pool.submit(self._apply, one, targets[one]) for one in order}
            for number in numbers:
                while not running[number].done():
                    waiting = [one for one in running.values() if not one.done()]
                    for ended in wait(waiting, return_when=FIRST_COMPLETED).done:
                        ended.result()  # what has failed is not waited for
                self._finish(number, targets[number], running[number].result())

    @contextmanager
    def _pool(self, most: int) -> Iterator[ThreadPoolExecutor]:
        """Threads that have ended at the end, also after an error: the directories that they fill are
        removed then, and their descriptors closed."""
        from concurrent.futures import ThreadPoolExecutor as Pool

        pool = Pool(most, "unpack")
        try:
            yield pool
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            with self._guard:
                self._stopped = True
                for worker in self._all:
                    worker.cancel()
            raise
        finally:
            pool.shutdown()

    @contextmanager
    def _prepared(self, number: int, parent: str) -> Iterator[_Target]:
        """An active snapshot for a layer; gone afterwards, if it was not committed."""
        name = self._chain[number]
        key = f"extract-{time.time_ns()}-{os.urandom(4).hex()} {name}"
        self._snapshots.prepare(key, parent)
        try:
            found = self._snapshots.layer_target(key)
            tree = os.open(found.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                yield _Target(key, tree, found.form)
            finally:
                os.close(tree)
        finally:
            with suppress(NotFound):
                self._snapshots.remove(key)

    def _apply(self, number: int, target: _Target) -> Applied:
        """In a thread of the pool."""
        layer = self._layers[number]

        def tell(progress: Progress) -> None:
            self._told(number, progress)

        # the lowest one has nothing to hide
        form = target.form if number else Form.FLAT
        job = Job(layer, self._diffs[number], target.tree, form, self._limits, tell)
        with self._guard:
            if self._stopped:
                raise Interrupted("unpacking was ended")
            worker = self._spare.pop() if self._spare else LayerWorker(enter=self._enter)
            if worker not in self._all:
                self._all.append(worker)
        worker.start()  # while the layer is on its way
        done = self._source(job, worker)
        self._spare.append(worker)  # one that has failed is of no more use
        return done

    def _finish(self, number: int, target: _Target, done: Applied) -> None:
        """Verify a layer, fit it upon those below it, commit it."""
        layer, diff_id, name = self._layers[number], self._diffs[number], self._chain[number]
        verify(layer, diff_id, done)
        with self._namespace.scope.write():  # both at once
            self._namespace.content.unpacked(layer.digest, diff_id)
            self._namespace.content.update(layer.digest, {UNCOMPRESSED: diff_id})
        parent = self._parent(number)
        if parent and target.form is not Form.FLAT:
            found = self._snapshots.directories(parent)
            self._settle(target, [str(one) for one in (found.directory, *found.lowers)], done)
        with suppress(AlreadyExists):  # as good
            self._snapshots.commit(
                name, target.key, {REF: name}, parent=parent,
                layer=Layer(diff_id, done.opaque_root),
            )  # fmt: skip
        self._told(number, None)

    def _settle(self, target: _Target, below: list[str], done: Applied) -> None:
        if self._enter:
            with LayerWorker(enter=self._enter) as worker:
                worker.settle(target.tree, below, done)
            return
        with Stack(below) as stack:
            settle(target.tree, stack, done)

    def _parent(self, number: int) -> str:
        return self._chain[number - 1] if number else ""

    def _told(self, number: int, progress: Progress | None) -> None:
        if self._report:
            self._report(self._layers[number], progress)

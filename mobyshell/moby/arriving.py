"""Unpacking an image while its layers come: the network is slow, and so is unpacking.

Owns the thread that unpacks, and its waiting for layers. What it leaves undone the next unpacking
does; it only saves time.
"""

from __future__ import annotations

import threading

from mobyshell.core.errors import Interrupted
from mobyshell.core.oci.descriptor import Descriptor
from mobyshell.core.oci.digest import Digest
from mobyshell.core.oci.image_config import ImageConfig
from mobyshell.core.oci.manifest import Manifest
from mobyshell.core.registry.stop import Stop
from mobyshell.core.store.layers import Applied, LayerWorker
from mobyshell.core.store.store import Namespace
from mobyshell.core.store.unpack import Job, from_content, unpack
from mobyshell.core.store.walk import Resolved

_LOOK = 0.1  # seconds between two looks at whether the unpacking has ended


class Arriving:
    """An image that is being pulled (`registry.pull.Onward`), and unpacked meanwhile.

    `with Arriving(…) as arriving: pull(…, onward=arriving)`: at the end of the block both are done,
    or both have ended. Where unpacking fails `stop` ends the pull, and its error is the one.
    """

    def __init__(self, namespace: Namespace, snapshotter: str, stop: Stop) -> None:
        self._namespace, self._snapshotter, self._stop = namespace, snapshotter, stop
        self._source = from_content(namespace)
        self._changed = threading.Condition()
        self._there: set[Digest] = set()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def planned(self, descriptor: Descriptor, manifest: Manifest, config: ImageConfig) -> None:
        """This image is coming: begin."""
        image = Resolved(descriptor, manifest, config)
        self._thread = threading.Thread(target=self._unpack, args=(image,), name="unpack")
        self._thread.start()

    def arrived(self, descriptor: Descriptor) -> None:
        """This layer can be unpacked."""
        with self._changed:
            self._there.add(descriptor.digest)
            self._changed.notify_all()

    def _unpack(self, image: Resolved) -> None:
        try:
            unpack(self._namespace, image, snapshotter=self._snapshotter, source=self._apply)
        except BaseException as error:
            self._error = error
            self._stop.stop()

    def _apply(self, job: Job, worker: LayerWorker) -> Applied:
        digest = job.layer.digest
        with self._changed:
            while digest not in self._there:
                # another layer may have failed: then this worker is cancelled
                if self._ended or worker.closed:
                    raise Interrupted("the pull has ended")
                self._changed.wait(_LOOK)
        return self._source(job, worker)

    def __enter__(self) -> Arriving:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        stopped = error is None or isinstance(error, Interrupted)
        if stopped and self._error is not None and not isinstance(self._error, Interrupted):
            raise self._error  # the pull only knows that it was stopped
